"""What a handler is given: its steps, its transaction, its clients. A handler needs nothing else and sees no SQL."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from dispatcher.clients import channels
from dispatcher.clients.accounts import GhlAccounts, location_of
from dispatcher.clients.channels import Channels
from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.google_accounts import GoogleAccounts, user_name, user_of
from dispatcher.clients.google_people import GooglePeople
from dispatcher.clients.notion import NotionClient
from dispatcher.clients.phorest import PhorestClient
from dispatcher.config import DispatcherSettings
from dispatcher.effects import Steps
from dispatcher.journal import Journal
from dispatcher.outcome import Done, Settled, Skipped, reason_of
from dispatcher.running import Running
from dispatcher.worker import Lease
from outbox import db
from outbox.db import Connection, Pool
from outbox.errors import ConfigError, OwnershipLost
from outbox.event import Claimed, Event
from outbox.staging import stage
from outbox.store import lanes
from outbox.store.lanes import End

if TYPE_CHECKING:
    from dispatcher.routes import Route

T = TypeVar("T")
CLIENTS = ("ghl", "google", "notion", "phorest")
BUILT_IN = (*CLIENTS, "ghl-oauth", "google-oauth")
NEEDED: Mapping[str, tuple[str, ...]] = {
    "ghl": ("GHL_API_KEY", "GHL_LOCATION_ID"),
    "ghl-oauth": ("GHL_CLIENT_ID", "GHL_CLIENT_SECRET"),
    "google": ("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"),
    "google-oauth": ("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"),
    "notion": ("NOTION_API_KEY",),
    "phorest": ("PHOREST_USERNAME", "PHOREST_PASSWORD", "PHOREST_BUSINESS_ID"),
}
IDLE_IN_TRANSACTION_MS = 5_000  # an open transaction of a handler that does something else holds up everybody


@dataclass(frozen=True, slots=True)
class Services:
    """What all handlers of a process share. A client is None when its credentials are not set."""

    pool: Pool
    settings: DispatcherSettings
    ghl: GhlClient | None = None
    notion: NotionClient | None = None
    accounts: GhlAccounts | None = None  # None: GHL is not set up, neither by key nor as an app
    own: Mapping[str, object] = field(default_factory=dict)  # clients of the user's own modules; None: its module says it is not set up
    google: GoogleAccounts | None = None
    phorest: PhorestClient | None = None
    channels: Channels | None = None  # None: nowhere
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "journal", Journal(self.pool))

    def has(self, destination: str | None) -> bool:
        """Whether a destination can be called; those without a client here are the handlers' own affair."""
        match destination:
            case "ghl":
                return self.ghl is not None
            case "ghl-oauth":
                return self.accounts is not None and self.accounts.has_app
            case "notion":
                return self.notion is not None
            case str() if destination.partition(":")[0] == channels.PREFIX:
                return self.channels is not None
            case "google" | "google-oauth":
                return self.google is not None
            case str() if destination.startswith("google:"):
                return self.google is not None
            case "phorest":
                return self.phorest is not None
        return destination is None or self.own.get(destination, self) is not None

    def lacks(self, destination: str | None) -> str | None:
        """What has to be set before it can be called ("GHL_API_KEY is missing"); None: nothing that is known here."""
        if self.has(destination):
            return None
        named = [name for name in NEEDED.get(destination or "", ()) if not getattr(self.settings, name.lower())]
        if not named and destination in ("google", "google-oauth", "ghl-oauth"):
            named = ["POSTROOM_ENCRYPTION_KEYS"]
        return f"{' and '.join(named)} {'are' if len(named) > 1 else 'is'} missing" if named else "it is not set up"

    def destination_of(self, route: "Route", event: Claimed) -> str | None:
        """Whom this event's handler calls: the route's destination; of several accounts of one provider the event's own."""
        if route.destination == "google":
            return user_name(user_of(event))
        if route.destination == channels.PREFIX:
            return event.lane
        if route.destination != "ghl" or self.accounts is None:
            return route.destination
        return self.accounts.destination_of(location_of(event))


