"""One database, its far sides, its processes, and the ledger of everything that was sent: what every crash test plays in.

    senders ─▶ receivers (children) ─▶ ┌──────────┐ ─▶ dispatchers (children) ─▶ GHL, Notion (simulators in this process)
    an app ──── in its own transaction ▶ │ Postgres │
                                        └──────────┘

Owns its children and ends them by their pids. Asserts nothing but its own patience; what came of it all is in `account()`.
"""

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import httpx
from starlette.types import ASGIApp

from outbox import Event, db, stage
from outbox.embedded import leftovers
from outbox.errors import DatabaseUnavailable
from outbox.testing import Postroom
from simulators.ghl import GhlSettings, GhlSimulator
from simulators.notion import NotionSettings, NotionSimulator
from simulators.samples import DEMO_VERIFICATION_TOKEN, ghl_contact_event, notion_page_event
from simulators.serving import serve
from simulators.shapes import JsonObject, compact
from simulators.signing import GhlSigner, sign_notion
from tests.crashes.child import Child, bare_environment
from tests.crashes.ledger import Account, Ledger, Sent
from tests.crashes.patience import Kinds, Patience
from tests.dispatcher.arriving import ghl_webhook, notion_webhook

T = TypeVar("T")
OPERATOR_TOKEN = "operator-token-for-crash-tests-only"
SEALING_KEY = "Y3Jhc2gtdGVzdHMtb25seS1ub3QtYS1yZWFsLWtleSE="
PATIENCE_S = 60.0
AT_ONCE = 16
CONTACTS, PAGES, APPOINTMENTS, FACT_LANES = 8, 8, 5, 2
# What an appointment goes through, by turns.
LIVES = (("created", "confirmed", "updated", "completed"), ("created", "updated", "cancelled"))
UNDONE = "select (select count(*) from outbox.pending) + (select count(*) from outbox.busy) + (select count(*) from outbox.delayed)"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One signed webhook, as its sender repeats it: the same id, the same bytes."""

    sent: Sent
    path: str
    headers: Mapping[str, str]
    body: bytes


class World:
    """Use as `async with World.open(dsn, pool) as world`."""

    def __init__(
        self,
        dsn: str,
        pool: db.Pool,
        *,
        ghl: GhlSimulator,
        notion: NotionSimulator,
        urls: tuple[str, str],
        logs: Path,
        ends: AsyncExitStack,
    ) -> None:
        self.dsn, self.pool, self.ghl, self.notion, self._urls, self._logs = dsn, pool, ghl, notion, urls, logs
        self._ends = ends
        self.postroom = Postroom(dsn, pool)
        self.ledger = Ledger()
        self.children: list[Child] = []
        self.env: dict[str, str] = {}  # of every dispatcher and receiver that is started from now on
        self.beside: list[int] = []  # pids of other processes that work for it
        self._started = 0
        self.prepared = ""  # the id of what a test has prepared
        self._receivers: list[Child] = []
        self._count = itertools.count()
        self._turns = _turns()
        self._contacts: list[JsonObject] = [
            ghl.put_contact(f"contact-{n}", firstName=f"Ada {n}", email=f"ada{n}@example.com") for n in range(CONTACTS)
        ]
        self._pages: list[JsonObject] = [notion.put_page(values={"Name": f"Client {n}"}) for n in range(PAGES)]

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, pool: db.Pool) -> AsyncIterator["World"]:
        """On a migrated database that nobody else uses. Its children are killed at the end."""
        await pool.execute("create table if not exists changes (key text primary key, event_id bigint not null)")
        # The far sides' own limits are far away: a crash test waits for a lease, not for a quota.
        ghl = GhlSimulator(GhlSettings(burst_limit=1_000_000, daily_limit=100_000_000))
        notion = NotionSimulator(NotionSettings(requests_per_minute=1_000_000))
        async with AsyncExitStack() as stack:
            logs = Path(stack.enter_context(TemporaryDirectory(prefix=leftovers.prefix("crashes"))))
            urls = [(await stack.enter_async_context(serve(app))).base_url for app in (ghl.app, notion.app)]
            world = cls(dsn, pool, ghl=ghl, notion=notion, urls=(urls[0], urls[1]), logs=logs, ends=stack)
            try:
                yield world
            finally:
                await asyncio.gather(*(child.end() for child in world.children))

    # ── far sides

    async def serve(self, app: ASGIApp) -> str:
        """One more far side, until the world ends. Its address."""
        return (await self._ends.enter_async_context(serve(app))).base_url

    # ── processes

    async def dispatcher(
        self,
        *,
        points: Sequence[str] = (),
        dsn: str | None = None,
        ghl_base_url: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Child:
        """A dispatcher process, ready, or stopped at an armed point before. `dsn`, `ghl_base_url`: through a proxy."""
        own = {
            "GHL_API_KEY": self.ghl.settings.token,
            "GHL_LOCATION_ID": self.ghl.settings.location_id,
            "GHL_API_BASE_URL": ghl_base_url or self._urls[0],
            "NOTION_API_KEY": self.notion.settings.token,
            "NOTION_API_BASE_URL": self._urls[1],
        }
        return await self._start("dispatcher", points, {**own, "DATABASE_URL": dsn or self.dsn}, env)

    async def receiver(self, *, points: Sequence[str] = (), dsn: str | None = None, env: Mapping[str, str] | None = None) -> Child:
        """A receiver process that listens on `port`; `post` sends to it, too."""
        own = {
            "GHL_WEBHOOK_PUBLIC_KEYS": GhlSigner.for_demo().public_key_pem,
            "NOTION_WEBHOOK_SECRET": DEMO_VERIFICATION_TOKEN,
            "POSTROOM_ADMIN_TOKENS": f"otto:operator:{OPERATOR_TOKEN}",
            "POSTROOM_ENCRYPTION_KEYS": SEALING_KEY,
        }
        child = await self._start("receiver", points, {**own, "DATABASE_URL": dsn or self.dsn}, env)
        self._receivers.append(child)
        return child

    async def _start(self, role: str, points: Sequence[str], own: Mapping[str, str], more: Mapping[str, str] | None) -> Child:
        self._started += 1  # counted before anything is awaited: children may be started at the same time
        name = f"{role}-{self._started}"
        armed = {"POSTROOM_WORKER_NAME": name, "CRASH_POINTS": ",".join(points)}
        environment = {**bare_environment(), **own, **armed, **self.env, **(more or {})}
        child = await Child.start(role, name=name, environment=environment, log=self._logs / f"{name}.log")
        self.children.append(child)
        await child.started()
        return child

    def logs(self) -> str:
        """The ends of what the children logged, for a message."""
        return "\n".join(f"── {child.name}\n{child.log[-2000:]}" for child in self.children)

    async def workers(self, child: Child) -> list[int]:
        """The ids of a dispatcher's incarnations, the newest last."""
        return [row["id"] for row in await db.fetch(self.pool, "select id from outbox.workers where name = $1 order by id", child.name)]

    def _own_processes(self) -> Kinds:
        return [os.getpid()], [*(child.pid for child in self.children if child.is_alive), *self.beside]

    async def processes(self) -> Kinds:
        """The pids of this process, of its children, and of what serves them in Postgres (none of these while it is away)."""
        try:
            rows = await db.fetch(self.pool, "select pid from pg_stat_activity where datname = current_database()")
        except DatabaseUnavailable:
            rows = []
        return *self._own_processes(), [row["pid"] for row in rows]

    def ports(self) -> list[int]:
        """Where the live receivers listen."""
        return [child.port for child in self._receivers if child.is_alive and child.port is not None]

    # ── what is sent

    async def post(self, n: int, *, until_accepted: bool = True) -> list[Delivery]:
        """`n` signed webhooks of GHL and Notion, by turns, over the live receivers, several at once.

        What is not accepted is sent again, the same id and body, as senders do, until it is (or only once).
        """
        deliveries = [self._delivery(next(self._count)) for _ in range(n)]
        await self.deliver(deliveries, until_accepted=until_accepted)
        return deliveries

    async def deliver(self, deliveries: Sequence[Delivery], *, until_accepted: bool = True) -> None:
        """Sends these, again perhaps."""
        waiting = list(reversed(deliveries))

        async def send(client: httpx.AsyncClient) -> None:
            while waiting:
                await self._send(client, waiting.pop(), until_accepted=until_accepted)

        async with httpx.AsyncClient(timeout=10, trust_env=False) as client, asyncio.TaskGroup() as senders:
            for _ in range(min(AT_ONCE, len(deliveries))):
                senders.create_task(send(client))

    async def _send(self, client: httpx.AsyncClient, delivery: Delivery, *, until_accepted: bool) -> None:
        began = time.monotonic()
        for attempt in itertools.count():
            if live := self.ports():
                url = f"http://127.0.0.1:{live[attempt % len(live)]}{delivery.path}"
                try:
                    answer = await client.post(url, headers=dict(delivery.headers), content=delivery.body)
                    if answer.is_success:
                        delivery.sent.accept(answer.json()["id"])
                        return
                except httpx.TransportError:
                    pass  # no answer: it comes again
            if not until_accepted:
                return
            assert time.monotonic() - began < PATIENCE_S, f"not accepted within {PATIENCE_S:g} s: {delivery.sent.key}\n{self.logs()}"
            await asyncio.sleep(min(0.5, 0.05 * 2 ** min(attempt, 4)))

    def _delivery(self, n: int) -> Delivery:
        source, event = self._happening(n)
        key = str(event.get("webhookId") or event["id"])
        body = compact(event)
        signed = GhlSigner.for_demo().headers(body) if source == "ghl" else sign_notion(body, DEMO_VERIFICATION_TOKEN)
        headers = {"content-type": "application/json", **signed}
        return Delivery(self.ledger.begin(source, key), f"/api/webhooks/{source}", headers, body)

    def _happening(self, n: int) -> tuple[str, JsonObject]:
        """The n-th thing that happened at a far side: by turns at GHL and at Notion, spread over contacts and pages."""
        if n % 2 == 0:
            kind = ("ContactUpdate", "ContactTagUpdate", "ContactCreate")[n // 2 % 3]
            return "ghl", ghl_contact_event(kind, self._contacts[n // 2 % CONTACTS], webhook_id=str(uuid.uuid4()))
        kind = ("page.content_updated", "page.properties_updated")[n // 2 % 2]
        return "notion", notion_page_event(kind, self._pages[n // 2 % PAGES], event_id=str(uuid.uuid4()))

    async def arrive(self, n: int) -> list[int]:
        """The same webhooks, verified and staged as a receiver does, without one; one after the other. Their ids."""
        return [await self._arrive(number) for number in itertools.islice(self._count, n)]

    async def _arrive(self, n: int) -> int:
        source, event = self._happening(n)
        sent = self.ledger.begin(source, str(event.get("webhookId") or event["id"]))

        async def commit() -> int:
            with db.mapped():
                return await (ghl_webhook if source == "ghl" else notion_webhook)(self.postroom, event)

        event_id = await self._through_outages(commit)
        sent.accept(event_id)
        return event_id

    async def change(self, n: int) -> list[int]:
        """`n` appointment changes, each staged in a transaction of the app's own together with a row of its table. Their ids.

        An outage is waited out: a change whose commit is unknown is made again under its key.
        """
        return [await self._change(number, word) for number, word in itertools.islice(self._turns, n)]

    async def confirm(self, n: int) -> list[int]:
        """`n` confirmations, each of an appointment, and so of a lane, of its own. Their ids."""
        return [await self._change(number, "confirmed") for number in range(n)]

    async def mention(self, n: int) -> list[int]:
        """`n` facts that no route knows, in few lanes, staged in the same way: the engine settles them by itself. Their ids."""
        return [await self._commit("other.fact", {"n": k}, lane=f"other:{k % FACT_LANES}") for k in range(n)]

    async def _change(self, number: int, word: str) -> int:
        appointment = {
            "id": f"appointment-{number}",
            "status": word if word in ("confirmed", "cancelled", "completed") else "scheduled",
            "contact_id": f"contact-{number % CONTACTS}",
            "title": "Cut and colour",
            "starts_at": "2027-01-05T10:00:00+00:00",
        }
        return await self._commit(f"appointment.{word}", {"appointment": appointment}, lane=f"appointment:{number}")

    async def _commit(self, kind: str, payload: JsonObject, *, lane: str) -> int:
        key = f"change-{next(self._count)}"
        event = Event(kind, payload, key=key, lane=lane)
        sent = self.ledger.begin("app", key)

        async def commit() -> int:
            with db.mapped():
                async with self.pool.acquire() as connection, connection.transaction():
                    event_id = int(await stage(connection, event))
                    await connection.execute("insert into changes values ($1, $2) on conflict do nothing", key, event_id)
                    return event_id

        event_id = await self._through_outages(commit)
        sent.accept(event_id)
        return event_id

    # ── what came of it

    async def settled(self, within_s: float = PATIENCE_S) -> float:
        """Returns when nothing is undone (dead letters stay dead), with the seconds it took. Fails as until() does."""
        began = time.monotonic()

        async def is_settled() -> bool:
            return bool(await db.fetchval(self.pool, UNDONE) == 0)

        await self.until(is_settled, within_s=within_s, what="settled")
        return time.monotonic() - began

    async def until(self, check: Callable[[], Awaitable[bool]], *, within_s: float = PATIENCE_S, what: str = "so") -> float:
        """Waits until it holds, also through an outage of the database; the seconds it took. Fails when that is too long (patience)."""
        patience = Patience(self._own_processes())
        while True:
            try:
                if await check():
                    return time.monotonic() - patience.at
            except DatabaseUnavailable:
                pass
            if patience.is_over(within_s, self._own_processes):
                raise AssertionError(f"not {what} within {within_s:g} s\n{await self._left()}\n{self.logs()}")
            await asyncio.sleep(0.05)

    async def _left(self) -> str:
        try:
            rows = await db.fetch(self.pool, "select *, now() at from outbox.busy limit 20")
        except DatabaseUnavailable as problem:
            return str(problem)
        return "\n".join(str(dict(row)) for row in rows)

    async def account(self) -> Account:
        """Adds up every id, effect and lane."""
        return await self.ledger.account(self.pool, self.ghl, self.notion)

    async def _through_outages(self, act: Callable[[], Awaitable[T]]) -> T:
        began = time.monotonic()
        while True:
            try:
                return await act()
            except DatabaseUnavailable:
                assert time.monotonic() - began < PATIENCE_S, f"no database for {PATIENCE_S:g} s"
                await asyncio.sleep(0.1)


def _turns() -> Iterator[tuple[int, str]]:
    """(appointment, word), for ever: some appointments at a time go through their lives side by side."""
    for generation in itertools.count():
        numbers = range(generation * APPOINTMENTS, (generation + 1) * APPOINTMENTS)
        for step in range(max(map(len, LIVES))):
            for number in numbers:
                life = LIVES[number % len(LIVES)]
                if step < len(life):
                    yield number, life[step]
