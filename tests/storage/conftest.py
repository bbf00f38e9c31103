"""A server of these tests' own: it may prepare transactions, decode its log, and must freeze early."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from outbox import db
from outbox.embedded import FAST, Embedded, find_binaries, temporary_folder
from outbox.migrate import migrate
from outbox.testing import Postroom
from tests.outbox.conftest import new_database

OPTIONS = {
    **FAST,
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "autovacuum_freeze_max_age": "100000",
    "autovacuum_naptime": "1d",
    "max_connections": "100",
}


@pytest.fixture(scope="session")
def strained_server() -> Iterator[Embedded]:
    """Started by the first test of this process that asks."""
    binaries = find_binaries(os.environ.get("POSTROOM_PG_BIN"))
    with temporary_folder() as folder, Embedded(folder / "postgres", binaries=binaries, options=OPTIONS) as server:
        yield server


@pytest.fixture
async def strained(strained_server: Embedded) -> AsyncIterator[Postroom]:
    """A migrated database on it, for one test."""
    async with new_database(strained_server) as dsn:
        connection = await db.connect(dsn, name="postroom:migrate", timeout_s=60)
        await migrate(connection)
        await connection.close()
        async with db.pool(dsn, name="postroom:test", size=4, timeout_s=30) as pool:
            yield Postroom(dsn, pool)