class Transaction:
    """The handler's own writes and its settlement, which commit together."""

    def __init__(self, connection: Connection, context: "Context") -> None:
        self.connection = connection
        self._context = context
        self.settled = False

    async def stage(self, event: Event) -> int:
        """Stages a follow-up event; it exists if and only if this transaction commits."""
        return int(await stage(self.connection, event))

    async def settle(self, outcome: Done | Skipped) -> Settled:
        """The last statement of the transaction. Raises OwnershipLost, which rolls everything back, when the event is another's."""
        context = self._context
        match outcome:
            case Done():
                end = context.end("d", outcome.note)
            case Skipped():
                end = context.end("s", reason_of(outcome))
        if context.event.id not in await lanes.finish(self.connection, [end], worker=context.worker):
            raise OwnershipLost(f"event {context.event.id} is no longer held by worker {context.worker}")
        self.settled = context.settled_by(end)
        return Settled(outcome)


class Context:
    """One run of one event. `is_committed`: a transaction of it was settled and committed.

    `heard`: to be called by a long run whenever its destination has answered, so that nobody waits for its end to know that it flows.
    """

    __slots__ = ("_asked", "_lease", "_running", "_steps", "event", "heard", "is_committed", "services")

    def __init__(self, running: Running, services: Services, lease: Lease) -> None:
        self.event, self.services = running.event, services
        self._running, self._lease = running, lease
        self._steps: Steps | None = None
        self._asked: frozenset[str] = frozenset()
        self.is_committed = False
        self.heard: Callable[[], Awaitable[None]] = _nobody_asks

    @property
    def settings(self) -> DispatcherSettings:
        """The dispatcher's settings."""
        return self.services.settings

    @property
    def ghl(self) -> GhlClient:
        """The client of GHL. Raises ConfigError when its key is not set (routes with that destination are held before)."""
        if self.services.ghl is None:
            raise ConfigError("GHL_API_KEY and GHL_LOCATION_ID are not set")
        self._asked |= {"ghl"}
        return self.services.ghl.for_bulk() if self.event.urgency else self.services.ghl

    async def ghl_for(self, location_id: str | None) -> GhlClient:
        """The client of a GHL location (location_of(event) names it); None is the default one.

        Raises NotConnected, which skips the event, or Unauthorised when the location waits for a consent, which holds it.
        """
        if self.services.accounts is None:
            return self.ghl
        client = await self.services.accounts.client(location_id)
        self._asked |= {client.destination}
        return client.for_bulk() if self.event.urgency else client

    @property
    def notion(self) -> NotionClient:
        """The client of Notion. Raises ConfigError when its key is not set."""
        if self.services.notion is None:
            raise ConfigError("NOTION_API_KEY is not set")
        self._asked |= {"notion"}
        return self.services.notion.for_bulk() if self.event.urgency else self.services.notion

    def client(self, destination: str, kind: type[T]) -> T:
        """The client that a module of your own opened under this name: ctx.client("mailer", Mailer). Raises ConfigError without one."""
        client = self.services.own.get(destination)
        if not isinstance(client, kind):
            raise ConfigError(f"no module of your own has a {kind.__name__} as its client {destination!r}, but {type(client).__name__}")
        self._asked |= {destination}
        return client

    def google_for(self, user_id: str) -> GooglePeople:
        """The client of a user's Google contacts.

        Its calls raise NotConnected, which skips the event, or ConsentLost when the user has to consent again, which holds it.
        """
        if self.services.google is None:
            raise ConfigError("GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are not set")
        client = self.services.google.client(user_id)
        self._asked |= {client.destination}
        return client

    @property
    def phorest(self) -> PhorestClient:
        """The client of Phorest. Raises ConfigError when its user is not set."""
        if self.services.phorest is None:
            raise ConfigError("PHOREST_USERNAME, PHOREST_PASSWORD and PHOREST_BUSINESS_ID are not set")
        self._asked |= {"phorest"}
        return self.services.phorest.for_bulk() if self.event.urgency else self.services.phorest

    @property
    def worker(self) -> int:
        """The worker incarnation that runs it."""
        return self._lease.worker

    @property
    def is_stopping(self) -> bool:
        """Whether this dispatcher was told to stop: a long run that can go on elsewhere should end."""
        return self._lease.is_stopping

    def has_asked(self, destination: str) -> bool:
        """Whether the handler took this destination's client; of one without a client here it is assumed."""
        return destination in self._asked or destination.partition(":")[0] not in (*CLIENTS, *self.services.own)

    def took_ms(self) -> int:
        """Milliseconds since this run began."""
        return self._running.took_ms()

    def end(self, code: str, note: str | None) -> End:
        """The settlement of this run as done ('d') or skipped ('s')."""
        running = self._running
        return End(running.event, self._lease.clock.at(running.started), running.took_ms(), code, note, running.followers)

    def settled_by(self, end: End) -> bool:
        """Notes down how its transaction settles it. True."""
        self._running.end = end
        return True

    def marker(self, step: str) -> str:
        """What a step leaves at the far side, so that it is found there again: `postroom:<event>/<step>`.

        The event is named by its id and the time it was staged, because after a restore ids could repeat.
        """
        return f"postroom:{self.event.id}.{int(self.event.staged_at.timestamp() * 1000):x}/{step}"

    async def step(
        self,
        name: str,
        call: Callable[[], Awaitable[T]],
        *,
        find: Callable[[], Awaitable[T | None]] | None = None,
        repeatable: bool = False,
    ) -> T:
        """One remote effect, once (P6): known done, it is not repeated; its answer lost, `find` looks before it is tried again.

        `call` returns something small and JSON-able without personal data (an id); that is what a later run gets back.
        A call that may be repeated without harm (a PUT, adding a tag) says `repeatable=True` instead of bringing a `find`.
        Each entry of the journal is committed before the step goes on. Raises OwnershipLost when the event is another worker's by now.
        """
        if self._steps is None:
            self._steps = Steps(self.services.journal, self.event, worker=self.worker, still_ours=self._lease.is_ours)
        return await self._steps.step(name, call, find=find, repeatable=repeatable)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Local writes and `settle()` in one commit. No network call belongs inside.

        Raises OwnershipLost when the event is another's by now, DatabaseUnavailable when the commit's result is unknown: the engine
        then asks the database whether the event is settled.
        """
        async with db.transaction(self.services.pool) as connection:
            await connection.execute(self._begins())
            transaction = Transaction(connection, self)
            yield transaction
            if not transaction.settled:
                raise RuntimeError("a handler's transaction ends with `return await tx.settle(outcome)`")
        self.is_committed = True

    @asynccontextmanager
    async def part(self, *, is_progress: bool = True) -> AsyncIterator[Connection]:
        """A transaction for a part of a long run, which counts by itself, and only while this run holds its event.

        `is_progress`: the run has come farther, so what failed before it counts no more. No network call belongs inside. Raises
        OwnershipLost when the event is another's by now, DatabaseUnavailable when it is unknown whether the part counts.
        """
        holds = lanes.progressed if is_progress else lanes.holds
        async with db.transaction(self.services.pool) as connection:
            await connection.execute(self._begins())
            if not await holds(connection, self.event, worker=self.worker):
                raise OwnershipLost(f"event {self.event.id} is no longer held by worker {self.worker}")
            yield connection
        if is_progress:
            self._running.event = self.event = self.event._replace(failures=0, crashes=0)

    def _begins(self) -> str:
        """What a transaction of this run begins with: its limit, and whose it is, which outbox.cause() writes beside what it stages."""
        return f"set local idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS}; set local postroom.event = {self.event.id}"


async def _nobody_asks() -> None:
    return
