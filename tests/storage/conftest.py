"""A server of these tests' own: it may prepare transactions, decode its log, and must freeze early."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from outbox import db
from outbox.embedded import FAST, Embedded, find_binaries, temporary_folder
from outbox.testing import Postroom, make_template
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


@pytest.fixture(scope="session")
def strained_template(strained_server: Embedded) -> str:
    """As postroom_template, there."""
    return asyncio.run(make_template(strained_server))


@pytest.fixture
async def strained(strained_server: Embedded, strained_template: str) -> AsyncIterator[Postroom]:
    """A migrated database on it, for one test."""
    async with (
        new_database(strained_server, strained_template) as dsn,
        db.pool(dsn, name="postroom:test", size=4, timeout_s=30) as pool,
    ):
        yield Postroom(dsn, pool)
