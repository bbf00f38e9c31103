"""A Postgres of the benchmark's own, set so that no checkpoint falls into some runs and not into others; a fresh database for each case."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from outbox import db
from outbox.embedded import Embedded, find_binaries, temporary_folder
from outbox.migrate import migrate

OPTIONS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "max_connections": "200", "checkpoint_timeout": "1h"}


TEMPLATE = "bench_template"


@contextmanager
def server() -> Iterator[Embedded]:
    """Durable as by default: fsync, synchronous_commit and full_page_writes are on."""
    with temporary_folder() as folder, Embedded(folder / "postgres", binaries=find_binaries(None), options=OPTIONS) as running:
        yield running


@asynccontextmanager
async def database(running: Embedded, name: str, *, migrated: bool = True) -> AsyncIterator[str]:
    """A fresh database, dropped afterwards, so that one case's dead rows do not slow the next. Yields its connection string."""
    admin = await db.connect(running.dsn("postgres"), name="bench:admin", timeout_s=120)
    await admin.execute(f"drop database if exists {name} with (force)")
    if migrated:
        await _make_template(running, admin)
    await admin.execute(f"create database {name} template {TEMPLATE if migrated else 'template1'}")
    try:
        yield running.dsn(name)
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()


async def _make_template(running: Embedded, admin: db.Connection) -> None:
    """Once: every migration takes longer than to copy what they make."""
    if await db.fetchval(admin, "select exists (select from pg_database where datname = $1)", TEMPLATE):
        return
    await admin.execute(f"create database {TEMPLATE}")
    connection = await db.connect(running.dsn(TEMPLATE), name="bench:migrate", timeout_s=60)
    await migrate(connection)
    await connection.close()


async def wal_bytes(running: Embedded) -> int:
    """Bytes of WAL since the server was made."""
    connection = await db.connect(running.dsn("postgres"), name="bench:wal")
    written = int(await db.fetchval(connection, "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"))
    await connection.close()
    return written


async def version(running: Embedded) -> str:
    """Postgres's own."""
    connection = await db.connect(running.dsn("postgres"), name="bench:version")
    text = str(await db.fetchval(connection, "show server_version"))
    await connection.close()
    return text.split()[0]
