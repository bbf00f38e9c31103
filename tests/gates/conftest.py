"""A server of the gates' own, where nothing happens that a gate did not do: the position of the WAL and the statistics are its alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from outbox import db
from outbox.embedded import Embedded, find_binaries, temporary_folder
from outbox.testing import Postroom, make_template
from tests.outbox.conftest import new_database

# As by default, but no vacuum, analyze or checkpoint of the server's own choice; what is not synced is written all the same.
QUIET = {"autovacuum": "off", "fsync": "off", "checkpoint_timeout": "1h", "max_wal_size": "4GB", "shared_buffers": "256MB"}


@pytest.fixture(scope="session")
def quiet_server() -> Iterator[Embedded]:
    """One for each process of the test run."""
    with temporary_folder() as folder, Embedded(folder / "postgres", binaries=find_binaries(None), options=QUIET) as server:
        yield server


@pytest.fixture(scope="session")
def quiet_template(quiet_server: Embedded) -> str:
    """As postroom_template, there."""
    return asyncio.run(make_template(quiet_server))


@pytest.fixture
async def quiet(quiet_server: Embedded, quiet_template: str) -> AsyncIterator[Postroom]:
    """A migrated database in which nothing was ever counted or planned."""
    async with (
        new_database(quiet_server, quiet_template) as dsn,
        db.pool(dsn, name="postroom:test", size=4, timeout_s=120) as pool,
    ):
        yield Postroom(dsn, pool)
