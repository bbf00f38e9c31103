"""GHL locations that are connected, for tests: a simulator whose clock can be moved, and the settings of an app there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet
from pydantic import SecretStr

from dispatcher.clients.accounts import GhlAccounts, location_of
from dispatcher.config import DispatcherSettings
from dispatcher.context import Context, Services
from dispatcher.outcome import Done, Outcome, Skipped
from dispatcher.routes import ROUTES, Route
from dispatcher.services import services
from outbox import Claimed, Event
from outbox.seal import Sealer
from outbox.testing import Postroom
from simulators.ghl import GhlSettings, GhlSimulator
from simulators.samples import DEMO_CLIENT_ID, DEMO_CLIENT_SECRET
from simulators.serving import serve

BACK = "https://app.example.com/api/oauth/ghl/callback"
CORK, DUBLIN = "CorkLocationAbcdefgh", "DublinLocationAbcdef"
KEY = Fernet.generate_key().decode()
SEALER = Sealer([SecretStr(KEY)])


@dataclass(slots=True)
class MovedClock:
    """The true time, moved on by a test."""

    by: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.by

    def advance(self, seconds: float) -> None:
        self.by += timedelta(seconds=seconds)


@dataclass(slots=True)
class World:
    """A simulated GHL with two locations without a key, and this test's database."""

    postroom: Postroom
    ghl: GhlSimulator
    base_url: str
    clock: MovedClock

    def settings(self, **more: Any) -> DispatcherSettings:
        given = {"ghl_client_id": DEMO_CLIENT_ID, "ghl_client_secret": DEMO_CLIENT_SECRET, "ghl_api_base_url": self.base_url}
        return DispatcherSettings.read(**{**given, **more})

    def with_key(self, **more: Any) -> DispatcherSettings:
        return self.settings(ghl_api_key=self.ghl.settings.token, ghl_location_id=self.ghl.settings.location_id, **more)

    @asynccontextmanager
    async def services(self, settings: DispatcherSettings | None = None, *, sealer: Sealer = SEALER) -> AsyncIterator[Services]:
        """What one dispatcher process has: a pool, accounts and tokens of its own."""
        async with services(self.postroom.dsn, settings or self.settings(), sealer=sealer) as shared:
            yield shared

    @asynccontextmanager
    async def accounts(self, settings: DispatcherSettings | None = None, *, sealer: Sealer = SEALER) -> AsyncIterator[GhlAccounts]:
        async with self.services(settings, sealer=sealer) as shared:
            assert shared.accounts is not None
            yield shared.accounts

    async def connect(self, location: str = CORK) -> None:
        """A consent from its beginning to its end, without the receiver and the engine."""
        async with self.accounts() as accounts:
            code = SEALER.seal(self.ghl.oauth.consent(location, redirect_uri=BACK))
            granted = await accounts.exchange(code, redirect_uri=BACK)
            async with self.postroom.pool.acquire() as connection, connection.transaction():
                await accounts.keep(connection, granted, at=datetime.now(UTC))

    async def expire(self, location: str = CORK) -> None:
        """Its access token ends: over there, and as we know it."""
        self.ghl.oauth.expire(location)
        await self.postroom.pool.execute("update outbox.connections set expires_at = now() where destination = $1", f"ghl:{location}")

    async def row(self, location: str = CORK) -> dict[str, Any]:
        [row] = await self.postroom.rows("select * from outbox.connections where destination = $1", f"ghl:{location}")
        return row

    async def destination(self, location: str = CORK) -> tuple[str, str | None]:
        """State and reason."""
        rows = await self.postroom.rows("select state, why from outbox.destinations where name = $1", f"ghl:{location}")
        return (rows[0]["state"], rows[0]["why"]) if rows else ("flowing", None)

    def code(self, location: str = CORK) -> Event:
        """What the receiver stages when a person of the location comes back."""
        sealed = SEALER.seal(self.ghl.oauth.consent(location, redirect_uri=BACK)).decode()
        return Event("ghl.oauth.code", {"sealed": sealed, "redirect_uri": BACK, "label": "Shop in Cork"}, source="postroom")

    @property
    def asked(self) -> int:
        """Questions to the token endpoint."""
        return self.ghl.requests.count("POST", "/oauth/token")


@asynccontextmanager
async def world(postroom: Postroom, settings: GhlSettings | None = None) -> AsyncIterator[World]:
    clock = MovedClock()
    ghl = GhlSimulator(settings, clock=clock)
    for location in (CORK, DUBLIN):
        ghl.add_location(location)
    async with serve(ghl.app) as running:
        yield World(postroom, ghl, running.base_url, clock)


async def note_down(event: Claimed, ctx: Context) -> Outcome:
    """Writes a note for the contact of the event's location."""
    ghl = await ctx.ghl_for(location_of(event))
    contact_id = event.json()["id"]

    async def write() -> str:
        return (await ghl.create_note(contact_id, ctx.marker("note"))).id

    async def find() -> str | None:
        return next((note.id for note in await ghl.list_notes(contact_id) if ctx.marker("note") in (note.body or "")), None)

    return Done({"note": await ctx.step("note", write, find=find)})


async def do_nothing(event: Claimed, ctx: Context) -> Outcome:
    """Calls nobody."""
    return Skipped("nothing to do")


# Without the syncs: what a location's first pull calls is not what these tests count.
BY_EVENT = {kind: route for kind, route in ROUTES.items() if not kind.startswith("sync.")}
NOTED = {**BY_EVENT, "test.note": Route(note_down, destination="ghl"), "test.idle": Route(do_nothing, destination="ghl")}


def note(contact_id: str, location: str | None = CORK) -> Event:
    payload = {"id": contact_id} | ({"locationId": location} if location else {})
    return Event("test.note", payload, lane=f"ghl:contact:{contact_id}")
