"""Housekeeping without a leader: whoever gets the lock does it. Partitions made ahead, old days dropped, tables bounded.

Undone work is never dropped. Retention is one short transaction a day of events, with a lock time-out. What it has to say it says once.
"""

import asyncio
import itertools
from collections.abc import Collection
from datetime import date

from dispatcher.line import Line
from outbox import db
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from outbox.queries import load
from outbox.store import calls, days, minutes, plans, runs, sources, storage, wanted, workers

log = get_logger(__name__)
EVERY_S, HOUSE_EVERY = 10.0, 6
RECORDS_DAYS = 30  # what a sync did to which record is kept so long, or as long as its run
LOCK = load("days")["lock"]


class Upkeep:
    """One for each worker; they take turns."""

    def __init__(self, line: Line, *, keep_days: int, kinds: Collection[str] = ()) -> None:
        self._line, self._keep_days, self._kinds = line, keep_days, kinds
        self._told: list[tuple[date, int]] = []

    async def run(self) -> None:
        """For ever, also through an outage."""
        for turn in itertools.count():
            try:
                if turn % HOUSE_EVERY == 0:
                    await wanted.want(await self._line.get(), self._kinds)
                    await self.once()
                await days.sum_up(await self._line.get())
                await minutes.count_arrivals(await self._line.get())
            except DatabaseUnavailable as problem:
                log.info("upkeep waits for the database", problem=problem)
                self._line.drop()
            except Exception as problem:  # whatever is wrong with the house, the events go on
                log.error("upkeep failed; the events go on, but somebody has to look", exc_info=problem)
                self._line.drop()
            await asyncio.sleep(EVERY_S)

    async def once(self) -> bool:
        """One turn. False when another worker has it."""
        connection = await self._line.get()
        with db.mapped():
            async with connection.transaction():
                if not await connection.fetchval(LOCK):
                    return False
                await days.open_days(connection)
                await workers.prune(connection)
                await sources.prune_rejected(connection)
                await runs.prune(connection, keep_days=self._keep_days, records_days=RECORDS_DAYS)
                forgotten = await wanted.forget(connection)
                await plans.prune(connection, older_than_days=self._keep_days)
                await calls.prune(connection)
                await minutes.prune(connection, keep_days=self._keep_days)
                await sources.prune(connection, keep_days=self._keep_days)
        dropped, kept = await days.drop_old(connection, keep_days=self._keep_days)
        if forgotten:
            log.warning("no dispatcher took these kinds for a week: they are staged no more", kinds=forgotten)
        if dropped:
            log.info("old days dropped", days=[str(day) for day in dropped])
        told = [(one.day, one.oldest) for one in kept]
        if told and told != self._told:
            log.warning("old days kept: something of them is still undone", days=[str(day) for day, _ in told], oldest_event=told[0][1])
        self._told = told
        await storage.shrink(connection)
        return True
