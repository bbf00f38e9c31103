"""crm.google_users: whose Google contacts are kept in step, and what of them is imported.

Each user's sync is one of its own, `google-contacts:<user>`, with the schedule, the runs and the pause of every sync; it is off as long
as the user has not consented. So all that are due are found by the schedule's one look at its index, and nobody has a timer.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from outbox import db
from outbox.cadence import Every
from outbox.db import Connection, Pool, Record
from outbox.queries import load
from outbox.store import runs, schedules, syncs
from outbox.store.runs import Trigger
from outbox.store.schedules import CatchUp

Q = load("google_users")
SYNC: Final = "google-contacts"
TYPE: Final = "incremental"  # the type that is due by itself; one that cannot be incremental any more reads everything
TYPES: Final = (TYPE, "full")
DEFAULT_INTERVAL_H: Final = 24
HOUR_S: Final = 3600


def sync_of(user_id: str) -> str:
    """The name of a user's sync."""
    return f"{SYNC}:{user_id}"


def user_of(sync: str) -> str:
    """The user whose sync it is."""
    return sync.removeprefix(f"{SYNC}:")


async def one(connection: Connection | Pool, user_id: str) -> Record:
    """A user's settings, schedule and connection; for one who has none all but the id is empty."""
    [row] = await some(connection, [user_id])
    return row


async def some(connection: Connection | Pool, user_ids: Sequence[str]) -> list[Record]:
    """As one(), of several, by their ids."""
    return await db.fetch(connection, Q["some"], list(user_ids)) if user_ids else []


async def page(connection: Connection | Pool, *, after: str = "", limit: int) -> list[Record]:
    """The next users behind `after`, by their ids: each as one() tells. Those that were given settings, or consented."""
    return await some(connection, [row["user_id"] for row in await db.fetch(connection, Q["list"], after, limit)])


async def save(
    connection: Connection,
    user_id: str,
    *,
    enabled: bool,
    now: datetime,
    by: str,
    interval_hours: int | None = None,
    imports: str | None = None,
    label: str | None = None,
    sets_label: bool = False,
) -> None:
    """In the caller's transaction: what is None stays as it is, or is as by default. Switched on, the first run is staged at once.

    Said again, nothing changes: the next time stays what it was. The user's row is taken before anything is read: a consent that comes
    at the same moment has committed by then, or waits and sees that it was switched on.
    """
    await db.fetch(connection, Q["save"], user_id, imports, label, sets_label)
    before = await one(connection, user_id)
    is_active = before["connection"] == "active"
    await _register(connection, user_id, is_active=is_active)
    known_s = before["every_s"]
    every_s = known_s or DEFAULT_INTERVAL_H * HOUR_S if interval_hours is None else interval_hours * HOUR_S
    if every_s != known_s and (interval_hours is not None or before["cron"] is None):
        await _schedule(connection, user_id, every_s, now=now, by=by)
    if enabled != before["enabled"] or known_s is None:
        due_at = next(Every(every_s).after(now))
        await schedules.switch(connection, sync_of(user_id), TYPE, on=enabled, due_at=due_at, by=by)
        if enabled and is_active:
            await runs.ask(connection, sync_of(user_id), TYPE, trigger=Trigger.SCHEDULE)


async def connected(connection: Connection, user_id: str, *, now: datetime) -> None:
    """In the caller's transaction: the user consented, for this Google account or another. Everything is read anew, at once where it is on.

    Says what there was to say of one who was not known before, too.
    """
    await db.fetch(connection, Q["save"], user_id, None, None, False)
    await _register(connection, user_id, is_active=True)
    await syncs.advance(connection, sync_of(user_id), watermark=None, kept={})
    await syncs.expect(connection, sync_of(user_id))
    row = await one(connection, user_id)
    if row["enabled"]:
        every_s = row["every_s"] or DEFAULT_INTERVAL_H * HOUR_S
        if row["cron"] is None:
            await _schedule(connection, user_id, every_s, now=now, by="postroom")
        await runs.ask(connection, sync_of(user_id), TYPE, trigger=Trigger.SCHEDULE)


async def _register(connection: Connection, user_id: str, *, is_active: bool) -> None:
    off = None if is_active else f"the user has to consent: postroom connect google --user {user_id}"
    await syncs.register(connection, sync_of(user_id), destination=f"google:{user_id}", types=TYPES, off=off)


async def _schedule(connection: Connection, user_id: str, every_s: int, *, now: datetime, by: str) -> None:
    await schedules.put(connection, sync_of(user_id), TYPE, Every(every_s), catch_up=CatchUp.ONE, now=now, edited_by=by)
