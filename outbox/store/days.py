"""Partitions: one a day for events, attempts and steps. Made ahead, dropped when old and done.

Owns retention, and what the indexes of attempts and lanes know. Refuses to drop undone work, and to make anybody wait for long: it leaves
a day that somebody has been reading for a while, asks for its locks shortly and in the order in which queries take them, and so yields and
comes again instead of deadlocking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import asyncpg

from outbox import db
from outbox.db import Connection, Pool
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from outbox.queries import load

Q = load("days")
PARTITIONED = ("events", "attempts", "steps")
LEAST_DAYS = 30  # P2
# Below Postgres's deadlock_timeout of 1 s, so that of two that wait for each other it is retention that gives up.
LOCK_TIMEOUT_MS = 300
IN_USE_AFTER_MS = LOCK_TIMEOUT_MS
PAGES = 5000
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """An old day of which something is undone: how many events, the oldest of them, and its table."""

    day: date
    events: int
    oldest: int
    place: str


@dataclass(frozen=True, slots=True)
class Ahead:
    """The last day that has its partitions, the day that ids are drawn from, and today (UTC). None: there is no partition."""

    last: date | None
    drawn: date
    today: date


@dataclass(frozen=True, slots=True)
class Day:
    """A day's tables with their indexes, in bytes."""

    day: date
    events_bytes: int
    attempts_bytes: int
    steps_bytes: int

    @property
    def bytes(self) -> int:
        """All of it: what dropping it gives back."""
        return self.events_bytes + self.attempts_bytes + self.steps_bytes

    def dropped_on(self, keep_days: int) -> date:
        """The first day on which upkeep drops it, if nothing of it is undone then and its last event is as old."""
        return self.day + timedelta(days=keep_days + 1)


async def open_days(connection: Connection | Pool) -> None:
    """Makes the partitions of today and tomorrow and moves the ids on."""
    await db.fetchval(connection, Q["open"], timeout_s=30)


async def sum_up(connection: Connection | Pool) -> int:
    """Lets the indexes of attempts and lanes know of the newest pages, or look-ups read them all. Returns how many ranges."""
    return int(await db.fetchval(connection, Q["sum_up"], timeout_s=30))


async def ahead(connection: Connection | Pool) -> Ahead:
    """How far the days are made."""
    row = await db.fetchrow(connection, Q["ahead"])
    assert row is not None
    return Ahead(row["last"], row["drawn"], row["today"])


async def sizes(connection: Connection | Pool) -> list[Day]:
    """Every day that has its tables, the newest first."""
    return [Day(**row) for row in await db.fetch(connection, Q["sizes"])]


async def old(connection: Connection | Pool, *, keep_days: int) -> list[date]:
    """The days that are past retention, oldest first."""
    return [row["day"] for row in await db.fetch(connection, Q["old"], keep_days, timeout_s=60)]


async def kept(connection: Connection | Pool, of: Sequence[date]) -> list[Kept]:
    """Those of these days that undone work keeps. Reads all undone work."""
    if not of:
        return []
    return [Kept(row["day"], row["events"], row["oldest"], row["place"]) for row in await db.fetch(connection, Q["kept"], of, timeout_s=60)]


async def drop_old(connection: Connection, *, keep_days: int) -> tuple[list[date], list[Kept]]:
    """Drops the days over `keep_days` old that hold no undone work, each in a short transaction of its own.

    Returns the dropped days, and those kept because something of them is still undone. A day that somebody is reading is
    left, with those after it, for the next call. Raises ValueError for less than 30 days, in which a key must be known (P2).
    """
    if keep_days < LEAST_DAYS:
        raise ValueError(f"keys are kept for at least {LEAST_DAYS} days, not {keep_days}")
    past = await old(connection, keep_days=keep_days)
    undone = await kept(connection, past)
    dropped: list[date] = []
    for day in past:
        if any(one.day == day for one in undone):
            continue
        if await _is_in_use(connection, day):
            log.info("an old day is in use; it is dropped later", day=str(day))
            break
        await _prune_keys(connection, day)
        try:
            is_undone = await _drop(connection, day)
        except DatabaseUnavailable as problem:
            if not isinstance(problem.__cause__, asyncpg.LockNotAvailableError):
                raise
            log.info("an old day is in use; it is dropped later", day=str(day))
            break
        if is_undone:
            undone += await kept(connection, [day])
        else:
            dropped.append(day)
    return dropped, sorted(undone, key=lambda one: one.day)


def _parts(day: date) -> list[str]:
    return [f"outbox.{table}_{day:%Y%m%d}" for table in PARTITIONED]


async def _is_in_use(connection: Connection, day: date) -> bool:
    """Whether somebody has held the day, or a table that it is part of, for longer than we would wait."""
    tables = [*(f"outbox.{table}" for table in PARTITIONED), *_parts(day)]
    return bool(await db.fetchval(connection, Q["in_use"], tables, IN_USE_AFTER_MS))


async def _prune_keys(connection: Connection, day: date) -> None:
    """Before the locks and in portions: the table of keys has no index by event, and reading all of it may take minutes.

    Should the day turn out to be undone after all, its keys were known long enough.
    """
    pages = int(await db.fetchval(connection, Q["key_pages"]))
    for page in range(0, pages + 1, PAGES):
        await db.fetch(connection, Q["prune_keys"], day, page, page + PAGES, timeout_s=60)


async def _drop(connection: Connection, day: date) -> bool:
    """Drops a day, unless it turns out to be undone: then True."""
    parts = _parts(day)
    with db.mapped():
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
            for table in PARTITIONED:
                await connection.execute(f"lock table only outbox.{table} in access exclusive mode")
            if await connection.fetchval("select to_regclass($1)", parts[0]) is None:
                return False  # another worker was faster
            for part in parts:
                await connection.execute(f"lock table {part} in access exclusive mode")
            if await connection.fetchval(Q["undone"], day):
                return True
            await connection.execute(Q["prune_duplicates"], day)
            for part in parts:
                await connection.execute(f"drop table {part}")
    return False
