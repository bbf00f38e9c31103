"""Connections for a transaction pooler, on a plain Postgres: settings hold in each transaction and nowhere else, nothing outlives one."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from outbox import db, pooled
from outbox.db import ENGINE_SETTINGS, Connection
from outbox.errors import ConfigError, DatabaseUnavailable
from outbox.pooled import PooledConnection, Road
from outbox.store import workers
from outbox.testing import Postroom
from tests.outbox.waiting import until, until_it_waits_for_a_lock
from tests.pooler.forcing import forced

NAME, OTHER = "postroom:4711", "postroom:4712"
OURS = "pg_stat_activity where application_name = $1 and datname = current_database()"
SET_IN_THE_SESSION = "select name, setting from pg_settings where source = 'session'"


@pytest.fixture
async def engine(postroom: Postroom) -> AsyncIterator[PooledConnection]:
    """A connection as the dispatcher's engine has it behind a pooler."""
    connection = await db.connect(forced(postroom.dsn), name=NAME, timeout_s=20, settings=ENGINE_SETTINGS)
    assert type(connection) is PooledConnection
    yield connection
    connection.terminate()

    async def is_gone() -> bool:
        return not await postroom.value(f"select count(*) from {OURS}", NAME)

    await until(is_gone)  # the next test asks for what has this name


async def of_the_session(connection: PooledConnection, query: str) -> list[asyncpg.Record]:
    """What a statement without our settings sees there: the next client of this server process."""
    return await asyncpg.Connection.fetch(connection, query)


@pytest.mark.parametrize(
    ("dsn", "address", "road"),
    [
        ("postgresql://app@db.example.com/x", "postgresql://app@db.example.com/x", Road.UNKNOWN),
        ("postgresql://app:p%40ss@db.example.com:6432/x?pgbouncer=true", "postgresql://app:p%40ss@db.example.com:6432/x", Road.POOLED),
        ("postgresql://app@/x?host=/run/pg&pgbouncer=TRUE&port=6432", "postgresql://app@/x?host=/run/pg&port=6432", Road.POOLED),
        ("postgresql:///x?pgbouncer=false&sslmode=disable", "postgresql:///x?sslmode=disable", Road.SESSIONS),
    ],
)
def test_a_connection_string_may_say_what_lies_before_the_server(dsn: str, address: str, road: Road) -> None:
    assert pooled.read(dsn) == (address, road)


async def test_a_connection_string_that_says_neither_yes_nor_no_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="pgbouncer in a connection string is true or false"):
        await db.connect("postgresql:///x?pgbouncer=maybe", name=OTHER)


@pytest.mark.parametrize("say", ["", "&pgbouncer=false"])
async def test_without_a_pooler_a_session_has_its_settings_and_keeps_its_statements(postroom: Postroom, say: str) -> None:
    connection = await db.connect(postroom.dsn + say, name=OTHER, settings=ENGINE_SETTINGS)
    assert not db.is_pooled(connection)
    for name, value in ENGINE_SETTINGS.items():
        assert await db.fetchval(connection, f"show {name}") == value
    await db.rename(connection, "postroom:renamed")
    assert await db.fetchval(connection, "show application_name") == "postroom:renamed"
    assert await db.fetchval(connection, "select count(*) from pg_prepared_statements") > 0
    await connection.close()


async def test_every_statement_runs_with_the_settings_and_leaves_none_behind(engine: PooledConnection) -> None:
    wanted = {**ENGINE_SETTINGS, "application_name": NAME, "idle_in_transaction_session_timeout": "5s"}
    for name, value in wanted.items():
        assert await db.fetchval(engine, f"show {name}") == value
        assert (await db.fetch(engine, f"show {name}"))[0][0] == value
        row = await db.fetchrow(engine, f"show {name}")
        assert row is not None
        assert row[0] == value
    for name in ENGINE_SETTINGS:
        assert (await of_the_session(engine, f"select boot_val = setting from pg_settings where name = '{name}'"))[0][0]
    assert await of_the_session(engine, SET_IN_THE_SESSION) == []


async def test_a_transaction_that_is_begun_has_the_settings_too(engine: PooledConnection) -> None:
    async with engine.transaction():
        assert await engine.fetchval("show enable_seqscan") == "off"
        number = await engine.fetchval("select txid_current()")
        async with engine.transaction():
            assert await engine.fetchval("select txid_current()") == number  # its statements are not transactions of their own
    assert (await of_the_session(engine, "show enable_seqscan"))[0][0] == "on"


async def test_a_statement_and_its_settings_are_one_transaction(engine: PooledConnection, postroom: Postroom) -> None:
    await engine.execute("create table if not exists public.pooled_try (n int)")
    try:
        await engine.execute("insert into public.pooled_try values ($1)", 1)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await db.fetch(engine, "with w as (insert into public.pooled_try values (2)) select 1 / $1::int", 0)
        assert not engine.is_in_transaction()
        assert [row["n"] for row in await postroom.rows("select n from public.pooled_try")] == [1]
        assert await db.fetchval(engine, "select 1") == 1
    finally:
        await postroom.pool.execute("drop table public.pooled_try")


async def test_nothing_is_prepared_by_name(engine: PooledConnection) -> None:
    for n in range(3):
        await db.fetch(engine, "select $1::int", n)
    assert await db.fetchval(engine, "select count(*) from pg_prepared_statements where name <> ''") == 0


