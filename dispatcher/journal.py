"""The journal's writer: entries of all events of a process, in natural batches. What comes while one is written is the next. No timer.

Each entry is committed before its writer goes on (P6); a commit for each alone would cost a real handler most of its time.
"""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias, cast

from outbox.db import Pool
from outbox.errors import DatabaseUnavailable, OwnershipLost
from outbox.store import steps
from outbox.store.steps import Entry, Fate

BATCH = 200
FLIGHTS = 2  # while the database works on one batch, the handlers of the other go on

Waiting: TypeAlias = tuple[Entry, "asyncio.Future[Fate]"]


class Journal:
    """One for each process."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._waiting: list[Waiting] = []
        self._flights: set[asyncio.Task[None]] = set()

    async def write(self, entry: Entry) -> bool:
        """Returns when it is committed; False: it was to be its event's first, and is not.

        Raises OwnershipLost when the event is another's by now, DatabaseUnavailable when it is unknown whether it is written.
        """
        fate = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, fate))
        if len(self._flights) < FLIGHTS:
            self._flights.add(asyncio.create_task(self._fly(), name="journal"))
        match await fate:
            case Fate.LOST:
                event = entry.event
                raise OwnershipLost(f"event {event.id} is no longer held by worker {entry.worker} (attempt {event.attempt})")
            case Fate.KNOWN:
                return False
        return True

    async def _fly(self) -> None:
        """Until nothing waits."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                # In the order of their lanes: two statements that lock the same rows in different orders would wait for each other.
                batch = sorted((one for one in batch if not one[1].done()), key=_lane)
                await self._write(batch)
        finally:  # in the same step as the last look at what waits: a callback comes later, and who writes before it would wait for nobody
            self._flights.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _write(self, batch: Sequence[Waiting]) -> None:
        try:
            fates = await steps.write(self.pool, [entry for entry, _ in batch]) if batch else []
        except asyncio.CancelledError:
            for _, waits in batch:
                waits.cancel()
            raise
        except Exception as problem:  # noqa: BLE001 -- it is its writers' affair
            if len(batch) > 1 and not isinstance(problem, DatabaseUnavailable):
                for one in batch:  # what is wrong with one entry must not cost the others
                    await self._write([one])
                return
            for _, waits in batch:
                if not waits.done():
                    waits.set_exception(problem)
        else:
            for (_, waits), fate in zip(batch, fates, strict=True):
                if not waits.done():
                    waits.set_result(fate)


def _lane(waiting: Waiting) -> tuple[int, int]:
    event = waiting[0].event
    return event.lane_key, event.id
