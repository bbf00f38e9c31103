"""Connections to Postgres, and the only place where its errors are named.

Owns pools, dedicated connections, time limits and the mapping of driver errors to DatabaseUnavailable. Whether a transaction pooler
is in between, each connection finds out as it is made: then it is an outbox.pooled one. Holds no SQL.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from outbox import arrays, pooled
from outbox.errors import DatabaseUnavailable
from outbox.pooled import ROLLBACK_S, PooledConnection, Road

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg.pool import PoolConnectionProxy
    from asyncpg.transaction import Transaction

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
    """One connection of its own, called `name` in pg_stat_activity, with `settings` in force. Raises DatabaseUnavailable."""
    with mapped():
        return await _open(dsn, name=name, timeout_s=timeout_s, settings=settings or {})


async def _open(dsn: str, *, name: str, timeout_s: float, settings: Mapping[str, str]) -> "asyncpg.Connection[asyncpg.Record]":
    """Within `timeout_s` as a whole."""
    url, road = pooled.read(dsn)
    async with asyncio.timeout(timeout_s):
        if road is not Road.POOLED:
            connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
                url, timeout=timeout_s, command_timeout=timeout_s, server_settings={"application_name": name}
            )
            try:
                arrays.tell(connection)
                if await pooled.is_direct(connection, settings, sure=road is Road.SESSIONS):
                    return connection
                await connection.close()
            except BaseException:
                connection.terminate()
                raise
        return await pooled.connect(url, name=name, timeout_s=timeout_s, settings=settings)


def is_pooled(connection: "Connection") -> bool:
    """Whether a transaction pooler is before this connection (not one of a pool): nothing of a session lasts, no NOTIFY is heard."""
    return type(connection) is PooledConnection  # the driver's isinstance() takes every connection for every kind of it


async def rename(connection: "Connection", name: str) -> None:
    """Calls it `name` in pg_stat_activity from now on; through a pooler it keeps its first name. Raises DatabaseUnavailable."""
    if not is_pooled(connection):
        await fetch(connection, "select set_config('application_name', $1, false)", name)


async def _keep(_: object) -> None:
    """Leaves a released connection as it is: asyncpg's reset is a round trip and a transaction for each release."""


@asynccontextmanager
async def pool(dsn: str, *, name: str, size: int = 4, timeout_s: float = 10) -> "AsyncIterator[Pool]":
    """A pool of up to `size` connections, opened on first use, so that a database that is away does not stop the start."""

    async def connect_one(*_: Any, **__: Any) -> "asyncpg.Connection[asyncpg.Record]":
        return await _open(dsn, name=name, timeout_s=timeout_s, settings={})

    made = asyncpg.create_pool(min_size=0, max_size=size, reset=_keep, connect=connect_one)
    await made  # with min_size 0 this connects to nothing
    try:
        yield made
    finally:
        try:
            async with asyncio.timeout(5):
                await made.close()
        except UNAVAILABLE:
            made.terminate()


@asynccontextmanager
async def acquired(pool: "Pool") -> "AsyncIterator[Connection]":
    """A connection of the pool. One that does not answer in time is dropped at once, rather than asked to take its statement back.

    The idle ones are replaced then, before they are used: they may lead into the same silent line.
    """
    connection = await pool.acquire()
    try:
        yield connection
    except BaseException as problem:
        if isinstance(problem, TimeoutError):
            _drop(connection)
            await pool.expire_connections()
        with suppress(Exception):  # what failed first is told: above all, a cancellation travels on
            await pool.release(connection, timeout=ROLLBACK_S)
        raise
    await pool.release(connection)


@asynccontextmanager
async def transaction(pool: "Pool") -> "AsyncIterator[Connection]":
    """A transaction on a connection of the pool. Raises DatabaseUnavailable, also when the result of its commit is unknown."""
    with mapped():
        async with acquired(pool) as connection:
            begun = connection.transaction()
            await begun.start()
            try:
                yield connection
            except TimeoutError:
                raise  # it is dropped, and its transaction with it
            except BaseException:
                await _roll_back(begun, connection)
                raise
            await begun.commit()


async def _roll_back(begun: "Transaction", connection: "Connection") -> None:
    """Or, when that fails or takes long, drops the connection and its transaction with it: what failed first is told."""
    try:
        async with asyncio.timeout(ROLLBACK_S):
            await begun.rollback()
    except asyncio.CancelledError:
        _drop(connection)
        raise
    except Exception:  # noqa: BLE001
        _drop(connection)


def _drop(connection: "Connection") -> None:
    with suppress(asyncpg.InterfaceError):  # one that fell is no longer ours
        connection.terminate()


async def fetch(connection: "Connection | Pool", query: str, *args: Any, timeout_s: float | None = None) -> "list[Record]":
    """The rows of a query. Raises DatabaseUnavailable."""
    with mapped():
        if isinstance(connection, asyncpg.Pool):
            async with acquired(connection) as one:
                return await one.fetch(query, *args, timeout=timeout_s)
        return await connection.fetch(query, *args, timeout=timeout_s)


async def fetchrow(connection: "Connection | Pool", query: str, *args: Any, timeout_s: float | None = None) -> "Record | None":
    """The first row of a query, if any. Raises DatabaseUnavailable."""
    with mapped():
        if isinstance(connection, asyncpg.Pool):
            async with acquired(connection) as one:
                return await one.fetchrow(query, *args, timeout=timeout_s)
        return await connection.fetchrow(query, *args, timeout=timeout_s)


async def fetchval(connection: "Connection | Pool", query: str, *args: Any, timeout_s: float | None = None) -> Any:
    """The first column of the first row. Raises DatabaseUnavailable."""
    with mapped():
        if isinstance(connection, asyncpg.Pool):
            async with acquired(connection) as one:
                return await one.fetchval(query, *args, timeout=timeout_s)
        return await connection.fetchval(query, *args, timeout=timeout_s)
