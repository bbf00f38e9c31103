"""Connections: every "no database now" of the driver has one name, everything else keeps its own, and nothing waits for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from unittest.mock import AsyncMock

import asyncpg
import pytest

from outbox import arrays, db
from outbox.errors import DatabaseUnavailable
from outbox.testing import Postroom
from tests.crashes.proxy import Way, line_to_database
from tests.outbox.waiting import until_it_waits_for_a_lock

AWAY = "postgresql:///x?host=/nowhere"


async def test_a_database_that_is_away_is_unavailable_and_stops_no_pool_from_opening() -> None:
    with pytest.raises(DatabaseUnavailable, match="check DATABASE_URL and the server"):
        await db.connect(AWAY, name="postroom:test")
    async with db.pool(AWAY, name="postroom:test") as pool:
        with pytest.raises(DatabaseUnavailable):
            await db.fetch(pool, "select 1")


async def test_a_query_that_takes_too_long_is_unavailable(postroom: Postroom) -> None:
    async def takes_too_long(ask: Callable[..., Awaitable[object]]) -> None:
        connection = await db.connect(postroom.dsn, name="postroom:test", timeout_s=0.3)
        with pytest.raises(DatabaseUnavailable, match="TimeoutError"):
            await ask(connection, "select pg_sleep(60)")
        connection.terminate()

    async def has_time() -> None:
        connection = await db.connect(postroom.dsn, name="postroom:test", timeout_s=0.3)
        assert await db.fetchval(connection, "select pg_sleep(0.4)::text", timeout_s=20) == ""
        connection.terminate()

    await asyncio.gather(*(takes_too_long(ask) for ask in (db.fetch, db.fetchrow, db.fetchval)), has_time())


async def test_arrays_of_postgres_own_types_are_known_without_a_question_for_each_connection(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = AsyncMock(side_effect=AssertionError("the server was asked what an array is"))
    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", asked)
    types = [f"array[null::{name.removeprefix('_')}]" for name in (row["name"] for row in arrays.ROWS)]
    async with db.pool(postroom.dsn, name="postroom:test") as pool:
        [row] = await db.fetch(pool, f"select {', '.join(types)}")
        assert list(row) == [[None]] * len(types)
        assert await db.fetchval(pool, "select $1::int[]", [1, None, 3]) == [1, None, 3]
    theirs = "select oid, typname, typelem from pg_type where typname = any ($1::text[]) order by oid"
    told = [(row["oid"], row["name"], row["elemtype"]) for row in arrays.ROWS]
    assert [tuple(row) for row in await postroom.pool.fetch(theirs, [name for _, name, _ in told])] == told


async def test_a_connection_that_the_server_ended_is_unavailable(postroom: Postroom) -> None:
    connection = await db.connect(postroom.dsn, name="postroom:ended")
    await postroom.pool.execute("select pg_terminate_backend($1)", connection.get_server_pid())
    with pytest.raises(DatabaseUnavailable):
        await db.fetch(connection, "select 1")


@pytest.mark.parametrize(
    ("code", "is_ours"), [("40P01", True), ("55P03", True), ("57P01", True), ("53300", True), ("23505", False), ("22012", False)]
)
async def test_the_servers_words_for_later_are_unavailable_and_its_words_for_wrong_are_not(
    postroom: Postroom, code: str, is_ours: bool
) -> None:
    raises = f"do $$ begin raise exception 'said so' using errcode = '{code}'; end $$"
    with pytest.raises(DatabaseUnavailable if is_ours else asyncpg.PostgresError):
        await db.fetch(postroom.pool, raises)


async def test_a_deadlock_is_something_to_try_again(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as one, postroom.pool.acquire() as other:
        await one.execute("set deadlock_timeout = '10ms'")
        transactions = [connection.transaction() for connection in (one, other)]
        for number, (connection, transaction) in enumerate(zip((one, other), transactions, strict=True)):
            await transaction.start()
            await connection.execute("select pg_advisory_xact_lock(7399, $1)", number)
        waiting = asyncio.create_task(db.fetch(other, "select pg_advisory_xact_lock(7399, 0)"))
        await until_it_waits_for_a_lock(postroom, other.get_server_pid())
        with pytest.raises(DatabaseUnavailable, match="DeadlockDetectedError"):
            await db.fetch(one, "select pg_advisory_xact_lock(7399, 1)")
        await transactions[0].rollback()
        await waiting
        await transactions[1].rollback()
        await one.execute("reset deadlock_timeout")


async def test_a_connection_is_named_and_set_as_asked(postroom: Postroom) -> None:
    connection = await db.connect(postroom.dsn, name="postroom:named", settings=db.ENGINE_SETTINGS)
    assert await db.fetchval(connection, "show application_name") == "postroom:named"
    for name, value in db.ENGINE_SETTINGS.items():
        assert await db.fetchval(connection, f"show {name}") == value
    await connection.close()


async def test_a_pool_that_was_closed_is_unavailable(postroom: Postroom) -> None:
    async with db.pool(postroom.dsn, name="postroom:test") as pool:
        assert await db.fetchval(pool, "select 1") == 1
        assert await db.fetchrow(pool, "select 1 where false") is None
    with pytest.raises(DatabaseUnavailable):
        await db.fetchval(pool, "select 1")


# ── a cancellation travels


@asynccontextmanager
async def at_rest(pool: db.Pool, *, sleeps: bool) -> AsyncIterator[tuple["asyncio.Task[None]", db.Connection]]:
    """A task in a transaction, in the middle of a statement (`sleeps`) or between two."""
    inside: asyncio.Future[db.Connection] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with db.transaction(pool) as connection:
            await connection.execute("select 1")
            inside.set_result(connection)
            await (connection.execute("select pg_sleep(60)") if sleeps else asyncio.Event().wait())

    task = asyncio.create_task(work())
    yield task, await inside
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert task.cancelled()


async def test_a_rollback_that_fails_does_not_take_the_place_of_a_cancellation(postroom: Postroom) -> None:
    async with db.pool(postroom.dsn, name="postroom:test") as pool, at_rest(pool, sleeps=False) as (_, connection):
        fell = asyncio.Event()
        connection.add_termination_listener(lambda _: fell.set())
        await postroom.pool.execute("select pg_terminate_backend($1)", connection.get_server_pid())
        await fell.wait()


@pytest.mark.parametrize("sleeps", [False, True])
async def test_a_cancellation_does_not_wait_for_a_silent_line(postroom: Postroom, monkeypatch: pytest.MonkeyPatch, sleeps: bool) -> None:
    monkeypatch.setattr(db, "ROLLBACK_S", 0.1)
    async with line_to_database(postroom.dsn) as (line, dsn), db.pool(dsn, name="postroom:test", timeout_s=60) as pool:
        async with at_rest(pool, sleeps=sleeps):
            line.stall()
        line.flow()
        assert await db.fetchval(pool, "select 1") == 1


async def test_a_cancelled_query_of_a_pool_does_not_wait_for_a_silent_line(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "ROLLBACK_S", 0.1)
    async with line_to_database(postroom.dsn) as (line, dsn), db.pool(dsn, name="postroom:test", timeout_s=60) as pool:
        await db.fetch(pool, "select 1")
        line.stall_at(Way.THERE, b"nobody hears this")
        asking = asyncio.create_task(db.fetch(pool, "select 'nobody hears this'"))
        await line.struck.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asking, 10)
