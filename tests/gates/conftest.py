"""A server of the gates' own, where nothing happens that a gate did not do: the position of the WAL and the statistics are its alone."""

import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from outbox import db
from outbox.embedded import Embedded, find_binaries, temporary_folder
from outbox.migrate import migrate
from outbox.testing import Postroom

# As by default, but no vacuum, analyze or checkpoint of the server's own choice; what is not synced is written all the same.
QUIET = {"autovacuum": "off", "fsync": "off", "checkpoint_timeout": "1h", "max_wal_size": "4GB", "shared_buffers": "256MB"}


@pytest.fixture(scope="session")
def quiet_server() -> Iterator[Embedded]:
    """One for each process of the test run."""
    with temporary_folder() as folder, Embedded(folder / "postgres", binaries=find_binaries(None), options=QUIET) as server:
        yield server


@pytest.fixture
async def quiet(quiet_server: Embedded) -> AsyncIterator[Postroom]:
    """A migrated database in which nothing was ever counted or planned."""
    name = f"gate_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(quiet_server.dsn("postgres"))
    await admin.execute(f"create database {name}")
    try:
        connection = await asyncpg.connect(quiet_server.dsn(name))
        await migrate(connection)
        await connection.close()
        async with db.pool(quiet_server.dsn(name), name="postroom:test", size=4, timeout_s=120) as pool:
            yield Postroom(quiet_server.dsn(name), pool)
    finally:
        await admin.execute(f"drop database {name} with (force)")
        await admin.close()
