"""What flows and what waits: the gate that every event passes before its handler starts (P10).

Owns this worker's view of each destination: its state (shared through Postgres), its breaker, how many handlers call it now.
An event that may not pass is held: its lane waits, no attempt is spent, nothing is buried. When the destination flows
again, held events are released in growing portions.

    flowing ──5 failures in a row──▶ open ──due──▶ one event probes ──ok──▶ flowing
       │ ╲──token rejected──▶ unauthorised ─(the same, slower)─╯ ╲──failed──▶ open, for longer
       └──a person──▶ paused ──a person, or its end──▶ flowing
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from dispatcher.errors import RemoteError
from dispatcher.policy import breaker
from dispatcher.policy.breaker import Breaker, Verdict
from outbox.db import Pool
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from outbox.store import destinations, lanes

log = get_logger(__name__)

WATCH_S = 1.0
WHOLE_S = 60.0  # what changed is read each second, all that stands this rarely
RELEASE_S = 0.2
GATHER_S = 0.02
FIRST_PORTION = 50
LARGEST_PORTION = 1000
LIVE, BULK = 0, 1


@dataclass(frozen=True, slots=True)
class Standing:
    """A destination that does not flow. `probe_due` on this process's monotonic clock; None: a person decides."""

    state: str
    probe_due: float | None
    opened: int


