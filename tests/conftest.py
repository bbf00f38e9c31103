"""How the whole suite runs: where its servers keep their files, how many processes run it, how many examples a property gets.

The fixtures are those of outbox.testing, as an app that uses Postroom gets them, and here a server that may be killed.
"""

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from outbox import db
from outbox.embedded import Embedded, find_binaries, temporary_folder
from outbox.testing import Postroom, administer, make_template

# A database is hundreds of files, and each table that is emptied some more: in memory they cost a third of what a disk takes.
MEMORY, ROOM_BYTES = Path("/dev/shm"), 6 << 30
EXAMPLES, EXAMPLES_LONG = 25, 100  # where a test names no number: in `make test`, and otherwise
EVIDENCE = {"crashes", "pooler", "storage"}


@pytest.hookimpl(tryfirst=True)  # outbox.testing looks for its folder as soon as it is configured
def pytest_configure(config: pytest.Config) -> None:
    """Before any test file is imported. The other processes of a run inherit the folder; TMPDIR names another one."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None
    is_short = config.option.markexpr == "not long"
    # The cores may be busy: how long an example takes, or takes to be made up, says nothing.
    settings.register_profile(
        "postroom", max_examples=EXAMPLES if is_short else EXAMPLES_LONG, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("postroom")


def pytest_itemcollected(item: pytest.Item) -> None:
    """What docs/evidence.md tells of is known by its folder."""
    if item.path.relative_to(Path(__file__).parent).parts[0] in EVIDENCE:
        item.add_marker("evidence")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: now and then each of them waits for a process, a lease or a fault."""
    return (os.cpu_count() or 1) + 1


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


@asynccontextmanager
async def database_on(server: Embedded, template: str) -> AsyncIterator[str]:
    """A copy of a migrated database, whatever becomes of the server meanwhile; dropped at the end. Its connection string."""
    name = f"crash_{uuid.uuid4().hex[:12]}"
    await administer(server, f"create database {name} template {template}")
    try:
        yield server.dsn(name)
    finally:
        server.start()
        await administer(server, f"drop database {name} with (force)")


@pytest.fixture
async def mortal(own_server: Embedded, own_template: str) -> AsyncIterator[Postroom]:
    """A migrated database of this test alone on `own_server`."""
    async with database_on(own_server, own_template) as dsn, db.pool(dsn, name="postroom:test", size=4) as pool:
        yield Postroom(dsn, pool)
