"""Where a worker looks for pending events when looking over all lanes has become dear: the freshest in each round, all lanes now and then.

    a look over all lanes, long for little, thrice ──▶ near: the newest events, by their ids, and lanes that this worker let go; each round
                                                     └▶ far: all lanes, on a connection of its own, a twentieth of the time
    cheap again ──▶ looks over all lanes in each round, as ever

That happens while somebody holds an old snapshot: dead rows of `pending` stay, and a look over all lanes walks over each of them. Near
looks do not meet them. What only a far look finds (committed late, put back, let go by another worker) comes later, never not at all.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from dispatcher.line import Line
from dispatcher.policy.pace import GIVEN_UP_S, Length, Pace, Window, by_time, by_walk
from outbox.db import Connection
from outbox.errors import DatabaseUnavailable
from outbox.event import Claimed
from outbox.log import get_logger
from outbox.store import fresh, lanes
from outbox.store.lanes import LOWEST, Looked

log = get_logger(__name__)
LIVE, BULK = 0, 1
NO_ROOM_S, AWAY_S, FAR_TIMEOUT_S = 0.1, 1.0, 120.0


class Sight:
    """One for each worker incarnation. `reserved`: slots that a far look in flight may fill."""

    def __init__(self, line: Line, *, worker: int) -> None:
        self._line, self._worker = line, worker
        self._paces = {LIVE: Pace(), BULK: Pace()}
        self._windows = {LIVE: Window(), BULK: Window()}
        self._freed: dict[int, set[int]] = {LIVE: set(), BULK: set()}
        self._cursors = {LIVE: LOWEST, BULK: LOWEST}
        self._some_dear = asyncio.Event()
        self.reserved = 0

    def is_dear(self, urgency: int) -> bool:
        """Whether looking over all lanes is for far looks alone."""
        return self._paces[urgency].is_dear

    def looked(self, urgency: int, found: Looked, *, took_s: float) -> None:
        """A look over all lanes ended."""
        self._note(urgency, took_s, by_walk(found.walked, found=found.seen))

    def asked(self, urgency: int, *, took_s: float) -> None:
        """A look ended whose steps nobody counted: a question whether anything is there, or one that was not answered in time."""
        self._note(urgency, took_s, by_time(took_s, found=0))

    def _note(self, urgency: int, took_s: float, length: Length) -> None:
        pace = self._paces[urgency]
        was_dear = pace.is_dear
        pace.looked(now=time.monotonic(), took_s=took_s, length=length)
        if pace.is_dear and not was_dear:
            self._windows[urgency], self._cursors[urgency] = Window(), LOWEST
            log.info("looking over all lanes is dear: is an old snapshot held?", urgency=urgency, took_ms=round(took_s * 1000))
        if any(pace.is_dear for pace in self._paces.values()):
            self._some_dear.set()
        else:
            self._some_dear.clear()

    def freed(self, urgency: int, lane: int) -> None:
        """This worker let a lane go: what waits in it need not wait for a far look."""
        if self.is_dear(urgency):
            self._freed[urgency].add(lane)

    async def near(self, connection: Connection, urgency: int, *, limit: int) -> tuple[list[Claimed], bool]:
        """Claims among the newest events and the lanes let go. True: there may be more. Raises DatabaseUnavailable."""
        now, window = time.monotonic(), self._windows[urgency]
        freed, self._freed[urgency] = self._freed[urgency], set()
        found = await fresh.claim(
            connection, worker=self._worker, limit=limit, above=window.above(now), urgency=urgency, lanes=sorted(freed)
        )
        is_full = found.seen == fresh.LOOK_AT
        window.looked(now=now, last=found.last, is_full=is_full)
        return found.events, bool(found.events) or is_full

    async def far(self, *, room: Callable[[], int], bring: Callable[[list[Claimed]], Awaitable[None]], lost: Callable[[], None]) -> None:
        """Looks over all lanes while that is dear, for ever. `bring` starts what it found; `lost` is told of a look without an answer."""
        while True:
            await self._some_dear.wait()
            urgency = min((of for of, pace in self._paces.items() if pace.is_dear), key=lambda of: self._paces[of].again_at)
            await asyncio.sleep(max(0.0, self._paces[urgency].again_at - time.monotonic()))
            if (limit := room() // 2) < 1:
                await asyncio.sleep(NO_ROOM_S)
                continue
            self.reserved = limit
            try:
                await bring(await self._look(urgency, limit))
            except DatabaseUnavailable:
                self._line.drop()
                lost()
                await asyncio.sleep(AWAY_S)
            finally:
                self.reserved = 0

    async def _look(self, urgency: int, limit: int) -> list[Claimed]:
        connection = await self._line.get()
        began, cursor = time.monotonic(), self._cursors[urgency]
        try:
            found = await lanes.claim(connection, worker=self._worker, limit=limit, cursor=cursor, urgency=urgency, timeout_s=FAR_TIMEOUT_S)
        except DatabaseUnavailable:
            self.asked(urgency, took_s=max(GIVEN_UP_S, time.monotonic() - began) * 1.01)
            raise
        self._cursors[urgency] = found.last if found.seen == limit else LOWEST
        self.looked(urgency, found, took_s=time.monotonic() - began)
        return found.events
