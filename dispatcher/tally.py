"""What this worker settled, by minute and kind: gathered in memory, told to the database once a second.

Only settlements that counted are counted. What a killed process had not told is missing from the charts, and nowhere else.
"""

import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from dispatcher.telling import tell_for_ever
from dispatcher.worker import DatabaseClock
from outbox.db import Pool
from outbox.health import LATE_S
from outbox.store import minutes
from outbox.store.lanes import Burial, End, Wait
from outbox.store.minutes import Counts

EVERY_S: Final = 1.0


class Tally:
    """One for each worker incarnation."""

    def __init__(self, pool: Pool, clock: DatabaseClock) -> None:
        self._pool, self._clock = pool, clock
        self._counts: defaultdict[tuple[int, str], Counts] = defaultdict(Counts)

    def settled(self, batch: Iterable[End | Wait | Burial]) -> None:
        """These counted."""
        now = self._clock.at(time.monotonic())
        minute = int(now // 60)
        for settlement in batch:
            event = settlement.event
            counts = self._counts[minute, event.kind]
            match settlement:
                case End(outcome="d"):
                    took_s = max(0.0, now - event.staged_at.timestamp())
                    counts.done += 1
                    counts.settled_ms += int(took_s * 1000)
                    counts.late += took_s > LATE_S
                    counts.skipped += len(settlement.followers)
                case End():
                    counts.skipped += 1 + len(settlement.followers)
                case Burial():
                    counts.dead += 1
                case Wait(outcome="r"):
                    counts.failures += 1

    async def run(self) -> None:
        """Tells for ever; what could not be told is told the next time."""
        await tell_for_ever(self.tell, every_s=EVERY_S)

    async def tell(self) -> None:
        """Raises DatabaseUnavailable: then it is kept. A commit whose answer was lost is counted twice, rather than not at all."""
        counted, self._counts = self._counts, defaultdict(Counts)
        if not counted:
            return
        told = ((datetime.fromtimestamp(minute * 60, UTC), kind, counts) for (minute, kind), counts in counted.items())
        try:
            await minutes.add(self._pool, told)
        except BaseException:
            for key, counts in self._counts.items():
                counted[key].add(counts)
            self._counts = counted
            raise
