"""Dispatcher, receiver, listener, migrations and commands on pooled connections, before a plain Postgres: what CI knows everywhere."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.findings import read_settings
from cli.findings_database import in_database
from outbox import db, listen
from outbox.listen import Listener
from outbox.log import configure
from outbox.migrate import check, migrate, migrations
from outbox.testing import Postroom
from tests.cli.program import environment, run
from tests.pooler.features import run_everything
from tests.pooler.forcing import forced
from tests.receiver.running import ghl_delivery, started, until


@pytest.fixture
async def own_defaults(empty_database: str) -> AsyncIterator[Postroom]:
    """A migrated database whose commits are not waited for unless a transaction asks for it."""
    connection = await db.connect(forced(empty_database), name="postroom:test", timeout_s=60)
    assert await migrate(connection) == [f"{number:04} {name}" for number, name, _ in migrations()]
    await connection.execute(f'alter database "{empty_database.split("@/")[1].split("?")[0]}" set synchronous_commit = off')
    await connection.close()
    async with db.pool(empty_database, name="postroom:test") as pool:
        assert await pool.fetchval("show synchronous_commit") == "off"
        yield Postroom(empty_database, pool)


async def test_the_engine_does_everything_that_it_does_with_sessions(postroom: Postroom) -> None:
    await run_everything(postroom, forced(postroom.dsn))
    assert await postroom.value("select count(*) from outbox.workers where ended_at is null") == 0


async def test_p2_concurrent_repeats_of_a_webhook_are_one_event(postroom: Postroom) -> None:
    async with started(forced(postroom.dsn)) as talk:
        await until(lambda: talk.desk.notion.is_known and talk.desk.intake.is_up)
        assert (await talk.get("/readyz")).status_code == 200
        deliveries = [ghl_delivery(webhook_id=f"00000000-0000-4000-8000-{n:012}") for n in range(10)]
        answers = await asyncio.gather(*(talk.webhook("ghl", delivery) for delivery in deliveries * 4))
        assert {answer.status_code for answer in answers} == {202}
        assert sorted(answer.json()["duplicate"] for answer in answers) == [False] * 10 + [True] * 30
        assert len({answer.json()["id"] for answer in answers}) == 10
        assert len((await talk.get("/api/events")).json()["events"]) == 10


async def test_p1_a_webhook_is_committed_durably_whatever_the_servers_default(own_defaults: Postroom) -> None:
    async with started(forced(own_defaults.dsn)) as talk:
        await until(lambda: talk.desk.intake.is_up)
        await own_defaults.pool.execute(
            """create function said() returns trigger language plpgsql as
               $$ begin insert into seen values (current_setting('synchronous_commit')); return null; end $$;
               create table seen (setting text);
               create trigger said after insert on outbox.keys for each statement execute function said()"""
        )
        assert (await talk.webhook("ghl", ghl_delivery())).status_code == 202
    assert await own_defaults.rows("select * from seen") == [{"setting": "on"}]


async def test_of_two_migrations_at_once_through_a_pooler_each_is_done_by_one(empty_database: str) -> None:
    connections = [await db.connect(forced(empty_database), name="postroom:test", timeout_s=60) for _ in range(2)]
    applied = await asyncio.gather(*(migrate(connection) for connection in connections))
    assert sorted(applied[0] + applied[1]) == [f"{number:04} {name}" for number, name, _ in migrations()]
    assert await migrate(connections[0]) == []
    await check(connections[1])
    for connection in connections:
        await connection.close()


async def test_a_listener_behind_a_pooler_gives_up_and_says_it_once(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "AGAIN_S", 0.01)
    written = io.StringIO()
    configure(json=True, level="info", to=written)
    stood: list[bool] = []
    try:
        await asyncio.wait_for(Listener(forced(postroom.dsn), name="postroom:listening", heard=lambda: None).run(stood.append), 20)
    finally:
        configure(level="warning")
    assert stood == []
    [line] = map(json.loads, written.getvalue().splitlines())
    assert (line["level"], line["event"]) == ("info", "not listening through a pooler, polling instead")
    assert "DATABASE_DIRECT_URL" in line["do"]
    assert await postroom.value("select count(*) from pg_stat_activity where query ilike 'listen%' and datname = current_database()") == 0


def test_commands_work_with_a_poolers_address(postroom_database: str, tmp_path: Path) -> None:
    env = environment(DATABASE_URL=forced(postroom_database))
    assert run("migrate", "--json", env=env, cwd=tmp_path).json() == {"applied": []}
    staged = run("stage", "test.typed", "--payload", "{}", "--json", env=env, cwd=tmp_path)
    assert staged.code == 0, staged.err
    event_id = staged.json()["id"]
    assert run("events", "show", str(event_id), "--json", env=env, cwd=tmp_path).json()["state"] == "pending"
    assert run("dead", "--json", env=env, cwd=tmp_path).code == 0
    [told] = [finding for finding in run("doctor", "--json", env=env, cwd=tmp_path).json()["findings"] if finding["area"] == "pooler"]
    assert told["standing"] == "off"


@pytest.mark.parametrize(
    ("given", "past", "standing"),
    [
        ("", None, []),
        ("", "", []),
        ("&pgbouncer=true", None, ["off"]),
        ("&pgbouncer=true", "", ["fine"]),
        ("&pgbouncer=true", "&pgbouncer=TRUE", ["warn"]),
        ("&pgbouncer=true", "&host=/nowhere", ["wrong"]),
        ("&pgbouncer=true", "&unheard_of=1", ["wrong"]),
    ],
)
async def test_the_doctor_says_what_lies_before_the_server(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch, given: str, past: str | None, standing: list[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", postroom.dsn + given)
    if past is not None:
        monkeypatch.setenv("DATABASE_DIRECT_URL", postroom.dsn + past)
    settings, _ = read_settings()
    assert settings is not None
    found = [finding async for finding in in_database(postroom.dsn + given, settings)]
    assert [finding.standing for finding in found if finding.area == "pooler"] == standing
    assert "DATABASE_DIRECT_URL" in "".join(f"{finding.says} {finding.do}" for finding in found if finding.area == "pooler") or not standing
