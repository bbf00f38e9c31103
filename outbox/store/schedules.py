"""outbox.schedules: when runs are staged. A tick is taken by whoever moves its row on first, so it fires once however many look."""

from datetime import datetime
from enum import StrEnum

from outbox import db
from outbox.cadence import Cadence, Cron
from outbox.db import Connection, Pool, Record
from outbox.queries import load
from outbox.store import syncs

Q = load("schedules")


class CatchUp(StrEnum):
    """What becomes of ticks that nobody was there for: forgotten, or made good by one run."""

    SKIP = "skip"
    ONE = "one"


async def put(
    connection: Connection | Pool,
    sync: str,
    type_: str,
    cadence: Cadence,
    *,
    catch_up: CatchUp,
    now: datetime,
    edited_by: str | None = None,
) -> None:
    """A default of the code, which never overwrites what a person edited; or, with `edited_by`, such an edit."""
    cron, zone, every_s = (cadence.expression, cadence.zone, None) if isinstance(cadence, Cron) else (None, None, cadence.seconds)
    await db.fetch(connection, Q["put"], sync, type_, cron, zone, every_s, catch_up.value, next(cadence.after(now)), edited_by)
    if edited_by is not None:
        await syncs.expect(connection, sync)


async def switch(connection: Connection | Pool, sync: str, type_: str, *, on: bool, due_at: datetime, by: str) -> bool:
    """On or off, in the transaction that may change when it is due. False: there is no such schedule."""
    await syncs.expect(connection, sync)
    return await db.fetchval(connection, Q["switch"], sync, type_, on, due_at, by) is not None


async def edit(
    connection: Connection, sync: str, type_: str, cadence: Cadence, *, catch_up: CatchUp, on: bool, now: datetime, by: str
) -> None:
    """In the caller's transaction: a person's schedule, on or off."""
    await put(connection, sync, type_, cadence, catch_up=catch_up, now=now, edited_by=by)
    await switch(connection, sync, type_, on=on, due_at=next(cadence.after(now)), by=by)


async def soon(connection: Connection | Pool, *, within_s: float) -> list[Record]:
    """What is due, or will be within so many seconds."""
    return await db.fetch(connection, Q["soon"], within_s)


async def tick(connection: Connection, sync: str, type_: str, *, due_at: datetime, next_at: datetime, fires: bool) -> bool:
    """In the caller's transaction: moves an entry on. False: somebody else did."""
    return await db.fetchval(connection, Q["tick"], sync, type_, due_at, next_at, fires) is not None


async def of(connection: Connection | Pool, *names: str) -> list[Record]:
    """The schedules of these syncs."""
    return await db.fetch(connection, Q["of"], list(names)) if names else []


async def coming(connection: Connection | Pool) -> list[Record]:
    """Which type of which sync is due when, but for those of single users."""
    return await db.fetch(connection, Q["coming"])
