"""docs/staging.md, run: every example on the page does what the page says (that of a test: test_testing_plugin.py)."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

import outbox
from outbox.event import KIND
from outbox.testing import Postroom
from tests.outbox.staging_page import EXAMPLES, FENCES, PAGE

BOOKING = {"id": 7, "guest": "Ada"}


def python(name: str) -> dict[str, Any]:
    """What an example defines."""
    defined: dict[str, Any] = {}
    exec(compile(EXAMPLES[name], f"docs/staging.md: {name}", "exec"), defined)
    return defined


@pytest.fixture
async def shop(own: Postroom) -> Postroom:
    """A database with the app's table of the page."""
    await own.pool.execute("create table bookings (id int primary key, guest text, starts_at timestamptz)")
    return own


async def check_booked(shop: Postroom, event_id: int) -> None:
    assert await shop.rows("select id, guest from bookings") == [BOOKING]
    (event,) = await shop.staged()
    assert (event["id"], event["kind"], event["lane"]) == (event_id, "booking.created", "booking:7")
    assert json.loads(event["payload"]) == BOOKING


def test_every_block_of_code_is_an_example() -> None:
    assert len(EXAMPLES) == len(FENCES) >= 15


async def test_the_asyncpg_example(shop: Postroom) -> None:
    connection = await asyncpg.connect(shop.dsn)
    event_id = await python("asyncpg")["book"](connection, BOOKING)
    await connection.close()
    await check_booked(shop, event_id)
    assert (await shop.staged())[0]["key"] == "booking-created-7"


async def test_the_psycopg_example(shop: Postroom) -> None:
    with psycopg.connect(shop.dsn) as connection:
        event_id = python("psycopg")["book"](connection, BOOKING)
    await check_booked(shop, event_id)


async def test_the_asynchronous_psycopg_example(shop: Postroom) -> None:
    async with await psycopg.AsyncConnection.connect(shop.dsn) as connection:
        event_id = await python("psycopg async")["book"](connection, BOOKING)
    await check_booked(shop, event_id)


async def test_the_sqlalchemy_example(shop: Postroom) -> None:
    engine = sqlalchemy.create_engine(shop.dsn.replace("postgresql:", "postgresql+psycopg:", 1), poolclass=NullPool)
    with Session(engine) as session:
        event_id = python("sqlalchemy")["book"](session, BOOKING)
    await check_booked(shop, event_id)


async def test_the_asynchronous_sqlalchemy_example(shop: Postroom) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(shop.dsn.replace("postgresql:", "postgresql+asyncpg:", 1), poolclass=NullPool)
    async with AsyncSession(engine) as session:
        event_id = await python("sqlalchemy async")["book"](session, BOOKING)
    await check_booked(shop, event_id)


async def test_the_sql_examples(shop: Postroom) -> None:
    await shop.pool.execute("insert into bookings values (7, 'Ada', now() + interval '3 days'), (8, 'Eve', now())")
    await shop.pool.execute(EXAMPLES["sql"])
    assert await shop.value("select guest from bookings where id = 7") == "Ada Lovelace"
    await shop.pool.execute(EXAMPLES["sql many"])
    changed, reminder = await shop.staged()
    assert (changed["kind"], changed["lane"]) == ("booking.changed", "booking:7")
    assert (reminder["kind"], reminder["key"], reminder["why"]) == ("booking.reminder", "reminder-7", "delayed")


def test_the_signature_on_the_page_is_that_of_the_function() -> None:
    schema = (Path(outbox.__file__).parents[1] / "schema.sql").read_text("utf-8")
    found = re.search(r"create function outbox\.stage\((.*?)\) returns", schema, re.DOTALL)
    assert found is not None
    parameters = [" ".join(part.split()[:2]) for part in found[1].split(",")]
    assert f"`outbox.stage({', '.join(parameters)})`" in PAGE


def templates(code: str) -> list[str]:
    """The tagged templates of $queryRaw as Prisma sends them: a number for each value. The values' names in order."""
    (body,) = re.findall(r"\$queryRaw`(.*?)`", code, re.DOTALL)
    names: list[str] = re.findall(r"\$\{(\w+)\}", body)
    for number, name in enumerate(names, 1):
        body = body.replace(f"${{{name}}}", f"${number}", 1)
    return [body, *names]


async def test_the_prisma_example(shop: Postroom) -> None:
    query, *names = templates(EXAMPLES["prisma"])
    values = {"payload": json.dumps(BOOKING), "key": "booking-created-7", "lane": "booking:7"}
    await shop.pool.execute("insert into bookings values (7, 'Ada')")
    await check_booked(shop, await shop.value(query, *(values[name] for name in names)))