async def test_looking_up_a_type_leaves_nothing_behind_and_disturbs_no_transaction(engine: PooledConnection, postroom: Postroom) -> None:
    """The driver switches jit off in the session for it, which is another client's the next moment."""
    plain = await db.connect(forced(postroom.dsn), name=OTHER)
    assert type(plain) is PooledConnection
    for connection in (engine, plain):
        assert await connection.fetchval("select $1::interval[]", []) == []
        async with connection.transaction():
            number = await connection.fetchval("select txid_current()")
            assert await connection.fetchval("select $1::date[]", []) == []
            assert await connection.fetchval("select txid_current()") == number
        assert await of_the_session(connection, SET_IN_THE_SESSION) == []
    await plain.close()


async def test_a_statement_that_takes_too_long_ends_with_its_transaction(engine: PooledConnection, postroom: Postroom) -> None:
    async with postroom.pool.acquire() as other, other.transaction():
        await other.execute("lock table outbox.workers in access exclusive mode")
        with pytest.raises(DatabaseUnavailable, match="TimeoutError"):
            await db.fetch(engine, "select from outbox.workers", timeout_s=0.2)
    assert await db.fetchval(engine, "select 1") == 1
    assert not engine.is_in_transaction()


async def test_the_time_limit_is_for_all_trips_of_a_statement_together(engine: PooledConnection) -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(DatabaseUnavailable, match="TimeoutError"):
        await db.fetch(engine, "select pg_sleep(60)", timeout_s=0.3)
    assert asyncio.get_running_loop().time() - began < 10


async def test_a_cancelled_statement_leaves_no_transaction(engine: PooledConnection, postroom: Postroom) -> None:
    async with postroom.pool.acquire() as other, other.transaction():
        await other.execute("lock table outbox.workers in access exclusive mode")
        waiting = asyncio.create_task(db.fetch(engine, "select from outbox.workers"))
        (pid,) = [row["pid"] for row in await postroom.rows(f"select pid from {OURS}", NAME)]
        await until_it_waits_for_a_lock(postroom, pid)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    async def is_over() -> bool:
        return not await postroom.value(f"select count(*) from {OURS} and xact_start is not null", NAME)

    await until(is_over)


async def test_a_cancellation_is_never_lost_in_the_rollback_of_what_failed_before(
    engine: PooledConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that lost its lease is cancelled just then: it has to begin anew, and not to go on."""
    rolling_back = asyncio.Event()
    execute = asyncpg.Connection.execute

    async def slowly(self: PooledConnection, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 -- as the driver's
        if query == "rollback":
            rolling_back.set()
            await asyncio.Event().wait()
        return await execute(self, query, *args, timeout=timeout)

    monkeypatch.setattr(asyncpg.Connection, "execute", slowly)
    failing = asyncio.create_task(db.fetch(engine, "select 1 / $1::int", 0))
    await asyncio.wait_for(rolling_back.wait(), 20)
    failing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await failing
    assert engine.is_closed()


async def left_in_the_middle(engine: PooledConnection, postroom: Postroom) -> None:
    """As a dispatcher that is frozen between its statement and its commit: it holds the lock on its row."""
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('frozen', now())")
    await engine.execute("BEGIN;")
    await engine.fetch("select from outbox.workers for update")


async def can_lock(postroom: Postroom) -> bool:
    return bool(await postroom.value("select count(*) from (select from outbox.workers for update skip locked) free"))


async def test_a_transaction_left_in_the_middle_is_found_by_its_workers_name(engine: PooledConnection, postroom: Postroom) -> None:
    await left_in_the_middle(engine, postroom)
    assert not await can_lock(postroom)
    async with postroom.pool.acquire() as other:
        assert await workers.terminate(other, int(NAME.partition(":")[2])) == 1
    await until(lambda: can_lock(postroom))


async def test_a_transaction_left_in_the_middle_is_ended_by_postgres_itself(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled, "IDLE_MS", 200)
    connection = await db.connect(forced(postroom.dsn), name=OTHER, settings=ENGINE_SETTINGS)
    assert type(connection) is PooledConnection
    await left_in_the_middle(connection, postroom)
    assert not await can_lock(postroom)
    await until(lambda: can_lock(postroom))
    with pytest.raises(DatabaseUnavailable):
        await db.fetch(connection, "select 1")


async def test_a_name_is_not_given_to_a_session_that_is_shared(engine: PooledConnection) -> None:
    await db.rename(engine, "postroom:renamed")
    assert (await of_the_session(engine, "show application_name"))[0][0] == NAME


async def test_a_pool_behind_a_pooler_prepares_nothing_and_knows_its_types(postroom: Postroom) -> None:
    async with db.pool(forced(postroom.dsn), name=OTHER, size=2) as pool:
        assert await db.fetchval(pool, "select $1::bigint[]", [1, 2]) == [1, 2]
        async with pool.acquire() as connection, connection.transaction():
            held: Connection = connection
            assert await db.fetchval(held, "select count(*) from pg_prepared_statements where name <> ''") == 0
            assert await held.execute("select $1::int", 1) == "SELECT 1"


async def test_durable_commits_are_asked_for_in_each_transaction(postroom: Postroom) -> None:
    connection = await db.connect(forced(postroom.dsn), name=OTHER, settings={"synchronous_commit": "remote_apply"})
    assert type(connection) is PooledConnection
    assert await db.fetchval(connection, "show synchronous_commit") == "remote_apply"
    assert (await of_the_session(connection, "show synchronous_commit"))[0][0] == "on"
    await connection.close()