class Destinations:
    """One for each worker."""

    def __init__(self, pool: Pool, *, limit: int, is_set_up: Callable[[str], bool], freed: Callable[[], None]) -> None:
        self._pool, self._limit, self._is_set_up, self._freed = pool, limit, is_set_up, freed
        self._bulk_limit = max(1, limit * 3 // 4)
        self._stopped: dict[str, Standing] = {}
        self._paused: set[str] = set()
        self._seen: str | None = None  # None: the next look reads all that stands
        self._whole_due = float("-inf")
        self._breakers: dict[str, Breaker] = {}
        self._probing: dict[str, int] = {}
        self._probed: dict[str, int] = {}
        self._given_up: list[tuple[str, int]] = []
        self._changes = 0
        self._running: Counter[str] = Counter()
        self._running_bulk: Counter[str] = Counter()
        self._bulk_waits: set[str] = set()
        self._portion: dict[str, int] = {}
        self._holding: set[str] = set()
        self._roomy: set[str] = set()  # of these a handler ended
        self._room = asyncio.Event()
        self._rng = random.Random()  # noqa: S311 -- jitter, not secrecy

    def enter(self, name: str, *, urgency: int) -> bool:
        """Whether a handler may start now; if so it is counted until leave().

        Bulk work leaves a quarter of the room to live work, which leaves one place to bulk work that is held.
        """
        if name in self._stopped or self._running[name] >= self._room_for(name, urgency) or not self._is_set_up(name):
            return False
        self._count(name, urgency, 1)
        return True

    def _room_for(self, name: str, urgency: int) -> int:
        """How many handlers may run, of either urgency, so that one more of this urgency may start."""
        bulk_is_next = name in self._bulk_waits and not self._running_bulk[name]
        if urgency == LIVE:
            return max(1, self._limit - bulk_is_next)
        return self._limit if bulk_is_next else self._bulk_limit

    def _count(self, name: str, urgency: int, change: int) -> None:
        self._running[name] += change
        if urgency != LIVE:
            self._running_bulk[name] += change

    async def probe(self, name: str, event_id: int, *, urgency: int) -> bool:
        """Whether this event may be the one that tries first; if so it is counted until leave()."""
        standing = self._stopped.get(name)
        if standing is None or standing.probe_due is None or time.monotonic() < standing.probe_due or not self._is_set_up(name):
            return False
        if name in self._probing or not await destinations.take_probe(self._pool, name, event_id):
            return False
        self._probing[name] = self._probed[name] = event_id
        self._breakers[name] = breaker.probing(standing.opened, now=_now())
        self._count(name, urgency, 1)
        log.info("one event probes a destination", destination=name, event_id=event_id)
        return True

    def leave(self, name: str, event_id: int, *, urgency: int) -> None:
        """The handler ended. A probe that said nothing about its destination gives its right to the next."""
        self._count(name, urgency, -1)
        if name in self._holding and name not in self._stopped:
            self._roomy.add(name)
            self._room.set()
        if self._probing.get(name) == event_id:
            del self._probing[name]
            self._given_up.append((name, event_id))

    def hold(self, name: str) -> None:
        """An event is held for this destination: releases are looked for."""
        self._holding.add(name)

    async def answered(self, name: str, event_id: int) -> None:
        """A handler called the destination and met no failure of it."""
        if name not in self._probing:
            self._breakers.pop(name, None)
        elif self._probing[name] == event_id:  # else it began before the flow stopped: the probe decides
            flows = await destinations.flow(self._pool, name)
            self._probing.pop(name, None)
            self._breakers.pop(name, None)
            self._changes += 1
            if flows:  # else a person was faster, and what they did stands
                self._stopped.pop(name, None)
                log.info("destination flows again", destination=name)

    async def failed(self, name: str, event_id: int, problem: RemoteError) -> bool:
        """A handler met a failure. True when the destination is stopped by now, so that the event is held rather than charged."""
        if problem.verdict is Verdict.ANSWERED:
            if problem.status is not None:  # else nothing was sent: our own budget, a request that cannot be built
                await self.answered(name, event_id)
            return False
        if name in self._stopped and self._probing.get(name) != event_id:
            return True  # it was opened by another while this handler ran
        now = _now()
        state = breaker.record(self._breakers.get(name, Breaker()), problem.verdict, now=now, rng=self._rng)
        self._breakers[name] = state
        if state.until is None:
            return False
        unauthorised = problem.verdict is Verdict.LOCKED_OUT
        probe_in_s = (state.until - now).total_seconds()
        word, probe_due = "unauthorised" if unauthorised else "open", time.monotonic() + probe_in_s
        # At once in this process, or everything that fails meanwhile would open it again, each time for longer.
        self._stopped[name] = Standing(word, probe_due, self._stopped[name].opened if name in self._stopped else 1)
        self._changes += 1
        try:
            opened = await destinations.open_breaker(
                self._pool, name, why=str(problem)[:400], probe_in_s=probe_in_s, unauthorised=unauthorised
            )
        except BaseException:
            self._seen, self._changes = None, self._changes + 1  # nobody knows whether it was written: the next look reads all
            raise
        self._stopped[name] = Standing(word, probe_due, opened or 1)
        self._probing.pop(name, None)
        log.error("destination stopped", destination=name, why=problem, probe_in_s=round(probe_in_s, 1))
        return True

    async def watch(self) -> None:
        """Keeps the view fresh and releases what may flow again, for ever, also through an outage."""
        while True:
            try:
                await self.refresh()
                await self.release()
                await self._fill(until=time.monotonic() + RELEASE_S)
            except DatabaseUnavailable:
                await asyncio.sleep(RELEASE_S)  # the main loop says it
            if not self._holding:
                await asyncio.sleep(WATCH_S)

    async def _fill(self, *, until: float) -> None:
        """Where handlers end, what is held follows at once: else a destination with room stands idle until the next look."""
        while self._holding and (left_s := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await self._room.wait()
            except TimeoutError:
                return
            await asyncio.sleep(GATHER_S)
            self._room.clear()
            roomy, self._roomy = self._roomy, set()
            released = [await self._let_flow(name) for name in sorted(roomy & self._holding) if name not in self._stopped]
            if any(released):
                self._freed()

    async def refresh(self) -> None:
        """Reads what has changed of the shared states."""
        await self._give_up()
        await destinations.end_pauses(self._pool) if self._paused else None
        is_whole = self._seen is None or time.monotonic() >= self._whole_due
        changes, since = self._changes, None if is_whole else self._seen
        seen, rows = await destinations.changed(self._pool, since=since)
        if changes != self._changes:
            return  # what was read is older than what this process has found out meanwhile
        if is_whole:
            self._whole_due = time.monotonic() + WHOLE_S
            for name in self._stopped.keys() - {row["name"] for row in rows}:
                self._flows(name)
        for row in rows:
            if row["state"] == "flowing":
                self._flows(row["name"])
            else:
                due = None if row["until_s"] is None or row["state"] == "paused" else time.monotonic() + row["until_s"]
                self._stopped[row["name"]] = Standing(row["state"], due, row["opened"])
                (self._paused.add if row["state"] == "paused" else self._paused.discard)(row["name"])
        self._seen = seen

    def _flows(self, name: str) -> None:
        """The shared state says so. Failures that were counted meanwhile, while it was known to flow, still count."""
        self._paused.discard(name)
        if self._stopped.pop(name, None) is not None:
            self._breakers.pop(name, None)

    async def _give_up(self) -> None:
        while self._given_up:
            name, event_id = self._given_up[-1]
            await destinations.give_up_probe(self._pool, name, event_id)
            self._given_up.pop()

    async def release(self) -> None:
        """Held events of flowing destinations become due in growing portions; of an open one whose probe is due, one event."""
        held = await lanes.held(self._pool)
        self._holding = set(held)
        self._bulk_waits = {name for name, waits in held.items() if waits.bulk}
        for name in self._portion.keys() - held.keys():
            del self._portion[name]
        for name in held:
            standing = self._stopped.get(name)
            if not self._is_set_up(name):
                continue
            if standing is None:
                released = await self._let_flow(name)
            elif standing.probe_due is not None and time.monotonic() >= standing.probe_due and name not in self._probing:
                # Each time another event: one that breaks the destination by itself must not keep it closed for all.
                released = await lanes.release_probe(self._pool, name, after=self._probed.get(name, 0))
            else:
                continue
            if released:
                self._freed()

    async def _let_flow(self, name: str) -> int:
        """Twice as many as there is room for, so that it fills up; of bulk work also the one whose place live work leaves free."""
        portion = self._portion.get(name, FIRST_PORTION)
        self._portion[name] = min(LARGEST_PORTION, portion * 2)
        live, bulk = (min(portion, 2 * (self._room_for(name, urgency) - self._running[name])) for urgency in (LIVE, BULK))
        released = await lanes.release_held(self._pool, name, limit=live, urgency=LIVE) if live > 0 else 0
        bulk = max(bulk - released, min(bulk, 1) if not self._running_bulk[name] else 0)
        return released + (await lanes.release_held(self._pool, name, limit=bulk, urgency=BULK) if bulk > 0 else 0)


def _now() -> datetime:
    return datetime.now(UTC)