async def test_the_node_postgres_example(shop: Postroom) -> None:
    queries = re.findall(r"client\.query\('([^']*)'", EXAMPLES["node-postgres"])
    assert [query.split()[0] for query in queries] == ["begin", "insert", "select", "commit"]
    async with shop.pool.acquire() as connection, connection.transaction():
        await connection.execute(queries[1], 7, "Ada")
        event_id = await connection.fetchval(queries[2], "booking.created", json.dumps(BOOKING), "booking:7")
    await check_booked(shop, event_id)


NODE = shutil.which("node")


@pytest.mark.parametrize("name", ["prisma", "node-postgres"])
@pytest.mark.skipif(NODE is None, reason="no node on this machine; the statements themselves are run above")
def test_the_node_examples_are_javascript(name: str, tmp_path: Path) -> None:
    script = tmp_path / "example.js"
    script.write_text(EXAMPLES[name])
    assert NODE is not None
    subprocess.run([NODE, "--check", script], check=True, timeout=60)


async def test_the_errors_example(shop: Postroom) -> None:
    book_once = python("errors")["book_once"]
    async with shop.pool.acquire() as connection, connection.transaction():
        first = await book_once(connection, BOOKING)
        assert await book_once(connection, BOOKING) == first
        assert await book_once(connection, {"id": 7, "guest": "Eve"}) is None
        with pytest.raises(ValueError, match=r"^the booking cannot be told: the payload of booking.created holds a NUL"):
            await book_once(connection, {"id": 8, "guest": "\x00"})
        assert await book_once(connection, {"id": 9, "guest": "Zoe"}) != first
    assert len(await shop.staged()) == 2


async def test_a_key_that_is_committed_meanwhile_fails_a_stricter_transaction_which_runs_again(shop: Postroom) -> None:
    call = "select outbox.stage('a', '{}', key => 'k1')"
    async with shop.pool.acquire() as strict, shop.pool.acquire() as other:
        transaction = strict.transaction(isolation="repeatable_read")
        await transaction.start()
        await strict.execute("select 1")
        first = await other.fetchval(call)
        with pytest.raises(asyncpg.SerializationError) as caught:
            await strict.fetchval(call)
        await transaction.rollback()
        assert caught.value.sqlstate == "40001"
        async with strict.transaction(isolation="repeatable_read"):
            assert await strict.fetchval(call) == first


async def test_the_watch_example(shop: Postroom) -> None:
    for name in ("watch table", "watch"):
        await shop.pool.execute(EXAMPLES[name])
    connection = await asyncpg.connect(shop.dsn)
    insert, *_ = EXAMPLES["watch use"].splitlines()
    await connection.execute(EXAMPLES["watch use"])
    events = await shop.staged()
    assert [event["kind"] for event in events] == [f"appointment.{word}" for word in ("created", "confirmed", "updated", "cancelled")]
    assert {event["lane"] for event in events} == {"appointment:6f9619ff-8b86-4d01-b42d-00cf4fc964ff"}
    first = json.loads(events[0]["payload"])
    assert first["previous"] is None
    assert first["appointment"]["title"] == "Cut"
    assert first["appointment"]["contact_id"] == "c1"
    assert "gate code" not in json.dumps([event["payload"] for event in events])
    await connection.execute("""select outbox.unwatch('"Booking"')""")
    await connection.execute(insert)
    assert len(await shop.staged()) == 4
    await connection.close()


async def test_the_grants_examples_are_enough(shop: Postroom, stranger: str) -> None:
    await shop.pool.execute(EXAMPLES["grants"].replace("to app", f"to {stranger}"))
    connection = await asyncpg.connect(shop.dsn)
    await connection.execute(f"set role {stranger}")
    await connection.execute("select outbox.stage('a', '{}')")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("create temporary table mine (id int, status text); select outbox.watch('mine')")
    await shop.pool.execute(EXAMPLES["watch grants"].replace("to migrator", f"to {stranger}"))
    await connection.execute("create temporary table mine (id int, status text); select outbox.watch('mine')")
    await connection.execute("insert into mine values (1, 'scheduled')")
    await connection.close()
    assert [event["kind"] for event in await shop.staged()] == ["a", "appointment.created"]


def test_the_rules_on_the_page_are_those_of_the_code() -> None:
    assert "A kind is 1 to 120 letters, digits, dots, dashes, underscores or colons" in PAGE
    assert KIND.fullmatch("aA9._:-" + "x" * 113)
    assert not KIND.fullmatch("x" * 121)
