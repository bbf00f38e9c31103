"""The worked examples of outbox.watch() in docs/staging.md, run: Python by its drivers, Node by node itself where there is one."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg import AsyncRawCursor
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

import outbox
from outbox.kinds import AppointmentChange, AppointmentStatus
from outbox.testing import Postroom
from tests.outbox.staging_page import EXAMPLES

ROOT = Path(outbox.__file__).parents[1]
ID = uuid.UUID("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")
AT = datetime(2027, 1, 5, 10, tzinfo=UTC)
BOOKING = {"id": ID, "starts_at": AT, "contact": "c1", "service": "Cut", "price_cent": 4000}
IN_NODE = {"id": str(ID), "startsAt": AT.isoformat(), "contact": "c1", "service": "Cut", "price": 4000}


def python(name: str) -> dict[str, Any]:
    """What an example defines, beside the mapping that it uses."""
    defined: dict[str, Any] = {}
    for part in ("watch mapping", name):
        exec(compile(EXAMPLES[part], f"docs/staging.md: {part}", "exec"), defined)
    return defined


@pytest.fixture
async def shop(own: Postroom) -> Postroom:
    """A database with the table of the page."""
    await own.pool.execute(EXAMPLES["watch table"])
    return own


async def check_told(shop: Postroom) -> None:
    """Booked, paid too little for, paid: the attempt that was rolled back has told nothing."""
    events = await shop.staged()
    assert [event["kind"] for event in events] == ["appointment.created", "appointment.confirmed"]
    assert {event["lane"] for event in events} == {f"appointment:{ID}"}
    created, confirmed = (AppointmentChange.model_validate_json(event["payload"]) for event in events)
    assert (created.appointment.status, created.appointment.starts_at) == (AppointmentStatus.SCHEDULED, AT)
    assert (created.appointment.contact_id, created.appointment.title, created.appointment.location_id) == ("c1", "Cut", None)
    assert created.previous is None
    assert (confirmed.appointment.status, confirmed.previous) == (AppointmentStatus.CONFIRMED, created.appointment)
    assert "4000" not in events[0]["payload"], "the price is none of our business"


async def test_the_mapping_names_the_location(shop: Postroom) -> None:
    await shop.pool.execute(EXAMPLES["watch"])
    await shop.pool.execute("""insert into "Booking" ("bookingId", state, "startsAt", "ghlSalon") values ($1, 'NEW', $2, 'Loc2')""", ID, AT)
    [event] = await shop.staged()
    assert AppointmentChange.model_validate_json(event["payload"]).appointment.location_id == "Loc2"


def test_the_mappings_of_all_languages_are_the_same() -> None:
    from_sql = [json.loads(text) for text in re.findall(r"=> '(\{.*?\})'", EXAMPLES["watch"], re.DOTALL)]
    assert from_sql == [python("watch asyncpg")["COLUMNS"], python("watch asyncpg")["STATUSES"]]
    if NODE is not None:
        shown = subprocess.run(
            [NODE, "-"],
            input=EXAMPLES["watch prisma"] + "\nconsole.log(`[${columns},${statuses}]`)",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert json.loads(shown.stdout) == from_sql


# ── Python


async def test_the_asyncpg_example(shop: Postroom) -> None:
    app = python("watch asyncpg")
    connection = await asyncpg.connect(shop.dsn)
    await app["watch"](connection)
    await app["book"](connection, BOOKING)
    with pytest.raises(ValueError, match="not enough"):
        await app["pay"](connection, ID, 10)
    await app["pay"](connection, ID, 4000)
    await connection.close()
    await check_told(shop)


async def test_the_psycopg_example(shop: Postroom) -> None:
    app = python("watch psycopg")
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        app["watch"](connection)
        app["book"](connection, BOOKING)
        with pytest.raises(ValueError, match="not enough"):
            app["pay"](connection, ID, 10)
        app["pay"](connection, ID, 4000)
    await check_told(shop)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_the_sqlalchemy_example(own: Postroom, driver: str) -> None:
    app = python("watch sqlalchemy")
    url = own.dsn.replace("postgresql:", f"postgresql+{driver}:", 1)

    def live(session: Session) -> None:
        app["book"](session, BOOKING)
        with pytest.raises(ValueError, match="not enough"):
            app["pay"](session, ID, 10)
        app["pay"](session, ID, 4000)

    if driver == "psycopg":
        engine = sqlalchemy.create_engine(url, poolclass=NullPool)
        app["Base"].metadata.create_all(engine)
        with Session(engine) as session:
            live(session)
    else:
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

        asynchronous = create_async_engine(url, poolclass=NullPool)
        async with asynchronous.begin() as connection:
            await connection.run_sync(app["Base"].metadata.create_all)
        async with AsyncSession(asynchronous) as later:
            await later.run_sync(live)
    await check_told(own)


# ── Node

NODE = shutil.which("node")
STORY = """
async function story(db, booking) {
  await watch(db)
  await book(db, booking)
  let refused = ''
  try { await pay(db, booking.id, 10) } catch (error) { refused = error.message }
  await pay(db, booking.id, 4000)
  return refused
}
"""
# Statements go out as lines and their answers come in as lines, so that node runs the example without a driver of its own.
BRIDGE = """
const lines = require('node:readline').createInterface({ input: process.stdin })[Symbol.asyncIterator]()
async function ask(text, values = []) {
  console.log(JSON.stringify({ text, values }))
  const answer = JSON.parse((await lines.next()).value)
  if (answer.error) throw new Error(answer.error)
  return answer
}
const sent = (strings, values) => ask(strings.reduce((text, part, n) => `${text}$${n}${part}`), values)
const raw = {
  $executeRaw: async (strings, ...values) => (await sent(strings, values)).rowCount,
  $queryRaw: async (strings, ...values) => (await sent(strings, values)).rows,
}
const prisma = {
  ...raw,
  $transaction: async (work) => {
    await ask('begin')
    try { await work(raw) } catch (error) { await ask('rollback'); throw error }
    await ask('commit')
  },
}
const client = { query: ask }
"""


async def node(
    script: str, answer: Callable[[str, list[Any]], Awaitable[dict[str, Any]]], environment: Mapping[str, str] | None = None
) -> str:
    """Runs a script whose lines are statements, answered one by one, or at last `{"end": …}`; returns what that says."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        "-e",
        script,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while line := await process.stdout.readline():
                said = json.loads(line)
                if "end" in said:
                    return str(said["end"])
                process.stdin.write(json.dumps(await answer(said["text"], said["values"])).encode() + b"\n")
        raise AssertionError("the script ended without an end")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.skipif(NODE is None, reason="no node on this machine; the statements themselves are run below")
