"""Settlements in natural batches: what ends while one statement is in flight is the next statement. No timer.

Owns the outcomes that are not in the database yet. A settlement is fenced by owner and attempt, so one whose commit is
unknown is simply sent again; it is kept through an outage until it counted or turned out to be another's.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from dispatcher.line import Backoff, Line
from outbox.errors import DatabaseUnavailable
from outbox.event import Claimed
from outbox.log import get_logger
from outbox.store import lanes
from outbox.store.lanes import Burial, End, Wait

log = get_logger(__name__)
BATCH = 1000


class Ended(Protocol):
    """Told what counted, so that slots become free."""

    def __call__(self, ids: Sequence[int], *, taken: Sequence[tuple[int, Claimed]] = (), lanes_freed: bool = True) -> None: ...


class Settler:
    """One for each worker incarnation, on a connection of its own."""

    def __init__(self, line: Line, *, worker: int, ended: Ended, may_take: Callable[[Claimed], bool]) -> None:
        self._line, self._worker, self._ended, self._may_take = line, worker, ended, may_take
        self._ends: list[End] = []
        self._waits: list[Wait] = []
        self._burials: list[Burial] = []
        self._some = asyncio.Event()
        self.uncertain = False
        self.outages = 0

    def add(self, settlement: End | Wait | Burial) -> None:
        """Takes an outcome; it is settled as soon as the statement in flight returns."""
        match settlement:
            case End():
                self._ends.append(settlement)
            case Wait():
                self._waits.append(settlement)
            case Burial():
                self._burials.append(settlement)
        self._some.set()

    @property
    def is_empty(self) -> bool:
        """Whether everything that was added is in the database."""
        return not (self._ends or self._waits or self._burials)

    async def run(self) -> None:
        """Settles for ever, also through an outage."""
        backoff = Backoff()
        while True:
            await self._some.wait()
            self._some.clear()
            try:
                await self.flush()
                backoff.reset()
            except DatabaseUnavailable as problem:
                self.outages += 1
                wait_s = backoff.next_s()
                if not self.uncertain:
                    log.warning("settlements wait for the database", problem=problem, waiting=self._count())
                self.uncertain = True
                self._line.drop()
                self._some.set()
                await asyncio.sleep(wait_s)

    def _count(self) -> int:
        return len(self._ends) + len(self._waits) + len(self._burials)

    async def flush(self) -> None:
        """Everything that was added. Raises DatabaseUnavailable, and keeps what did not count yet."""
        while not self.is_empty:
            connection = await self._line.get()
            if self._ends:
                batch = self._ends[:BATCH]
                taken: list[tuple[int, Claimed]] = []
                take: list[bool] = []
                if any(end.followers for end in batch):
                    counted = await lanes.finish(connection, batch, worker=self._worker)
                else:
                    take = [self._may_take(end.event) for end in batch]
                    counted, taken = await lanes.finish_and_take(connection, batch, take=take, worker=self._worker)
                del self._ends[: len(batch)]
                self._report([end.event for end in batch], counted, taken, lanes_freed=not (take and all(take)))
            if self._waits:
                waits = self._waits[:BATCH]
                counted = await lanes.wait(connection, waits, worker=self._worker)
                del self._waits[: len(waits)]
                self._report([w.event for w in waits], counted, lanes_freed=False)
            if self._burials:
                burials = self._burials[:BATCH]
                counted = await lanes.bury(connection, burials, worker=self._worker)
                del self._burials[: len(burials)]
                self._report([b.event for b in burials], counted)
        self.uncertain = False

    def _report(
        self, events: Sequence[Claimed], counted: set[int], taken: Sequence[tuple[int, Claimed]] = (), *, lanes_freed: bool = True
    ) -> None:
        if len(counted) < len(events):
            for event in events:
                if event.id not in counted:
                    log.warning("a settlement did not count: the event is another's, or was settled before", event_id=event.id)
        self._ended([event.id for event in events], taken=taken, lanes_freed=lanes_freed)
