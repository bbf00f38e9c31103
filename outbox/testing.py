"""A pytest plugin for Postroom and for apps that use it: a real Postgres, the outbox's rows, a drain, signed requests, simulators.

Fixtures: `postroom` (a migrated, empty database of this test), `staged`, `drain`, `ghl`, `notion`, `phorest` (running simulators),
`signed` (requests signed as the providers do). One server for a test run, shared by all of its processes; a database for
each; tables emptied before each test. Nothing starts before a test asks for it.
"""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

# pytest-asyncio knows its own fixtures in its strict mode, too; another plugin for asyncio knows pytest's.
try:
    from pytest_asyncio import fixture as async_fixture
except ImportError:
    async_fixture = pytest.fixture  # type: ignore[assignment]

from outbox import db
from outbox.broom import Broom
from outbox.embedded import FAST, Embedded, find_binaries, leftovers
from outbox.migrate import migrate
from outbox.store import events

if TYPE_CHECKING:
    from dispatcher.config import DispatcherSettings
    from dispatcher.routes import Route
    from simulators.ghl import GhlSimulator
    from simulators.notion import NotionSimulator
    from simulators.phorest import PhorestSimulator

DRAIN_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Postroom:
    """The database of one test."""

    dsn: str
    pool: db.Pool

    async def rows(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """The rows of a query, as dicts."""
        return [dict(row) for row in await self.pool.fetch(query, *args)]

    async def value(self, query: str, *args: Any) -> Any:
        """The first column of the first row."""
        return await self.pool.fetchval(query, *args)

    async def totals(self) -> dict[str, int]:
        """P7: accepted, pending, done, skipped, dead."""
        return await events.totals(self.pool)

    async def staged(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The events in staging order, with state and why; the payload as text, whatever bytes it was."""
        found = await self.rows(
            """select e.id, e.source, e.kind, e.key, e.lane, e.payload, s.state, s.why, s.attempts
               from outbox.events e cross join lateral outbox.states(array[e.id]) s where $1::text is null or e.kind = $1 order by e.id""",
            kind,
        )
        return [event | {"payload": event["payload"].decode(errors="replace")} for event in found]

    async def hurry(self) -> int:
        """Makes every wait that has an end end now, so that a test of retries need not wait. Returns how many."""
        due = await self.pool.fetch(
            "update outbox.busy set due_at = now() where owner is null and due_at > now() and due_at < 'infinity' returning event_id"
        )
        return len(due)


FOLDER = "POSTROOM_TEST_FOLDER"
OUTER: pytest.StashKey[str | None] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Names the folder of this run's server; made only when a test asks for a database. Its other processes inherit the name.

    What killed runs left beside it is swept away.
    """
    if not hasattr(config, "workerinput"):
        leftovers.sweep(Path(tempfile.gettempdir()))
        config.stash[OUTER] = os.environ.get(FOLDER)
        os.environ[FOLDER] = str(Path(tempfile.gettempdir()) / f"{leftovers.prefix('test')}{secrets.token_hex(4)}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """The run is over, its servers are stopped: the folder goes. A run inside a run leaves that one's name as it was."""
    if OUTER in config.stash:
        shutil.rmtree(os.environ.pop(FOLDER), ignore_errors=True)
        if (outer := config.stash[OUTER]) is not None:
            os.environ[FOLDER] = outer


@pytest.fixture(scope="session")
def postroom_server() -> Iterator[Embedded]:
    """The test run's Postgres; the first process starts it, the last stops it."""
    folder = Path(os.environ[FOLDER])
    folder.mkdir(mode=0o755, exist_ok=True)  # not under pytest's own folder, which only its owner may enter
    # Room for many databases and dispatchers at once; a test of durability brings a server of its own.
    options = {**FAST, "max_connections": "800", "shared_buffers": "256MB"}
    with Embedded(folder / "postgres", binaries=find_binaries(os.environ.get("POSTROOM_PG_BIN")), options=options) as server:
        yield server


@pytest.fixture(scope="session")
def postroom_template(postroom_server: Embedded) -> str:
    """The name of a migrated database of this process of the test run, to be copied: quicker than to migrate each."""
    return asyncio.run(make_template(postroom_server))


@pytest.fixture(scope="session")
def postroom_database(postroom_server: Embedded, postroom_template: str) -> str:
    """A migrated database for this process of the test run. Its connection string."""
    name = postroom_template.replace("template", "test", 1)
    asyncio.run(administer(postroom_server, f"create database {name} template {postroom_template}"))
    return postroom_server.dsn(name)


async def make_template(server: Embedded) -> str:
    """The name of a new database there, migrated, that nothing is connected to."""
    name = f"template_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    await administer(server, f"create database {name}")
    connection = await asyncpg.connect(server.dsn(name))
    try:
        await migrate(connection)
    finally:
        await connection.close()
    return name


async def administer(server: Embedded, statement: str) -> None:
    """Runs a statement that is about a whole database."""
    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def postroom_broom(postroom_database: str) -> Iterator[Callable[[], None]]:
    """`postroom_broom()`: empties the database of this process."""
    broom = Broom(postroom_database)
    yield broom.sweep
    broom.put_away()


@pytest.fixture
def postroom_emptied(postroom_broom: Callable[[], None], postroom_database: str) -> str:
    """The connection string of the database, which is empty now. No event loop runs here, so that the broom may run its own."""
    postroom_broom()
    return postroom_database


@async_fixture
async def postroom(postroom_emptied: str) -> AsyncIterator[Postroom]:
    """An empty database and a pool on it."""
    async with db.pool(postroom_emptied, name="postroom:test", size=8, timeout_s=30) as pool:
        yield Postroom(postroom_emptied, pool)


@pytest.fixture
def staged(postroom: Postroom) -> Callable[..., Awaitable[list[dict[str, Any]]]]:
    """`await staged()` or `await staged(kind)`: the events there are, with their states."""
    return postroom.staged


Drain = Callable[..., Awaitable[dict[str, int]]]


@pytest.fixture
def drain(postroom: Postroom) -> Drain:
    """`await drain(routes)`: see drained()."""
    return partial(drained, postroom)


async def drained(
    postroom: Postroom,
    routes: "Mapping[str, Route] | None" = None,
    *,
    settings: "DispatcherSettings | None" = None,
    hurry: bool = False,
    timeout_s: float = DRAIN_TIMEOUT_S,
) -> dict[str, int]:
    """Runs a dispatcher until nothing is ready or running; returns the totals.

    Without routes: ours, and those of the modules that the settings name (`modules=("shop.handlers",)`), with their clients.

    `hurry=True` lets retries and snoozes run at once, until nothing waits for a time. Events held for a stopped destination stay.
    """
    from dispatcher.config import DispatcherSettings
    from dispatcher.modules import load
    from dispatcher.service import Dispatcher, Stop
    from dispatcher.services import services

    # By default nothing of the environment: a developer's real keys must not meet a test's events.
    settings = settings or DispatcherSettings.model_construct()
    loaded = load(settings.modules, installed=())
    async with services(postroom.dsn, settings, own=loaded.clients) as shared:
        stop, dispatcher = Stop(), Dispatcher(postroom.dsn, shared, routes or loaded.routes, syncs=loaded.syncs)
        running = asyncio.create_task(dispatcher.run(stop))
        try:
            async with asyncio.timeout(timeout_s):
                while await _is_busy(postroom, hurry=hurry):
                    if running.done():
                        break
                    if hurry and await postroom.hurry() and dispatcher.loop is not None:
                        dispatcher.loop.look_for_due()  # it had planned to look when their time would have come
                    await asyncio.sleep(0.01)
        finally:
            stop.ask()
            await running
    return await postroom.totals()


Pull = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def pull(postroom: Postroom, drain: Drain) -> Pull:
    """`await pull("prices", settings=…)`: one run of a sync, ours or of a module that the settings name; returns its end and its counts.

    `type_` is incremental where nothing else is said; `dry_run=True` counts and changes nothing.
    """

    async def run(name: str, type_: str = "incremental", *, settings: "DispatcherSettings", dry_run: bool = False) -> dict[str, Any]:
        from dispatcher.modules import load
        from dispatcher.schedule import Schedule
        from dispatcher.services import services
        from outbox import sync_facts
        from outbox.store import runs

        loaded = load(settings.modules, installed=())
        async with services(postroom.dsn, settings, own=loaded.clients) as shared:
            await Schedule(shared, loaded.syncs).register()
        async with db.transaction(postroom.pool) as connection:
            asked = await runs.ask(connection, name, type_, trigger=runs.Trigger.MANUAL, by="a test", dry_run=dry_run)
        assert asked is not None  # its key is fresh
        await drain(settings=settings)
        row = await runs.one(postroom.pool, asked.id)
        assert row is not None
        return sync_facts.run(row)

    return run


async def _is_busy(postroom: Postroom, *, hurry: bool) -> bool:
    busy: bool = await postroom.value(
        """select exists (select from outbox.busy where owner is not null or due_at <= now() or ($1 and due_at < 'infinity'))
               or exists (select from outbox.delayed where due_at <= now())
               or exists (select from outbox.pending p where not exists (select from outbox.busy b where b.lane = p.lane))""",
        hurry,
    )
    return busy


@dataclass(frozen=True, slots=True)
class Signed:
    """Requests signed as the providers sign them: each returns (headers, body)."""

    def ghl(self, event: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """With the demo key pair; its public half is `ghl_public_key`."""
        from simulators.shapes import compact
        from simulators.signing import GhlSigner

        body = compact(dict(event))
        return {"content-type": "application/json", **GhlSigner.for_demo().headers(body)}, body

    def notion(self, event: Mapping[str, Any], *, token: str) -> tuple[dict[str, str], bytes]:
        """With a verification token."""
        from simulators.shapes import compact
        from simulators.signing import sign_notion

        body = compact(dict(event))
        return {"content-type": "application/json", **sign_notion(body, token)}, body

    @property
    def ghl_public_key(self) -> str:
        """For GHL_WEBHOOK_PUBLIC_KEYS."""
        from simulators.signing import GhlSigner

        return GhlSigner.for_demo().public_key_pem


@pytest.fixture
def signed() -> Signed:
    """`headers, body = signed.ghl(event)`."""
    return Signed()


@async_fixture
async def ghl() -> "AsyncIterator[tuple[GhlSimulator, str]]":
    """A running GHL simulator and its base URL."""
    from simulators.ghl import GhlSimulator
    from simulators.serving import serve

    simulator = GhlSimulator()
    async with serve(simulator.app) as running:
        yield simulator, running.base_url


@async_fixture
async def notion() -> "AsyncIterator[tuple[NotionSimulator, str]]":
    """A running Notion simulator and its base URL."""
    from simulators.notion import NotionSimulator
    from simulators.serving import serve

    simulator = NotionSimulator()
    async with serve(simulator.app) as running:
        yield simulator, running.base_url


@async_fixture
async def phorest() -> "AsyncIterator[tuple[PhorestSimulator, str]]":
    """A running Phorest simulator and its base URL."""
    from simulators.phorest import PhorestSimulator
    from simulators.serving import serve

    simulator = PhorestSimulator()
    async with serve(simulator.app) as running:
        yield simulator, running.base_url


@pytest.fixture
def simulated(ghl: "tuple[GhlSimulator, str]", notion: "tuple[NotionSimulator, str]") -> "DispatcherSettings":
    """Dispatcher settings whose destinations are the running simulators."""
    from dispatcher.config import DispatcherSettings

    ghl_settings, notion_settings = ghl[0].settings, notion[0].settings
    return DispatcherSettings.read(
        ghl_api_key=ghl_settings.token,
        ghl_location_id=ghl_settings.location_id,
        ghl_api_base_url=ghl[1],
        notion_api_key=notion_settings.token,
        notion_api_base_url=notion[1],
    )
