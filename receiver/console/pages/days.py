"""The days of events: how large each is on disk, and when the upkeep of dispatchers drops it. Only read; upkeep does it by itself."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from outbox.db import Pool
from outbox.store import days, workers
from outbox.store.days import Ahead, Day, Kept
from receiver.console.page import Page, Pages, Visit

PATH = "/console/days"


@dataclass(frozen=True, slots=True)
class Stored:
    """Every day, the newest first. `keep_days` None: no dispatcher is there that says so. `kept`: past retention, and undone work in it."""

    rows: list[Day]
    ahead: Ahead
    keep_days: int | None
    kept: Mapping[date, Kept]

    @property
    def bytes(self) -> int:
        """All of them."""
        return sum(day.bytes for day in self.rows)

    @property
    def next(self) -> Day | None:
        """What upkeep drops next."""
        return next((day for day in reversed(self.rows) if day.day not in self.kept), None)


async def read(visit: Visit) -> Mapping[str, Any]:
    """All of them: one for each day of retention, some hundreds at most."""
    return {"found": await visit.panel("the days", stored(visit.pool))}


async def stored(pool: Pool) -> Stored:
    """How long days are kept is what the dispatcher says that keeps them the shortest: it is the one that drops."""
    rows, ahead, alive = await asyncio.gather(days.sizes(pool), days.ahead(pool), workers.alive(pool))
    keep_days = min((row["keep_days"] for row in alive if row["keep_days"] is not None), default=None)
    past = [] if keep_days is None else [day.day for day in rows if day.dropped_on(keep_days) <= ahead.today]
    return Stored(rows, ahead, keep_days, {one.day: one for one in await days.kept(pool, past)})


SITE = Pages(pages=(Page(PATH, "days.html", read, tab="overview"),))
