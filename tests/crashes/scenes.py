"""How a dispatcher is brought to each named point: what is staged and arranged before it starts, and what happens to it then.

A scene is a context manager: up to its yield before the victim starts, after it when the victim is dead (or Postgres was). Where a point is
not named in SCENES, the mixed load reaches it.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from outbox import Event, db
from outbox.event import Claimed
from outbox.store import days, destinations, lanes, workers
from outbox.store.lanes import LOWEST, Burial, Wait
from tests.crashes.child import Child
from tests.crashes.world import PATIENCE_S, World
from tests.dispatcher.appointments import appointment
from tests.dispatcher.running import stage_all
from tests.outbox.test_days import go_back, partitions, today

Play = Callable[[World], AbstractAsyncContextManager[None]]
NOTES = "/contacts/*/notes"
LONG_AGO_DAYS = 100


@dataclass(frozen=True, slots=True)
class Scene:
    """`also`: further points that are armed; `act`: what happens to the victim once it is up; `mended`: what must hold beside the events.

    `flows`: what is held could flow, so it has to heal with the rest. `dead`: how many events are buried in the end. `within_s`: how long
    it may take to come to the point, and to mend.
    """

    play: Play
    also: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    act: Callable[[World, Child], Awaitable[None]] | None = None
    mended: Callable[[World], Awaitable[bool]] | None = None
    flows: bool = False
    dead: int = 0
    within_s: float = 40.0


# ── loads


async def _mixed(world: World) -> None:
    """Webhooks of both far sides, some of one contact or page (they coalesce), appointment changes with notes and tasks, and facts."""
    await world.arrive(24)
    await world.change(8)
    await world.mention(6)


@asynccontextmanager
async def mixed(world: World) -> AsyncIterator[None]:
    await _mixed(world)
    yield


@asynccontextmanager
async def wide(world: World) -> AsyncIterator[None]:
    """Lanes at the very end of their order, so that the first claim, which begins anywhere, finds some."""
    await _mixed(world)
    last = await world.postroom.rows(
        "select 'other-' || n lane from generate_series(1, 100000) n order by hashtextextended('other-' || n, 0) desc limit 20"
    )
    await stage_all(world.postroom, *(Event("other.fact", {}, lane=row["lane"]) for row in last))
    yield


@asynccontextmanager
async def removed(world: World) -> AsyncIterator[None]:
    """Pages that Notion does not show: their events are skipped by the engine, not in a transaction of their handler."""
    await world.arrive(40)
    for page_id in list(world.notion.store.pages):
        world.notion.remove_page(page_id)
    yield


@asynccontextmanager
async def deleted(world: World) -> AsyncIterator[None]:
    """Contacts that GHL deleted, and that are known here."""
    await world.arrive(16)
    for contact_id in list(world.ghl.store.contacts):
        await world.pool.execute(
            "insert into crm.contacts (ghl_contact_id, changed_at, content_hash) values ($1, now() - interval '1 day', '')", contact_id
        )
        world.ghl.remove_contact(contact_id)
    yield


@asynccontextmanager
async def delayed(world: World) -> AsyncIterator[None]:
    """Events that were staged for a moment that has come."""
    await _mixed(world)
    at = await world.postroom.value("select now() + interval '300 ms'")
    coming = [appointment("confirmed", number=f"later-{n}", contact="contact-1") for n in range(5)]
    await stage_all(world.postroom, *(Event(e.kind, e.payload, lane=e.lane, due_at=at) for e in coming))

    async def is_due() -> bool:
        return bool(await world.postroom.value("select bool_and(due_at <= now()) from outbox.delayed"))

    await world.until(is_due, what="due")
    yield


# ── far sides that fail


def failing(kind: str, path: str = NOTES, *, times: int | None = 1, method: str = "POST", **more: object) -> Play:
    """GHL fails requests in this way until the victim is dead, or so many of them."""

    @asynccontextmanager
    async def play(world: World) -> AsyncIterator[None]:
        await _mixed(world)
        world.ghl.faults.add(kind, path, method=method, times=times, **more)  # type: ignore[arg-type]
        yield
        world.ghl.faults.clear()

    return play


@asynccontextmanager
async def refusing(world: World) -> AsyncIterator[None]:
    """GHL refuses every note of one contact, before and after: that event is buried."""
    await world.arrive(8)
    await world.change(4)
    world.ghl.faults.add("answer", "/contacts/contact-0/notes", method="POST", times=None, status=400, body={"message": "not like this"})
    yield


@asynccontextmanager
async def late(world: World) -> AsyncIterator[None]:
    """GHL carries out a note a second after its sender died."""
    await _mixed(world)
    world.ghl.faults.add("hang", NOTES, method="POST")
    yield
    asyncio.get_running_loop().call_later(1.0, world.ghl.faults.release)


# ── rows as earlier workers left them


async def claim_as(world: World, name: str, *, limit: int, urgency: int = 0) -> tuple[int, list[Claimed]]:
    """A worker that took the heads of some lanes, and its id."""
    async with world.pool.acquire() as connection:
        worker = await workers.begin(connection, name, lease_s=60)
        looked = await lanes.claim(connection, worker=worker, limit=limit, cursor=LOWEST, urgency=urgency, timeout_s=PATIENCE_S)
    return worker, looked.events


async def bury(world: World, *, urgency: int = 0, limit: int = 100) -> list[int]:
    """The heads of some lanes are dead letters. Their ids."""
    worker, events = await claim_as(world, "before", limit=limit, urgency=urgency)
    async with world.pool.acquire() as connection:
        burials = [Burial(event, 1_800_000_000.0, 5, "cause", "refused") for event in events]
        assert len(await lanes.bury(connection, burials, worker=worker, timeout_s=PATIENCE_S)) == len(events) > 0
        await workers.end(connection, worker)
    return [event.id for event in events]


async def _let_wait(world: World, *, delay_s: float | None, why: str, limit: int) -> None:
    worker, events = await claim_as(world, "before", limit=limit)
    async with world.pool.acquire() as connection:
        waits = [Wait(event, 1_800_000_000.0, 5, None, why, delay_s, 0, event.attempt - 1) for event in events]
        assert len(await lanes.wait(connection, waits, worker=worker)) == len(events) > 0
        await workers.end(connection, worker)


@asynccontextmanager
async def waiting(world: World) -> AsyncIterator[None]:
    """Retries that are due."""
    await _mixed(world)
    await _let_wait(world, delay_s=0.0, why="it failed", limit=5)
    yield


def held(*, state: str, first_asks: bool = True) -> Play:
    """Everything for GHL is held; the destination flows, is open with its probe due, or is paused for a second more."""

    @asynccontextmanager
    async def play(world: World) -> AsyncIterator[None]:
        if not first_asks:  # the oldest: it probes first, and asks GHL nothing
            await stage_all(world.postroom, appointment("confirmed", number="nobody", contact=None))
        await world.change(8)
        await _let_wait(world, delay_s=None, why=lanes.held_for("ghl"), limit=100)
        if state == "open":
            await destinations.open_breaker(world.pool, "ghl", why="it was down", probe_in_s=0)
        elif state == "paused":
            await destinations.pause(world.pool, "ghl", why="for a test", by="otto", seconds=1)
        yield

    return play


def orphaned(*, crashes: int = 0) -> Play:
    """A worker died at its third or an earlier time and left its events; its lease is over."""

    @asynccontextmanager
    async def play(world: World) -> AsyncIterator[None]:
        await _mixed(world)
        worker, events = await claim_as(world, "dead", limit=5)
        await world.pool.execute("update outbox.workers set until = now() - interval '1 s' where id = $1", worker)
        await world.pool.execute("update outbox.busy set crashes = $2 where event_id = $1", events[0].id, crashes)
        yield

    return play


@asynccontextmanager
async def locked(world: World) -> AsyncIterator[None]:
    """As orphaned, and somebody holds a lock on what the dead worker had, as its frozen client would."""
    connection = await db.connect(world.dsn, name="postroom:test")
    try:
        async with orphaned()(world):
            await connection.execute("begin; select from outbox.busy where owner is not null for update")
            yield
    finally:
        connection.terminate()


def left_open(statement: str) -> Play:
    """A connection of a dispatcher that is frozen in the middle of a transaction, with locks that nobody sees."""

    @asynccontextmanager
    async def play(world: World) -> AsyncIterator[None]:
        await _mixed(world)
        connection = await db.connect(world.dsn, name="postroom:handlers")
        try:
            await connection.execute(statement)
            yield
        finally:
            connection.terminate()

    return play


@asynccontextmanager
async def hanging(world: World) -> AsyncIterator[None]:
    """A call that is under way until the victim is dead."""
    await _mixed(world)
    world.ghl.faults.add("hang", NOTES, method="POST")
    yield
    world.ghl.faults.release()


async def stop(world: World, victim: Child) -> None:
    """It is told to stop while a call is under way (and has no grace)."""
    async with asyncio.timeout(20):
        await world.ghl.faults.wait_hanging()
    victim.send(signal.SIGTERM)


# ── days


@asynccontextmanager
async def old_day(world: World) -> AsyncIterator[None]:
    """A day that is over its time, everything of it done; and no day made ahead. Dispatchers look after the house every two seconds."""
    world.env["CRASH_HOUSE"] = "yes"
    day = await go_back(world.postroom, LONG_AGO_DAYS)
    await world.pool.execute("select outbox.stage('old.fact', '{}', key => 'old')")
    await world.pool.execute("update outbox.events set staged_at = now() - $1 * interval '1 day'", LONG_AGO_DAYS)
    await world.pool.execute(
        """with gone as (delete from outbox.pending returning event_id)
           insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome)
           select event_id, now(), 0, 1, 0, 'd' from gone"""
    )
    for ahead in (made for made in await partitions(world.postroom) if made > today()):
        for table in days.PARTITIONED:
            await world.pool.execute(f"drop table outbox.{table}_{ahead:%Y%m%d}")
    await world.pool.execute("select setval('outbox.event_ids', outbox.first_id((now() at time zone 'UTC')::date), true)")
    assert day in await partitions(world.postroom)
    await _mixed(world)
    yield


async def is_tidy(world: World) -> bool:
    """The old day is gone with its keys, the days ahead are there."""
    made = [await partitions(world.postroom, table) for table in days.PARTITIONED]
    keys = await world.postroom.value("select count(*) from outbox.keys where event_id < outbox.first_id((now() at time zone 'UTC')::date)")
    return keys == 0 and all(min(of) == today() and len(of) == 3 for of in made)
