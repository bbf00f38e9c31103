"""Databases of their own for tests that change the schema, its days or its roles; all others share `postroom`."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from outbox import db
from outbox.embedded import Embedded
from outbox.testing import Postroom
from tests.outbox.doors import DOORS, PYTHON_DOORS, Open


@asynccontextmanager
async def new_database(server: Embedded, template: str = "template1") -> AsyncIterator[str]:
    """A database like its template (an empty one), dropped at the end. Its connection string."""
    name = f"own_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(server.dsn("postgres"))
    try:
        await admin.execute(f"create database {name} template {template}")
        yield server.dsn(name)
        await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


@pytest.fixture
async def empty_database(postroom_server: Embedded) -> AsyncIterator[str]:
    """The connection string of a database without any schema of ours."""
    async with new_database(postroom_server) as dsn:
        yield dsn


@pytest.fixture
async def own(postroom_server: Embedded, postroom_template: str) -> AsyncIterator[Postroom]:
    """A migrated database of this test alone: its days, roles and sequences may be changed."""
    async with (
        new_database(postroom_server, postroom_template) as dsn,
        db.pool(dsn, name="postroom:test", size=8, timeout_s=30) as pool,
    ):
        yield Postroom(dsn, pool)


@pytest.fixture
async def stranger(own: Postroom) -> AsyncIterator[str]:
    """A role that was granted nothing, in the database `own`."""
    name = f"stranger_{uuid.uuid4().hex[:12]}"
    await own.pool.execute(f"create role {name}")
    yield name
    await own.pool.execute(f"drop owned by {name} cascade")
    await own.pool.execute(f"drop role {name}")


@pytest.fixture(params=list(DOORS))
def door(request: pytest.FixtureRequest) -> Open:
    """Each way into the outbox."""
    return DOORS[request.param]


@pytest.fixture(params=list(PYTHON_DOORS))
def python_door(request: pytest.FixtureRequest) -> Open:
    """Each way into the outbox that goes through outbox.stage() of Python."""
    return PYTHON_DOORS[request.param]
