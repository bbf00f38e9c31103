"""Partitions: one a day for events, attempts and steps. Made ahead, dropped when old and done."""

from datetime import date

from outbox import db
from outbox.db import Connection, Pool
from outbox.queries import load

Q = load("days")
PARTITIONED = ("events", "attempts", "steps")


async def open_days(connection: Connection | Pool) -> None:
    """Makes the partitions of today and tomorrow and moves the ids on."""
    await db.fetchval(connection, Q["open"], timeout_s=30)


async def drop_old(connection: Connection, *, keep_days: int) -> tuple[list[date], list[date]]:
    """Drops the days over `keep_days` old that hold no undone work, each in a short transaction of its own.

    Returns the dropped days, and those kept because something of them is still undone.
    """
    dropped: list[date] = []
    kept: list[date] = []
    for row in await db.fetch(connection, Q["old"], keep_days):
        day: date = row["day"]
        with db.mapped():
            async with connection.transaction():
                await connection.execute("set local lock_timeout = '2s'")
                for table in PARTITIONED:
                    await connection.execute(f"lock table outbox.{table}_{day:%Y%m%d} in access exclusive mode")
                if await connection.fetchval(Q["undone"], day):
                    kept.append(day)
                    continue
                await connection.execute(Q["prune_keys"], day)
                await connection.execute(Q["prune_duplicates"], day)
                for table in PARTITIONED:
                    await connection.execute(f"drop table outbox.{table}_{day:%Y%m%d}")
        dropped.append(day)
    return dropped, kept
