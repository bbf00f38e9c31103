"""The schedule, in every dispatcher: writes down the syncs that it knows, and stages the ticks that are due.

A tick is taken by moving its row on, in the transaction that stages its run: of any number of dispatchers one does it, and its key
(sync, type, time) is there for the case that the row was restored. At rest this is one indexed question every few seconds.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from dispatcher.context import Services
from dispatcher.syncs.base import Sync
from outbox import cadence, db
from outbox.cadence import InvalidCadence
from outbox.db import Connection, Record
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from outbox.store import events, runs, schedules, syncs
from outbox.store.runs import SwitchedOff, Trigger, UnknownSync, UnknownType
from outbox.store.schedules import CatchUp

log = get_logger(__name__)
LOOK_S: Final = 5.0  # so soon an edit is seen
SHORTEST_S: Final = 0.05


class Schedule:
    """One for each worker. `pulls_first`: a sync that has never run begins at once."""

    def __init__(self, services: Services, table: Mapping[str, Sync], *, pulls_first: bool = False) -> None:
        self._services, self._pool, self._table, self._pulls_first = services, services.pool, table, pulls_first

    async def run(self) -> None:
        """For ever, also through an outage."""
        is_registered = False
        while True:
            rest_s = LOOK_S
            try:
                if not is_registered:
                    await self.register()
                    is_registered = True
                rest_s = await self.look()
            except DatabaseUnavailable as problem:
                log.info("the schedule waits for the database", problem=problem)
            except Exception as problem:  # whatever is wrong with the schedule, the events go on
                log.error("the schedule failed; the events go on, but somebody has to look", exc_info=problem)
            await asyncio.sleep(rest_s)

    async def register(self) -> None:
        """Writes down the syncs of this code, and when they are due unless a person has said otherwise."""
        now = await events.clock(self._pool)
        for sync in (one for one in self._table.values() if not one.is_per_account):
            async with db.transaction(self._pool) as connection:
                off = sync.off(self._services)
                await syncs.register(connection, sync.name, destination=sync.destination, types=sync.types, off=off, overlap=sync.overlap)
                for type_, default in sync.schedules.items():
                    await schedules.put(connection, sync.name, type_, default.cadence, catch_up=default.catch_up, now=now)
                if sync.enrol is not None:
                    await sync.enrol(sync, self._services, connection, now)
                if self._pulls_first and sync.first is not None:
                    await self._begin(connection, sync.name, sync.first)
        await syncs.retire(self._pool, list(self._table))

    async def _begin(self, connection: Connection, sync: str, type_: str) -> None:
        if (asked := await runs.ask_first(connection, sync, type_)) is not None:
            log.info("a sync that has never run begins", sync=sync, type=type_, run=asked.id)

    async def look(self) -> float:
        """Stages what is due, and ends runs whose event died. Returns in how many seconds to look again."""
        await runs.end_dead(self._pool)
        soon = await schedules.soon(self._pool, within_s=LOOK_S)
        waits = [LOOK_S]
        for row in soon:
            if (wait_s := (row["due_at"] - row["now"]).total_seconds()) > 0:
                waits.append(wait_s)
            else:
                await self._take(row)
                waits.append(SHORTEST_S)
        return max(SHORTEST_S, min(waits))

    async def _take(self, row: Record) -> None:
        sync, type_, due_at = row["sync"], row["type"], row["due_at"]
        try:
            rule = cadence.read(row["cron"], row["zone"], row["every_s"])
            due = cadence.decide(rule, due_at=due_at, now=row["now"], makes_good=row["catch_up"] == CatchUp.ONE)
        except InvalidCadence as problem:
            log.error("a schedule cannot be read", sync=sync, type=type_, problem=problem)
            return
        async with db.transaction(self._pool) as connection:
            fires = due.fire is not None
            if not await schedules.tick(connection, sync, type_, due_at=due_at, next_at=due.due_at, fires=fires):
                return
            if due.fire is None:
                log.warning("a tick was missed", sync=sync, type=type_, due_at=due_at.isoformat(), next_at=due.due_at.isoformat())
                return
            try:
                asked = await runs.ask(connection, sync, type_, trigger=Trigger.SCHEDULE, key=tick_key(sync, type_, due.fire))
            except (SwitchedOff, UnknownSync, UnknownType) as problem:
                log.info("a tick that cannot be run", sync=sync, type=type_, problem=problem)
                return
        log.info("a run is due", sync=sync, type=type_, run=None if asked is None else asked.id, waits_already=asked is None)


def tick_key(sync: str, type_: str, at: datetime) -> str:
    """The idempotency key of a tick."""
    return f"sync:{sync}:{type_}:{at.isoformat()}"
