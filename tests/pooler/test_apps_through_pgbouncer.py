"""P3 for apps whose own connections go through PgBouncer: stage() is one statement of the app's transaction, so the app's driver decides.

What docs/operations.md says that each driver has to be told is told here, and without it asyncpg fails.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from outbox import Event, stage
from outbox.testing import Postroom
from tests.pooler.pgbouncer import PgBouncer

pytestmark = pytest.mark.long

Commit = Callable[[Event], Awaitable[int]]  # stages in a transaction of its own
Apps = Callable[[str], AbstractAsyncContextManager[Commit]]
TIMES = 12  # psycopg prepares what it sees for the sixth time


@asynccontextmanager
async def over_asyncpg(dsn: str, **settings: Any) -> AsyncIterator[Commit]:
    connection = await asyncpg.connect(dsn, **settings)

    async def commit(event: Event) -> int:
        async with connection.transaction():
            return int(await stage(connection, event))

    try:
        yield commit
    finally:
        connection.terminate()


@asynccontextmanager
async def over_psycopg(dsn: str) -> AsyncIterator[Commit]:
    async with await psycopg.AsyncConnection.connect(dsn, prepare_threshold=None) as connection:

        async def commit(event: Event) -> int:
            async with connection.transaction():
                return int(await stage(connection, event))

        yield commit


def over_sqlalchemy(driver: str, settings: dict[str, Any]) -> Apps:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Commit]:
        engine = create_async_engine(dsn.replace("postgresql:", f"postgresql+{driver}:", 1), poolclass=NullPool, connect_args=settings)

        async def commit(event: Event) -> int:
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(sqlalchemy.text("select 1"))
                return int(await stage(session, event))

        try:
            yield commit
        finally:
            await engine.dispose()

    return opened


WITHOUT_PREPARED = {"statement_cache_size": 0, "prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
APPS: dict[str, Apps] = {
    "asyncpg": lambda dsn: over_asyncpg(dsn, statement_cache_size=0),
    "psycopg": over_psycopg,
    "sqlalchemy, asyncpg": over_sqlalchemy("asyncpg", WITHOUT_PREPARED),
    "sqlalchemy, psycopg": over_sqlalchemy("psycopg", {"prepare_threshold": None}),
}


async def staged_by_turns(dsn: str, app: Apps) -> list[int]:
    """Two processes of an app, by turns on one server connection and on another, because somebody keeps the one."""
    ids = []
    async with AsyncExitStack() as stack:
        commits = [await stack.enter_async_context(app(dsn)) for _ in range(2)]
        somebody = await asyncpg.connect(dsn, statement_cache_size=0)
        stack.callback(somebody.terminate)
        for n in range(TIMES * 2):
            async with somebody.transaction() if n % 3 else nullcontext():
                ids.append(await commits[n % 2](Event("app.happened", {"n": n // 2}, key=f"k-{n // 2}")))
    return ids


@pytest.mark.parametrize("driver", list(APPS))
async def test_p3_a_driver_that_is_told_of_it_stages_through_it(bouncer: PgBouncer, postroom: Postroom, driver: str) -> None:
    ids = await staged_by_turns(bouncer.dsn(postroom.dsn), APPS[driver])
    assert ids == sorted(2 * [event["id"] for event in await postroom.staged()])
    assert len(set(ids)) == TIMES


async def test_asyncpg_that_is_not_told_of_it_fails_loudly(bouncer: PgBouncer, postroom: Postroom) -> None:
    with pytest.raises((asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)):
        await staged_by_turns(bouncer.dsn(postroom.dsn), over_asyncpg)
