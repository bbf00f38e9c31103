"""The main loop of a worker: claim what it can start soon, start it, free the slots, rest until there is more.

Owns which events run in this process. Wake-ups are hints (a NOTIFY, a freed slot, a due retry); polling is the truth:
5 ms after activity, doubling to 500 ms, or to 2 s while the listening connection stands.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from itertools import takewhile

from dispatcher.ending import CANCEL_S
from dispatcher.executor import Executor
from dispatcher.line import Backoff, Line
from dispatcher.policy.pace import Pace, by_time
from dispatcher.routes import UNROUTED, Route
from dispatcher.running import Running
from dispatcher.settler import Settler
from dispatcher.sight import BULK, LIVE, Sight
from dispatcher.worker import Lease
from outbox.db import Connection
from outbox.errors import DatabaseUnavailable
from outbox.event import Claimed
from outbox.log import get_logger
from outbox.store import lanes
from outbox.store.lanes import LOWEST, Wait

log = get_logger(__name__)

BATCH = 500
SHORTEST_REST_S, LONGEST_REST_S, LONGEST_REST_LISTENING_S = 0.005, 0.5, 2.0
LINGER_S = 0.005
GATHER_S = 0.005
LONGEST_DUE_REST_S = 3.0  # what a lost worker held is found by looking for what is due, within P9's 15 s
SWEEP_S = 0.25
STRAYS_EVERY_S, DOUBT_S = 5.0, 30.0
MEMORY_BYTES = 64 * 1024 * 1024
STREAK = 8


class Loop:
    """One for each worker incarnation."""

    def __init__(self, line: Line, lease: Lease, executor: Executor, routes: Mapping[str, Route], *, slots: int, sight: Sight) -> None:
        self._line, self._lease, self._executor, self._routes, self._slots, self.sight = line, lease, executor, routes, slots, sight
        self._settler: Settler | None = None
        self._spawn = asyncio.get_running_loop().create_task
        self.running: dict[int, Running] = {}
        self.wake = asyncio.Event()
        self.listening = False
        self._draining = False
        self._is_full = False
        self._gathering: asyncio.TimerHandle | None = None
        self._asking = 0  # slots that the looks of this round may fill
        self._bytes = 0
        self._settling = 0  # of those in `running`: their handlers are over, their outcomes not yet in the database
        self._cursors = {LIVE: random.randrange(-(2**63), 2**63), BULK: random.randrange(-(2**63), 2**63)}  # noqa: S311 -- spread, not secrecy
        self._bulk = True
        self._due_at, self._due_pace = 0.0, Pace(longest_rest_s=LONGEST_DUE_REST_S)
        self._rest_s = SHORTEST_REST_S
        self._arrived: list[Claimed] = []
        self._strays: set[tuple[int, int]] = set()
        self._strays_at = self._doubtful_until = 0.0
        self._outages = 0

    def attach(self, settler: Settler) -> None:
        """Where outcomes go."""
        self._settler = settler

    # ── what others tell the loop

    def notify(self) -> None:
        """There may be something new."""
        self._rest_s = SHORTEST_REST_S
        self.wake.set()

    def look_for_due(self) -> None:
        """Something may have become due."""
        self._due_at = 0.0
        self.notify()

    def drain(self) -> None:
        """No more claims."""
        self._draining = True
        self.wake.set()

    def may_take(self, event: Claimed) -> bool:
        """Whether to keep a lane for its next event: while slots are free, else a few in a row, so that no lane starves another."""
        if self._draining or self._bytes >= MEMORY_BYTES:
            return False
        if len(self.running) * 2 < self._slots:
            return self._lease.is_ours()
        running = self.running.get(event.id)
        return running is not None and running.streak < STREAK and self._lease.is_ours()

    def ended(self, ids: Sequence[int], *, taken: Sequence[tuple[int, Claimed]] = (), lanes_freed: bool = True) -> None:
        """These are settled; `taken` came with their lanes. `lanes_freed`: some lane may have more to claim."""
        streaks: dict[int, int] = {}
        for event_id in ids:
            running = self.running.get(event_id)
            if running is None or not running.is_settling:
                continue  # its wait was so short that it runs again already
            del self.running[event_id]
            self._settling -= 1
            self._bytes -= len(running.event.payload)
            streaks[event_id] = running.streak + 1
            if lanes_freed:
                self.sight.freed(running.event.urgency, running.event.lane_key)
        for before, event in taken:
            if self._route(event).coalesce is None:
                self._start(event, (), streak=streaks.get(before, 1))
            else:
                self._arrived.append(event)  # the loop first asks what waits behind it
        if self._arrived or ((lanes_freed or self._is_full) and len(self.running) * 2 <= self._slots):
            self.wake.set()
        else:
            self._gather()

    def _gather(self) -> None:
        """While full: the loop looks again soon. Not later, or handlers that take long would all come to begin and end together."""
        if self._is_full and self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self.wake.set()

    # ── rounds

    async def run(self) -> None:
        """Rounds until drain() is called. Survives a database outage."""
        backoff = Backoff()
        while not self._draining:
            self._lease.last_round = time.monotonic()
            self.wake.clear()  # now and not before resting: what is told while a look is under way came too late for that look
            try:
                more = await self._round()
            except DatabaseUnavailable as problem:
                wait_s = backoff.next_s()
                log.warning("claims wait for the database", problem=problem, again_in_s=round(wait_s, 1))
                self._line.drop()
                self._doubt()
                self._lease.last_round = time.monotonic()
                await self._rest(wait_s)
                continue
            backoff.reset()
            await self._rest_until_more(more)

    async def drained(self) -> None:
        """Returns when nothing runs any more, and no far look may still bring something."""
        while self.running or self.sight.reserved:
            self._lease.last_round = time.monotonic()
            self.wake.clear()
            await self._rest(0.2)

    async def cancel(self) -> None:
        """Cancels what still runs and waits for it, but not for ever: a handler that swallows its cancellation is left behind."""
        tasks = [running.task for running in self.running.values() if running.task is not None and not running.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_S)

    async def sweep(self) -> None:
        """Cancels handlers over their deadline, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for running in self.running.values():
                if running.task is not None and not running.timed_out and now - running.started > running.route.deadline_s:
                    running.timed_out = True
                    running.task.cancel()

    async def _round(self) -> bool:
        """One round. True when there is more than there were slots for."""
        connection = await self._line.get()
        arrived, self._arrived = self._arrived, []
        await self._start_all(arrived)
        await self._hand_back_strays(connection)
        if self._settler is not None and self._settler.uncertain:
            await self._rest(LONGEST_REST_S)  # no claims of what could not be settled
            return True
        room = self._asking = self._room()
        if room == 0:
            return True
        more = False
        if (began := time.monotonic()) >= max(self._due_at, self._due_pace.again_at):
            due, promoted = list[Claimed](), 0
            try:
                due = await lanes.take_due(connection, worker=self._lease.worker, limit=min(room, BATCH), suspects=not self._suspect_runs())
                await self._start_all(sorted(due))  # oldest first: what waited longest for room at its destination gets it
                promoted = await lanes.promote_delayed(connection)
            finally:  # also when there was no answer in time: the next rounds are for claims
                took_s = time.monotonic() - began
                self._due_pace.looked(now=began + took_s, took_s=took_s, length=by_time(took_s, found=len(due) + promoted))
            self._due_at = (
                time.monotonic() if len(due) == min(room, BATCH) or promoted == 500 else time.monotonic() + LONGEST_REST_LISTENING_S
            )
            more = bool(due) or promoted > 0
        for urgency in (LIVE, BULK) if self._bulk else (LIVE,):
            # A quarter of the slots is for live events alone: bulk work can take its time, and they must not wait for it.
            if (room := self._room() - (self._slots // 4 if urgency == BULK else 0)) > 0:
                more |= await self._claim(urgency, min(room, BATCH))
        return more

    async def _claim(self, urgency: int, limit: int) -> bool:
        connection = await self._line.get()
        if self.sight.is_dear(urgency):
            near, more = await self.sight.near(connection, urgency, limit=limit)
            await self._start_all(near)
            return more
        asked = time.monotonic()
        try:
            looked = await lanes.claim(connection, worker=self._lease.worker, limit=limit, cursor=self._cursors[urgency], urgency=urgency)
        except DatabaseUnavailable:
            self.sight.asked(urgency, took_s=time.monotonic() - asked)
            raise
        self.sight.looked(urgency, looked, took_s=time.monotonic() - asked)
        began_at = self._cursors[urgency]
        self._cursors[urgency] = looked.last if looked.seen == limit else LOWEST
        if urgency == BULK:
            self._bulk = looked.seen > 0 or began_at != LOWEST
        await self._start_all(looked.events)
        # A short look that did not begin at the lowest lane has not seen the lanes before it.
        return bool(looked.events) or (looked.seen < limit and began_at != LOWEST)

    async def look_far(self) -> None:
        """Looks over all lanes beside the rounds while that is dear, for ever."""
        await self.sight.far(room=lambda: max(0, self._room() - self._asking), bring=self._start_all, lost=self._doubt)

    async def _rest_until_more(self, more: bool) -> None:
        self._asking = 0
        if self._arrived:
            return
        room = self._room()
        self._is_full = room * 2 < self._slots
        if more:
            self._rest_s = SHORTEST_REST_S
            if self._is_full:  # gather freed slots for a moment: claims of a few are as dear as claims of many
                self.wake.clear()
                await self._rest(LINGER_S if room else LONGEST_REST_S)
            return
        await self._rest(max(0.0, min(self._rest_s, max(self._due_at, self._due_pace.again_at) - time.monotonic())))
        if self.wake.is_set() or self._draining:
            return
        self._rest_s = min(self._rest_s * 2, LONGEST_REST_LISTENING_S if self.listening else LONGEST_REST_S)
        await self._peek()

    async def _peek(self) -> None:
        """At rest: one read-only question instead of claims that find nothing."""
        if (asked := time.monotonic()) < self._due_pace.again_at:
            return
        is_dear = self.sight.is_dear(BULK)
        try:
            bulk, next_due_s = await lanes.next_due(await self._line.get(), bulk=not is_dear)
        except DatabaseUnavailable:
            took_s = time.monotonic() - asked
            self._due_pace.looked(now=asked + took_s, took_s=took_s, length=by_time(took_s, found=0))
            return  # the next round says it
        if not is_dear:
            self.sight.asked(BULK, took_s=time.monotonic() - asked)
        self._bulk |= bulk or is_dear
        if next_due_s is not None:
            self._due_at = min(self._due_at, time.monotonic() + next_due_s)

    async def _rest(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self.wake.wait()
        except TimeoutError:
            pass

    # ── what was claimed without our knowing

    def _doubt(self) -> None:
        """A statement was not answered: for a while, look for what it brought."""
        now = time.monotonic()
        if now >= self._doubtful_until:
            self._strays_at = now
        self._doubtful_until = now + DOUBT_S

    async def _hand_back_strays(self, connection: Connection) -> None:
        """Frees what the database says runs here but does not: a claim, or a lane kept in a settlement, whose answer was lost.

        Only what two looks in a row see: at the first, a settlement in flight may be about to bring it.
        """
        if self._settler is not None and self._settler.outages != self._outages:
            self._outages = self._settler.outages
            self._doubt()
        if not self._strays_at <= time.monotonic() < self._doubtful_until:
            return
        self._strays_at = time.monotonic() + STRAYS_EVERY_S
        seen = set(await lanes.strays(connection, worker=self._lease.worker, known=list(self.running)))
        if lost := sorted(seen & self._strays):
            freed = await lanes.hand_back_strays(connection, lost, worker=self._lease.worker)
            log.warning("freed events whose claim was not answered", event_ids=freed)
            self._due_at = 0.0
        self._strays = seen

    # ── starting

    def _room(self) -> int:
        if self._draining or not self._lease.is_ours() or self._bytes >= MEMORY_BYTES:
            return 0
        # An outcome on its way takes no slot: claims and settlements go on side by side. In all never more than twice the slots.
        at_work = max(len(self.running) - self._settling, len(self.running) - self._slots)
        return max(0, self._slots - self.sight.reserved - at_work)

    def _suspect_runs(self) -> bool:
        return any(running.event.crashes >= 2 for running in self.running.values())

    async def _start_all(self, events: Sequence[Claimed]) -> None:
        """Starts claimed events; a head whose route coalesces takes with it what waits right behind it and means the same."""
        heads = [event for event in events if self._route(event).coalesce is not None]
        try:
            behind = await lanes.followers(await self._line.get(), heads) if heads else {}
        except DatabaseUnavailable as problem:
            log.info("heads start without their followers", problem=problem)
            behind = {}
        for event in events:
            self._start(event, self._covered(event, behind.get(event.lane_key, ())))

    def _route(self, event: Claimed) -> Route:
        return self._routes.get(event.kind, UNROUTED)

    def _covered(self, head: Claimed, behind: Sequence[tuple[int, str]]) -> tuple[int, ...]:
        if not behind:
            return ()
        word = self._route(head).coalesce
        same = takewhile(lambda follower: self._routes.get(follower[1], UNROUTED).coalesce == word, behind)
        return tuple(event_id for event_id, _ in same)

    def _start(self, event: Claimed, followers: tuple[int, ...], *, streak: int = 0) -> None:
        if (before := self.running.get(event.id)) is not None:
            self._bytes -= len(before.event.payload)
            self._settling -= before.is_settling
        self._bytes += len(event.payload)
        running = self.running[event.id] = Running(event, self._route(event), time.monotonic(), followers, streak)
        # `running` owns the task until it is settled, and cancel() ends it: a task group would cost a tenth of the drain rate.
        running.task = self._spawn(self._run(running))

    async def _run(self, running: Running) -> None:
        assert self._settler is not None
        settlement = await self._executor.run(running)
        running.is_settling = True
        self._settling += 1
        self._gather()
        if settlement is None:
            self._settler.committed(running.end)
            self.ended([running.event.id])
            return
        if isinstance(settlement, Wait) and settlement.delay_s is not None:
            self._due_at = min(self._due_at, time.monotonic() + settlement.delay_s + 0.002)
        self._settler.add(settlement)
