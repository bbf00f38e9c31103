"""Worlds on databases of their own for crash tests, and the keeping of evidence."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from outbox import db
from outbox.embedded import Embedded
from tests.conftest import database_on
from tests.crashes import evidence as kept
from tests.crashes.evidence import Row
from tests.crashes.world import World

Worlds = Callable[[], AbstractAsyncContextManager[World]]
POOL_SIZE = 4


@asynccontextmanager
async def world_on(server: Embedded, template: str) -> AsyncIterator[World]:
    """A world on a new database of this server, a copy of a migrated one, which is dropped at the end."""
    async with (
        database_on(server, template) as dsn,
        db.pool(dsn, name="postroom:test", size=POOL_SIZE, timeout_s=30) as pool,
        World.open(dsn, pool) as world,
    ):
        yield world


@pytest.fixture
def worlds(postroom_server: Embedded, postroom_template: str) -> Worlds:
    """`async with worlds() as world`: as many as a test needs, also at once, on the run's server (which is not to be killed)."""
    return lambda: world_on(postroom_server, postroom_template)


@pytest.fixture
async def world(worlds: Worlds) -> AsyncIterator[World]:
    """A world on a database of this test alone."""
    async with worlds() as one:
        yield one


@pytest.fixture
def own_worlds(own_server: Embedded, own_template: str) -> Worlds:
    """As worlds, there."""
    return lambda: world_on(own_server, own_template)


@pytest.fixture
async def own_world(own_worlds: Worlds) -> AsyncIterator[World]:
    """A world on `own_server`."""
    async with own_worlds() as one:
        yield one


@pytest.fixture
def evidence() -> Callable[[Row], None]:
    """`evidence(Row(…))`: kept where POSTROOM_EVIDENCE names a folder."""
    folder = os.environ.get(kept.FOLDER)
    return lambda row: kept.keep(row, Path(folder)) if folder else None
