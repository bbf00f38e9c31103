"""Settlements in natural batches: what ends while statements are in flight is the next statement. No timer.

Owns the outcomes that are not in the database yet. A settlement is fenced by owner and attempt, so one whose commit is
unknown is simply sent again; it is kept through an outage until it counted or turned out to be another's.

Two flushers, each with a connection of its own: while the database works on one batch, the handlers of the other run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from dispatcher.line import Backoff, Line
from outbox.db import Connection
from outbox.errors import DatabaseUnavailable
from outbox.event import Claimed
from outbox.log import get_logger
from outbox.store import lanes
from outbox.store.lanes import Burial, End, Wait

log = get_logger(__name__)
BATCH = 500
S = TypeVar("S", End, Wait, Burial)


class Ended(Protocol):
    """Told what counted, so that slots become free."""

    def __call__(self, ids: Sequence[int], *, taken: Sequence[tuple[int, Claimed]] = (), lanes_freed: bool = True) -> None: ...


class Settler:
    """One for each worker incarnation. `lines`: as many flushers as there are connections; `count` is told of all that counted."""

    def __init__(
        self,
        lines: Sequence[Line],
        *,
        worker: int,
        ended: Ended,
        may_take: Callable[[Claimed], bool],
        count: Callable[[Iterable[End | Wait | Burial]], None],
    ) -> None:
        self._lines, self._worker, self._ended, self._may_take, self._count = lines, worker, ended, may_take, count
        self._ends: list[End] = []
        self._waits: list[Wait] = []
        self._burials: list[Burial] = []
        self._some = asyncio.Event()
        self._in_flight = 0
        self.uncertain = False
        self.outages = 0

    def add(self, settlement: End | Wait | Burial) -> None:
        """Takes an outcome; it is settled as soon as a flusher is free."""
        match settlement:
            case End():
                self._ends.append(settlement)
            case Wait():
                self._waits.append(settlement)
            case Burial():
                self._burials.append(settlement)
        self._some.set()

    def committed(self, end: End | None) -> None:
        """Of an event that a handler's own transaction settled."""
        if end is not None:
            self._count((end,))

    @property
    def is_empty(self) -> bool:
        """Whether everything that was added is in the database."""
        return not (self._ends or self._waits or self._burials or self._in_flight)

    async def run(self) -> None:
        """Settles for ever, also through an outage."""
        async with asyncio.TaskGroup() as flushers:
            for line in self._lines:
                flushers.create_task(self._flush_for_ever(line), name="flusher")

    async def _flush_for_ever(self, line: Line) -> None:
        backoff = Backoff()
        while True:
            await self._some.wait()
            self._some.clear()
            try:
                await self.flush(line)
                backoff.reset()
            except DatabaseUnavailable as problem:
                self.outages += 1
                wait_s = backoff.next_s()
                if not self.uncertain:
                    log.warning("settlements wait for the database", problem=problem, waiting=self._waiting())
                self.uncertain = True
                line.drop()
                await asyncio.sleep(wait_s)
                self._some.set()

    def _waiting(self) -> int:
        return len(self._ends) + len(self._waits) + len(self._burials)

    async def flush(self, line: Line) -> None:
        """Everything that is not in flight. Raises DatabaseUnavailable, and keeps what did not count."""
        while self._waiting():
            connection = await line.get()
            await self._send(connection, self._ends, self._finish)
            await self._send(connection, self._waits, self._wait)
            await self._send(connection, self._burials, self._bury)
            self.uncertain = False

    async def _send(self, connection: Connection, waiting: list[S], settle: Callable[[Connection, list[S]], Awaitable[None]]) -> None:
        """One batch. While it is in flight it belongs to this flusher alone; without an answer it goes back to the front."""
        batch = waiting[:BATCH]
        if not batch:
            return
        del waiting[: len(batch)]
        self._in_flight += len(batch)
        try:
            await settle(connection, batch)
        except BaseException:
            waiting[:0] = batch
            raise
        finally:
            self._in_flight -= len(batch)

    async def _finish(self, connection: Connection, batch: list[End]) -> None:
        if any(end.followers for end in batch):
            counted = await lanes.finish(connection, batch, worker=self._worker)
            self._report(batch, counted)
            return
        take = [self._may_take(end.event) for end in batch]
        counted, taken = await lanes.finish_and_take(connection, batch, take=take, worker=self._worker)
        self._report(batch, counted, taken=taken, lanes_freed=not all(take))

    async def _wait(self, connection: Connection, batch: list[Wait]) -> None:
        self._report(batch, await lanes.wait(connection, batch, worker=self._worker), lanes_freed=False)

    async def _bury(self, connection: Connection, batch: list[Burial]) -> None:
        self._report(batch, await lanes.bury(connection, batch, worker=self._worker))

    def _report(
        self,
        batch: Sequence[End | Wait | Burial],
        counted: set[int],
        *,
        taken: Sequence[tuple[int, Claimed]] = (),
        lanes_freed: bool = True,
    ) -> None:
        ids = [settlement.event.id for settlement in batch]
        if len(counted) < len(ids):
            for event_id in set(ids) - counted:
                log.warning("a settlement did not count: the event is another's, or was settled before", event_id=event_id)
            batch = [settlement for settlement in batch if settlement.event.id in counted]
        self._count(batch)
        self._ended(ids, taken=taken, lanes_freed=lanes_freed)
