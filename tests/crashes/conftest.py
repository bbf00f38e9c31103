"""Databases and servers of their own for crash tests, and the keeping of evidence."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from outbox import db
from outbox.embedded import Embedded, find_binaries, temporary_folder
from outbox.testing import administer, make_template
from tests.crashes import evidence as kept
from tests.crashes.evidence import Row
from tests.crashes.world import World

Worlds = Callable[[], AbstractAsyncContextManager[World]]
POOL_SIZE = 4


@asynccontextmanager
async def world_on(server: Embedded, template: str) -> AsyncIterator[World]:
    """A world on a new database of this server, a copy of a migrated one, which is dropped at the end."""
    name = f"crash_{uuid.uuid4().hex[:12]}"
    await administer(server, f"create database {name} template {template}")
    try:
        async with (
            db.pool(server.dsn(name), name="postroom:test", size=POOL_SIZE, timeout_s=30) as pool,
            World.open(server.dsn(name), pool) as world,
        ):
            yield world
    finally:
        await administer(server, f"drop database {name} with (force)")


@pytest.fixture
def worlds(postroom_server: Embedded, postroom_template: str) -> Worlds:
    """`async with worlds() as world`: as many as a test needs, also at once, on the run's server (which is not to be killed)."""
    return lambda: world_on(postroom_server, postroom_template)


@pytest.fixture
async def world(worlds: Worlds) -> AsyncIterator[World]:
    """A world on a database of this test alone."""
    async with worlds() as one:
        yield one


@pytest.fixture(scope="session")
def own_server() -> Iterator[Embedded]:
    """A server of this process's own, so that it may be killed; whoever kills it starts it again.

    Without fsync: what a killed process had written, the operating system still has. A power cut is nothing that a test can make.
    """
    binaries, options = find_binaries(os.environ.get("POSTROOM_PG_BIN")), {"fsync": "off", "max_connections": "300"}
    with temporary_folder() as folder, Embedded(folder / "postgres", binaries=binaries, options=options) as server:
        yield server


@pytest.fixture(scope="session")
def own_template(own_server: Embedded) -> str:
    """As postroom_template, there."""
    return asyncio.run(make_template(own_server))


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
