"""What Postroom relies on in PgBouncer, and does to it: noticed, settings in force, nothing left on server connections that others use."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.outcome import Done
from dispatcher.routes import Route
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from outbox import Event, db
from outbox.db import ENGINE_SETTINGS
from outbox.embedded import Embedded, temporary_folder
from outbox.listen import STILL, Listener
from outbox.pooled import PooledConnection
from outbox.store import events, workers
from outbox.testing import Postroom
from tests.cli.program import environment, run, started, until
from tests.dispatcher.handling import is_over, is_so, returning
from tests.dispatcher.running import eventually, stage_all
from tests.pooler.conftest import Bouncers
from tests.pooler.features import run_everything
from tests.pooler.pgbouncer import PgBouncer

pytestmark = pytest.mark.long

# What PgBouncer itself carries over from server connection to server connection for each client.
CARRIED = ["application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings"]
LISTENING = f"""select count(*) from pg_stat_activity
                where (query ilike 'listen %' or query = $${STILL}$$) and datname = current_database()"""


@pytest.mark.parametrize(
    "options",
    [{}, {"ignore_startup_parameters": "enable_seqscan, jit, synchronous_commit"}, {"pool_mode": "session"}],
    ids=["as it comes", "parameters dropped silently", "session mode"],
)
async def test_it_is_noticed_and_the_engines_settings_are_in_force(
    bouncers: Bouncers, postroom_server: Embedded, postroom: Postroom, options: dict[str, str]
) -> None:
    with bouncers(postroom_server, **options) as bouncer:
        connection = await db.connect(bouncer.dsn(postroom.dsn), name="postroom:1", settings=ENGINE_SETTINGS)
        assert db.is_pooled(connection)
        for name, value in ENGINE_SETTINGS.items():
            assert await db.fetchval(connection, f"show {name}") == value
        await connection.close()
        async with db.pool(bouncer.dsn(postroom.dsn), name="postroom:test") as pool, pool.acquire() as one:
            assert type(one._con) is PooledConnection  # type: ignore[attr-defined]
        assert "unsupported startup parameter" not in bouncer.log


async def test_in_session_mode_a_session_may_be_claimed(bouncers: Bouncers, postroom_server: Embedded, postroom: Postroom) -> None:
    with bouncers(postroom_server, pool_mode="session") as bouncer:
        through = bouncer.dsn(postroom.dsn) + "&pgbouncer=false"
        connection = await db.connect(through, name="postroom:1", settings=ENGINE_SETTINGS)
        assert not db.is_pooled(connection)
        for name, value in ENGINE_SETTINGS.items():
            assert await db.fetchval(connection, f"show {name}") == value
        heard = asyncio.Event()
        await connection.add_listener("postroom", lambda *_: heard.set())
        await postroom.pool.execute("notify postroom")
        await asyncio.wait_for(heard.wait(), 20)
        await connection.close()


async def test_nothing_is_left_on_a_server_connection_that_is_anothers_next(
    bouncers: Bouncers, postroom_server: Embedded, postroom: Postroom
) -> None:
    with bouncers(postroom_server, default_pool_size="1") as bouncer:
        through = bouncer.dsn(postroom.dsn)
        engine = await db.connect(through, name="postroom:1", settings=ENGINE_SETTINGS)
        await workers.begin(engine, "test", lease_s=30)
        await run_everything(postroom, through)
        other = await asyncpg.connect(through, statement_cache_size=0)
        pid = await other.fetchval("select pg_backend_pid()")
        assert pid == await db.fetchval(engine, "select pg_backend_pid()")  # there is only this one
        left = await other.fetch("select name, setting from pg_settings where source = 'session' and not name = any ($1)", CARRIED)
        assert [tuple(row) for row in left] == []
        assert await other.fetchval("select count(*) from pg_prepared_statements where name <> ''") == 0
        assert await other.fetchval("select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'") == 0
        for connection in (engine, other):
            await connection.close()


async def test_the_engine_does_everything_that_it_does_with_sessions(bouncer: PgBouncer, postroom: Postroom) -> None:
    await run_everything(postroom, bouncer.dsn(postroom.dsn))


async def test_with_a_way_past_it_a_dispatcher_listens(bouncer: PgBouncer, postroom: Postroom) -> None:
    through = bouncer.dsn(postroom.dsn)
    async with services(through, DispatcherSettings()) as shared:
        stop = Stop()
        dispatcher = Dispatcher(through, shared, {"test.work": Route(returning(Done()))}, direct_dsn=postroom.dsn)
        task = asyncio.create_task(dispatcher.run(stop))
        try:
            await eventually(lambda: is_so(dispatcher.loop is not None and dispatcher.loop.listening))
            [event_id] = await stage_all(postroom, Event("test.work", {}))
            await eventually(is_over(postroom, event_id))
        finally:
            stop.ask()
            await task


async def test_a_notify_that_is_sent_through_it_is_heard_past_it(bouncer: PgBouncer, postroom: Postroom) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = Listener(postroom.dsn, name="postroom:listening", heard=lambda: heard.put_nowait("heard"))
    task = asyncio.create_task(listener.run(lambda stands: None))
    assert await asyncio.wait_for(heard.get(), 20)  # once when it stands
    connection = await db.connect(bouncer.dsn(postroom.dsn), name="postroom:test", settings={"synchronous_commit": "on"})
    await events.stage_many(connection, [events.Arrival("ghl", "ghl.ContactCreate", None, None, b"{}")])
    assert await asyncio.wait_for(heard.get(), 20)
    await connection.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("past", [False, True], ids=["poolers address only", "with a way past it"])
def test_the_demos_load_runs_through_it(bouncer: PgBouncer, postroom: Postroom, tmp_path: Path, past: bool) -> None:
    """`postroom up` with its samples, then the commands that a person types."""
    urls = {"DATABASE_URL": bouncer.dsn(postroom.dsn)} | ({"DATABASE_DIRECT_URL": postroom.dsn} if past else {})
    with temporary_folder() as folder:
        env = environment(POSTROOM_DATA_DIR=str(folder / "data"), PORT="0", **urls)
        with started("up", "--samples", "--json", env=env, cwd=tmp_path) as command:
            told = command.document()
            assert told["counts"] == {"sent": 20, "accepted": 14, "duplicates": 4, "rejected": 2}
            assert {event["state"] for event in told["events"] if event["result"] == "accepted"} == {"done", "skipped"}
            assert asyncio.run(count(postroom.dsn, LISTENING)) == (1 if past else 0)
            look(env, tmp_path, standing="fine" if past else "off")
            bury_and_retry(env, tmp_path)
            assert command.process.poll() is None


async def count(dsn: str, query: str) -> int:
    connection = await db.connect(dsn, name="postroom:test", timeout_s=30)
    try:
        return int(await db.fetchval(connection, query))
    finally:
        await connection.close()


def look(env: dict[str, str], folder: Path, *, standing: str) -> None:
    findings = run("doctor", "--json", env=env, cwd=folder).json()["findings"]
    assert [finding["standing"] for finding in findings if finding["area"] == "pooler"] == [standing]
    assert [finding for finding in findings if finding["area"] in ("database", "outbox") and finding["standing"] == "wrong"] == []
    assert len(run("events", "--json", "--limit", "50", env=env, cwd=folder).json()["events"]) >= 14


def bury_and_retry(env: dict[str, str], folder: Path) -> None:
    """A dead letter, of a payload that no handler takes, and a retry that buries it again."""
    staged = str(run("stage", "appointment.created", "--payload", "{}", "--json", env=env, cwd=folder).json()["id"])

    def dead_after(attempts: int) -> bool:
        told = run("events", "show", staged, "--json", env=env, cwd=folder).json()
        return bool(told["state"] == "dead" and told["attempts"] == attempts)

    until(lambda: dead_after(1), what=f"event {staged} to be buried")
    assert staged in run("dead", "--json", env=env, cwd=folder).out
    assert run("dead", "retry", staged, "--json", env=env, cwd=folder).code == 0
    until(lambda: dead_after(2), what=f"event {staged} to be buried again")
