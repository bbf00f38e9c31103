"""A worker incarnation and its lease, and the look for others whose lease ended.

    begin ─▶ alive ──renewed every 3 s──▶ alive
               ├─ could not renew until 3 s before its end ─▶ LeaseLost: handlers are cancelled, finished outcomes are kept
               ├─ ended by another (zero rows)             ─▶ LeaseLost
               └─ stopping ─▶ ended, what is unfinished handed back

One lease covers every event a worker holds; long handlers need nothing. It is renewed only while the main loop makes
rounds. 9 s of lease, 2 s between looks, 1 s of patience with a frozen client and 1 s to restart make P9's 15 s.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from dispatcher.line import Line
from outbox import db
from outbox.errors import DatabaseUnavailable, PostroomError
from outbox.log import get_logger
from outbox.store import events, lanes, workers

log = get_logger(__name__)

LEASE_S = 9.0
RENEW_S = 3.0
MARGIN_S = 3.0
LOOK_S = 2.0
FULL_LOOK_EVERY = 15
STUCK_S = 6.0
SILENT_S = 6.0  # longer than the engine waits for any answer, and than a handler's transaction may be idle


@cache
def _version() -> str | None:
    """Of this code; None: it runs from a folder that was not installed."""
    try:
        return version("postroom")
    except PackageNotFoundError:
        return None


class LeaseLost(PostroomError):
    """This incarnation is over; whatever it still does does not count."""


class DatabaseClock:
    """The database's time, read once and carried on by this process's monotonic clock."""

    def __init__(self, now: datetime, at: float) -> None:
        self._ahead = now.timestamp() - at

    def at(self, monotonic: float) -> float:
        """The database's time at that moment of time.monotonic(), in seconds of the epoch."""
        return self._ahead + monotonic


class Lease:
    """Holds worker `id` alive. `line` is a connection of its own, so that a busy engine cannot delay a renewal."""

    def __init__(self, line: Line, *, worker: int, clock: DatabaseClock, safe_until: float) -> None:
        self.worker, self.clock = worker, clock
        self._line = line
        self._safe_until = safe_until
        self.last_round = time.monotonic()
        self.is_stopping = False  # told to stop: what can be handed back soon, should be

    @classmethod
    async def begin(cls, line: Line, *, name: str, keep_days: int | None = None) -> "Lease":
        """Registers a new incarnation, whose upkeep keeps days so long (None: it does none). Raises DatabaseUnavailable."""
        sent = time.monotonic()
        connection = await line.get()
        worker = await workers.begin(connection, name, lease_s=LEASE_S, version=_version(), keep_days=keep_days)
        await db.rename(connection, f"postroom:{worker}")
        asked = time.monotonic()
        clock = DatabaseClock(await events.clock(connection), (asked + time.monotonic()) / 2)
        return cls(line, worker=worker, clock=clock, safe_until=sent + LEASE_S - MARGIN_S)

    def is_ours(self) -> bool:
        """Whether this incarnation may still begin something."""
        return time.monotonic() < self._safe_until

    async def keep(self) -> None:
        """Renews for ever. Raises LeaseLost."""
        wait_s = RENEW_S
        while True:
            await asyncio.sleep(min(wait_s, max(0.05, self._safe_until - time.monotonic())))
            wait_s = RENEW_S
            if time.monotonic() - self.last_round > STUCK_S:
                log.error("the main loop makes no rounds; the lease is left to end", worker=self.worker)
            else:
                sent = time.monotonic()
                try:
                    renewed = await workers.renew(await self._line.get(), self.worker, lease_s=LEASE_S, timeout_s=2)
                except DatabaseUnavailable:
                    self._line.drop()
                    wait_s = 0.3
                else:
                    if not renewed:
                        raise LeaseLost(f"worker {self.worker} was ended by another; it starts again as a new one")
                    self._safe_until = sent + LEASE_S - MARGIN_S
            if not self.is_ours():
                raise LeaseLost(f"worker {self.worker} could not renew its lease; it starts again as a new one")


class Lookout:
    """Finds workers whose lease ended and frees what they held. Any worker does it for all."""

    def __init__(self, line: Line, *, freed: Callable[[], None]) -> None:
        self._line, self._freed = line, freed

    async def watch(self) -> None:
        """Looks for ever, also through an outage."""
        looks = 0
        while True:
            try:
                await self.look(fully=looks % FULL_LOOK_EVERY == 0)
            except DatabaseUnavailable:
                self._line.drop()
            looks += 1
            await asyncio.sleep(LOOK_S)

    async def look(self, *, fully: bool) -> list[int]:
        """One look. Returns the ids of the events that were freed."""
        connection = await self._line.get()
        ended = await workers.end_lapsed(connection)
        for name, count in await workers.end_frozen(connection, silent_s=SILENT_S):
            log.warning("ended connections that were left in a transaction", name=name, connections=count)
        if not (ended or fully or await workers.recently_ended(connection)):
            return []
        freed = await self._free()
        if frozen := await lanes.orphan_owners(connection):
            await asyncio.sleep(1)  # what stays locked for a second belongs to a client that is frozen in a transaction
            for owner in frozen:
                count = await workers.terminate(connection, owner)
                log.warning("ended the connections of a frozen worker", worker=owner, connections=count)
            freed += await self._free()
        if ended:
            log.warning("workers were lost", workers=ended, freed=len(freed))
        if freed:
            self._freed()
        return freed

    async def _free(self) -> list[int]:
        connection = await self._line.get()
        for event_id in await lanes.bury_poison(connection):
            log.error("event buried: it killed its process three times", event_id=event_id)
        return await lanes.release_orphans(connection)