@pytest.mark.parametrize(("name", "db"), [("watch prisma", "prisma"), ("watch node-postgres", "client")])
async def test_the_node_examples_by_node(shop: Postroom, name: str, db: str) -> None:
    async with await psycopg.AsyncConnection.connect(shop.dsn, autocommit=True, cursor_factory=AsyncRawCursor) as connection:

        async def answer(text: str, values: list[Any]) -> dict[str, Any]:
            cursor = await connection.execute(text, values)
            names = [column.name for column in cursor.description or ()]
            # What a driver makes of void, prisma cannot read; nobody asks for it.
            rows = [] if names == ["watch"] else [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()] if names else []
            return {"rows": rows, "rowCount": cursor.rowcount}

        columns = EXAMPLES["watch prisma"].partition("async function")[0] if name != "watch prisma" else ""
        end = f"story({db}, {json.dumps(IN_NODE)}).then((end) => {{ console.log(JSON.stringify({{ end }})); process.exit() }})"
        assert await node(columns + EXAMPLES[name] + STORY + BRIDGE + end, answer) == "not enough"
    await check_told(shop)


@pytest.mark.skipif(NODE is None, reason="no node on this machine")
async def test_the_node_postgres_example_by_its_own_driver(shop: Postroom) -> None:
    assert NODE is not None
    found = await asyncio.to_thread(subprocess.run, [NODE, "-e", "require.resolve('pg')"], cwd=ROOT, capture_output=True, timeout=60)
    if found.returncode != 0:
        pytest.skip("node has no driver for Postgres here; the example is run by node without it")

    async def nobody(text: str, values: list[Any]) -> dict[str, Any]:
        raise AssertionError(f"{text} was to go to the database, with {values}")

    asked = urlsplit(shop.dsn)
    place = {name: values[0] for name, values in parse_qs(asked.query).items()}
    environment = {"PGHOST": place["host"], "PGPORT": place["port"], "PGUSER": asked.username or "", "PGDATABASE": asked.path[1:]}
    columns = EXAMPLES["watch prisma"].partition("async function")[0]
    end = f"""
      const client = new (require('pg').Client)()
      client.connect().then(() => story(client, {json.dumps(IN_NODE)}))
        .then(async (end) => {{ await client.end(); console.log(JSON.stringify({{ end }})) }})"""
    assert await node(columns + EXAMPLES["watch node-postgres"] + STORY + end, nobody, environment) == "not enough"
    await check_told(shop)


def statements(name: str) -> list[str]:
    """The statements of an example in their order, with a number for each value."""
    found: list[str] = []
    for template, plain in re.findall(
        r"\$(?:execute|query)Raw`(.*?)`|client\.query\(\s*[`'](.*?)[`'],?\s*[\[)]", EXAMPLES[name], re.DOTALL
    ):
        numbers = iter(range(1, 99))
        found.append(plain or re.sub(r"\$\{\w+\}", lambda _: f"${next(numbers)}", template))  # noqa: B023 -- used at once
    return [statement for statement in found if statement not in ("begin", "commit", "rollback")]


@pytest.mark.parametrize("name", ["watch prisma", "watch node-postgres"])
async def test_the_statements_of_the_node_examples(shop: Postroom, name: str) -> None:
    watch, book, pay = statements(name)
    mapping = [json.dumps(python("watch asyncpg")[which]) for which in ("COLUMNS", "STATUSES")]
    async with await psycopg.AsyncConnection.connect(shop.dsn, autocommit=True, cursor_factory=AsyncRawCursor) as connection:
        await connection.execute(watch, mapping if name == "watch prisma" else ['"Booking"', *mapping])
        await connection.execute(book, list(IN_NODE.values()))
        cursor = await connection.execute(pay, [str(ID)])
        assert await cursor.fetchall() == [(4000,)]
    await check_told(shop)
