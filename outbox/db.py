"""Connections to Postgres, and the only place where its errors are named.

Owns pools, dedicated connections, time limits and the mapping of driver errors to DatabaseUnavailable. Holds no SQL.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from outbox.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg.pool import PoolConnectionProxy

    Record: TypeAlias = asyncpg.Record
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Record = asyncpg.Record
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

# What says "no database now" rather than "this statement is wrong".
UNAVAILABLE: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    ssl.SSLError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    asyncpg.InternalClientError,
)

# Statistics lie on tables that swing between empty and large; one flipped plan costs 300-500 ms a turn.
# Generic plans, because a custom one knows the arrays' lengths and then joins them by comparing all with all (13 ms instead of 4).
ENGINE_SETTINGS = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}


@contextmanager
def mapped() -> "Iterator[None]":
    """Turns the driver's "no database now" errors into DatabaseUnavailable; everything else passes."""
    try:
        yield
    except UNAVAILABLE as problem:
        raise DatabaseUnavailable(
            f"Postgres did not answer ({type(problem).__name__}); check DATABASE_URL and the server, then it goes on by itself"
        ) from problem


async def connect(
    dsn: str, *, name: str, timeout_s: float = 10, settings: Mapping[str, str] | None = None
) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection of its own, called `name` in pg_stat_activity. Raises DatabaseUnavailable."""
    with mapped():
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            dsn, timeout=timeout_s, command_timeout=timeout_s, server_settings={"application_name": name, **(settings or {})}
        )
    return connection


async def _keep(_: object) -> None:
    """Leaves a released connection as it is: asyncpg's reset is a round trip and a transaction for each release."""


@asynccontextmanager
async def pool(dsn: str, *, name: str, size: int = 4, timeout_s: float = 10) -> "AsyncIterator[Pool]":
    """A pool of up to `size` connections, opened on first use, so that a database that is away does not stop the start."""
    made = asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        timeout=timeout_s,
        command_timeout=timeout_s,
        reset=_keep,
        server_settings={"application_name": name},
    )
    await made  # with min_size 0 this connects to nothing
    try:
        yield made
    finally:
        try:
            await asyncio.wait_for(made.close(), 5)
        except UNAVAILABLE:
            made.terminate()


async def fetch(connection: "Connection | Pool", query: str, *args: Any, timeout_s: float | None = None) -> "list[Record]":
    """The rows of a query. Raises DatabaseUnavailable."""
    with mapped():
        return await connection.fetch(query, *args, timeout=timeout_s)


async def fetchrow(connection: "Connection | Pool", query: str, *args: Any, timeout_s: float | None = None) -> "Record | None":
    """The first row of a query, if any. Raises DatabaseUnavailable."""
    with mapped():
        return await connection.fetchrow(query, *args, timeout=timeout_s)


async def fetchval(connection: "Connection | Pool", query: str, *args: Any, timeout_s: float | None = None) -> Any:
    """The first column of the first row. Raises DatabaseUnavailable."""
    with mapped():
        return await connection.fetchval(query, *args, timeout=timeout_s)
