"""Partitions: one a day for events, attempts and steps. Made ahead, dropped when old and done.

Owns retention. Refuses to drop undone work, and to make anybody wait for long: its locks are asked for shortly and in the
order in which queries take them, so it yields and comes again instead of deadlocking with them.
"""

from datetime import date

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
LOCK_TIMEOUT = "300ms"
PAGES = 5000
log = get_logger(__name__)


async def open_days(connection: Connection | Pool) -> None:
    """Makes the partitions of today and tomorrow and moves the ids on."""
    await db.fetchval(connection, Q["open"], timeout_s=30)


async def drop_old(connection: Connection, *, keep_days: int) -> tuple[list[date], list[date]]:
    """Drops the days over `keep_days` old that hold no undone work, each in a short transaction of its own.

    Returns the dropped days, and those kept because something of them is still undone. A day that somebody is reading is
    left, with those after it, for the next call. Raises ValueError for less than 30 days, in which a key must be known (P2).
    """
    if keep_days < LEAST_DAYS:
        raise ValueError(f"keys are kept for at least {LEAST_DAYS} days, not {keep_days}")
    dropped: list[date] = []
    kept: list[date] = [row["day"] for row in await db.fetch(connection, Q["undone_days"], keep_days, timeout_s=60)]
    for row in await db.fetch(connection, Q["old"], keep_days):
        day: date = row["day"]
        if day in kept:
            continue
        await _prune_keys(connection, day)
        try:
            undone = await _drop(connection, day)
        except DatabaseUnavailable as problem:
            if not isinstance(problem.__cause__, asyncpg.LockNotAvailableError):
                raise
            log.info("an old day is in use; it is dropped later", day=str(day))
            break
        (kept if undone else dropped).append(day)
    return dropped, sorted(kept)


async def _prune_keys(connection: Connection, day: date) -> None:
    """Before the locks and in portions: the table of keys has no index by event, and reading all of it may take minutes.

    Should the day turn out to be undone after all, its keys were known long enough.
    """
    pages = int(await db.fetchval(connection, Q["key_pages"]))
    for page in range(0, pages + 1, PAGES):
        await db.fetch(connection, Q["prune_keys"], day, page, page + PAGES, timeout_s=60)


async def _drop(connection: Connection, day: date) -> bool:
    """Drops a day, unless it turns out to be undone: then True."""
    parts = [f"outbox.{table}_{day:%Y%m%d}" for table in PARTITIONED]
    with db.mapped():
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
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
