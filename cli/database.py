"""The database of a command: DATABASE_URL, else the embedded Postgres of the data folder, joined for as long as the command runs.

Owns no SQL. What a command started it stops; what another process keeps running it only joins.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlsplit

from cli.errors import Failed
from outbox import db
from outbox.config import DatabaseSettings
from outbox.embedded import Embedded, EmbeddedError, find_binaries
from outbox.errors import ConfigError
from outbox.log import get_logger
from outbox.migrate import check, migrate

T = TypeVar("T")
log = get_logger(__name__)

WATCH_S = 1.0
LONGEST_WAIT_S = 30.0
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


@contextmanager
def database(
    settings: DatabaseSettings, *, create: bool = False, keep: bool = False, options: Mapping[str, str] = NO_OPTIONS
) -> Iterator[str]:
    """The connection string. Without DATABASE_URL an embedded server runs until the block ends (or longer, for its other owners).

    `create` makes the embedded database when there is none yet; without it that is an error that says what to run first.
    `keep` starts the embedded server again should it die.
    """
    if settings.database_url is not None:
        yield _checked(settings.database_url.get_secret_value())
        return
    with _embedded(settings, create=create, options=options) as server, _kept(server) if keep else nullcontext():
        yield server.dsn()


def direct(settings: DatabaseSettings, dsn: str) -> str:
    """The way past a transaction pooler where one is named: for LISTEN, which is deaf behind it, and for migrations."""
    return dsn if settings.direct_url is None else _checked(settings.direct_url.get_secret_value(), name="DATABASE_DIRECT_URL")


def _checked(url: str, *, name: str = "DATABASE_URL") -> str:
    """A connection string that can be read at all: the driver says so only in the middle of things, in several ways."""
    try:
        parts = urlsplit(url)
        is_readable = parts.scheme in ("postgresql", "postgres") and (parts.port is None or parts.port > 0)
    except ValueError:
        is_readable = False
    if not is_readable:
        raise ConfigError(f"{name} cannot be read. It looks like postgresql://user:password@host:5432/database.")
    return url


def _embedded(settings: DatabaseSettings, *, create: bool, options: Mapping[str, str]) -> Embedded:
    folder = settings.data_dir
    if not create and not folder.is_dir():
        raise _nothing_there(folder)
    server = Embedded(folder, binaries=find_binaries(settings.pg_bin), options=options)
    if not create and not server.place.cluster.is_dir():
        raise _nothing_there(folder)
    return server


def _nothing_there(folder: Path) -> Failed:
    return Failed(
        f"There is no database: DATABASE_URL is not set, and {folder} holds no embedded Postgres yet. "
        "Run `postroom up` or `postroom migrate` first, or set DATABASE_URL or POSTROOM_DATA_DIR."
    )


@contextmanager
def _kept(server: Embedded) -> Iterator[None]:
    """Looks every second whether the server still lives, in a thread of its own, and starts it again if not (P9)."""
    ended = threading.Event()

    def watch() -> None:
        wait_s = WATCH_S
        while not ended.wait(wait_s):
            if server.is_ready:
                wait_s = WATCH_S
                continue
            try:
                server.start()
                log.warning("embedded postgres was down; it runs again", folder=str(server.place.folder))
                wait_s = WATCH_S
            except EmbeddedError as problem:
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
                log.error("embedded postgres does not start", problem=problem, again_in_s=wait_s)

    watcher = threading.Thread(target=watch, name="embedded postgres", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


@asynccontextmanager
async def opened(dsn: str, *, size: int = 2) -> AsyncIterator[db.Pool]:
    """A pool on a database that has this code's schema. Raises DatabaseUnavailable, SchemaMismatch."""
    async with db.pool(dsn, name="postroom:cli", size=size, timeout_s=30) as pool:
        with db.mapped():
            async with pool.acquire() as connection:
                await check(connection)
        yield pool


def ask(act: Callable[[db.Pool], Awaitable[T]]) -> T:
    """What a short command does: runs `act` on a pool of the settings' database and returns what it returned."""

    async def run(dsn: str) -> T:
        async with opened(dsn) as pool:
            return await act(pool)

    with database(DatabaseSettings.read()) as dsn:
        return asyncio.run(run(dsn))


async def migrated(dsn: str) -> list[str]:
    """Brings the database to this code's schema. Returns the names of what was applied."""
    connection = await db.connect(dsn, name="postroom:migrate", timeout_s=30)
    try:
        return await migrate(connection)
    finally:
        connection.terminate()
