"""Users whose Google contacts are kept in step, for tests: a simulator whose clock can be moved, and runs through the whole dispatcher."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dispatcher.config import DispatcherSettings
from dispatcher.context import Services
from dispatcher.routes import ROUTES
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from outbox import Event, db
from outbox.google_consent import consent_link
from outbox.store import events, google_users, runs
from outbox.store.runs import Trigger
from outbox.testing import Postroom
from simulators.google import GoogleSettings, GoogleSimulator
from simulators.samples import DEMO_GOOGLE_CLIENT_ID, DEMO_GOOGLE_CLIENT_SECRET
from simulators.serving import serve
from tests.dispatcher.calm import CALM
from tests.dispatcher.connecting import KEY, SEALER, MovedClock
from tests.dispatcher.handling import fate
from tests.dispatcher.running import eventually, stage_all

BACK = "https://app.example.com/api/oauth/google/callback"
LIST = "/v1/people/me/connections"
VERIFIER = "verifier-of-these-tests-0123456789-0123456789"


@dataclass(slots=True)
class World:
    """A simulated Google in which each user's account is called as the user, and this test's database."""

    postroom: Postroom
    google: GoogleSimulator
    base_url: str
    clock: MovedClock

    def settings(self, **more: Any) -> DispatcherSettings:
        given = {"google_client_id": DEMO_GOOGLE_CLIENT_ID, "google_client_secret": DEMO_GOOGLE_CLIENT_SECRET}
        addresses = dict.fromkeys(("google_api_base_url", "google_token_base_url"), self.base_url)
        return DispatcherSettings.read(**{**given, **addresses, **more})

    def environment(self) -> dict[str, str]:
        """The same for a process of its own."""
        addresses = dict.fromkeys(("GOOGLE_API_BASE_URL", "GOOGLE_TOKEN_BASE_URL"), self.base_url)
        return {"GOOGLE_CLIENT_ID": DEMO_GOOGLE_CLIENT_ID, "GOOGLE_CLIENT_SECRET": DEMO_GOOGLE_CLIENT_SECRET, "KEY": KEY, **addresses}

    @asynccontextmanager
    async def services(self, **settings: Any) -> AsyncIterator[Services]:
        async with services(self.postroom.dsn, self.settings(**settings), sealer=SEALER) as shared:
            yield shared

    @asynccontextmanager
    async def dispatching(self, **settings: Any) -> AsyncIterator[None]:
        """A dispatcher at work, in tests' own hurry; stopped in order at the end."""
        async with self.services(**settings) as shared:
            stop, ready = Stop(), asyncio.Event()
            task = asyncio.create_task(Dispatcher(self.postroom.dsn, shared, ROUTES, syncs=CALM).run(stop, ready=ready.set))
            try:
                await asyncio.wait_for(ready.wait(), 20)
                yield
            finally:
                stop.ask()
                await asyncio.wait_for(task, 40)

    def code(self, user: str = "ada", *, verifier: str = VERIFIER, scope: str | None = None) -> Event:
        """What the receiver stages when a user comes back from Google."""
        self.google.oauth.grants_scope = scope
        link = consent_link("http://x", client_id=DEMO_GOOGLE_CLIENT_ID, redirect_uri=BACK, state="s", verifier=VERIFIER)
        back = self.google.oauth.page(_query(link), account=user)
        assert isinstance(back, str)
        sealed, kept = SEALER.seal(_query(back)["code"]).decode(), SEALER.seal(verifier).decode()
        return Event("google.oauth.code", {"sealed": sealed, "verifier": kept, "redirect_uri": BACK, "account": user}, source="postroom")

    async def connect(self, user: str = "ada", *, enabled: bool = False, **told: Any) -> None:
        """A consent from its beginning to its end, without the receiver and the engine. `enabled` stages the first run."""
        async with self.services() as shared, db.transaction(self.postroom.pool) as connection:
            accounts = shared.google
            assert accounts is not None
            payload = self.code(user).payload
            granted = await accounts.exchange(payload["sealed"].encode(), payload["verifier"].encode(), redirect_uri=BACK)
            now = await events.clock(connection)
            await accounts.keep(connection, user, granted, at=now)
            await google_users.connected(connection, user, now=now)
            await google_users.save(connection, user, enabled=enabled, now=now, by="otto", **told)

    async def ask(self, user: str = "ada", type_: str = "incremental", **more: Any) -> int:
        """Asks for a run of a user's sync. Returns its id."""
        async with db.transaction(self.postroom.pool) as connection:
            asked = await runs.ask(connection, google_users.sync_of(user), type_, trigger=Trigger.MANUAL, by="ada", **more)
        assert asked is not None
        return asked.id

    async def ended(self, *run_ids: int, within_s: float = 20) -> None:
        """Returns when these runs have ended; waits of theirs end at once."""
        await self.until(lambda: self._are("ended_at is not null", run_ids), within_s=within_s)

    async def waits(self, run_id: int) -> None:
        """Returns when this run's event waits for its user."""
        await eventually(lambda: self._are("state = 'waiting'", (run_id,)))

    async def until(self, holds: Callable[[], Awaitable[bool]], *, within_s: float = 20) -> None:
        async def hurried() -> bool:
            await self.postroom.hurry()
            await self.postroom.pool.execute("update outbox.budgets set paused_until = null")
            return await holds()

        await eventually(hurried, within_s=within_s)

    async def _are(self, what: str, run_ids: tuple[int, ...]) -> bool:
        query = f"select count(*) filter (where {what}) = $2 from outbox.runs where id = any ($1)"
        return bool(await self.postroom.value(query, list(run_ids), len(run_ids)))

    async def synced(self, user: str = "ada", type_: str = "incremental", **more: Any) -> dict[str, Any]:
        """Asks for a run and has it carried out by a dispatcher of its own. Returns its row."""
        run_id = await self.ask(user, type_, **more)
        async with self.dispatching():
            await self.ended(run_id)
        return await self.run(run_id)

    async def run(self, run_id: int) -> dict[str, Any]:
        [row] = await self.postroom.rows("select * from outbox.runs where id = $1", run_id)
        return row

    async def settled(self, event: Event) -> int:
        """Stages it and returns its id when it is done, skipped or dead."""
        [event_id] = await stage_all(self.postroom, event)

        async def is_settled() -> bool:
            return (await fate(self.postroom, event_id)).state != "pending"

        await eventually(is_settled)
        return event_id

    async def contacts(self, user: str = "ada") -> list[str]:
        """Names of the contacts that are there, in alphabetical order."""
        rows = await self.postroom.rows(
            "select display_name from crm.google_contacts where user_id = $1 and deleted_at is null order by 1", user
        )
        return [row["display_name"] for row in rows]

    def put(self, name: str, user: str = "ada", **values: Any) -> str:
        """A contact of the user's at Google. Returns its resource name."""
        person = self.google.put_contact(user, None, **{"given": name, "emails": [f"{name.lower()}@example.com"], **values})
        return str(person["resourceName"])

    @property
    def lists(self) -> int:
        """Calls of connections.list."""
        return self.google.requests.count("GET", LIST)


@asynccontextmanager
async def world(postroom: Postroom, settings: GoogleSettings | None = None) -> AsyncIterator[World]:
    clock = MovedClock()
    google = GoogleSimulator(settings or GoogleSettings(reads_per_minute=1000, full_syncs_per_minute=1000), clock=clock)
    async with serve(google.app) as running:
        yield World(postroom, google, running.base_url, clock)


def _query(link: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(link).query))
