"""What the console's frame and overview read of several tables at once: how much needs a person, what waits longest, what is undone."""

from typing import Any

from outbox import db
from outbox.db import Connection, Pool
from outbox.queries import load

Q = load("console")


async def attention(connection: Connection | Pool) -> dict[str, int]:
    """How many dead-letter groups, lanes and connections need a person."""
    row = await db.fetchrow(connection, Q["attention"])
    assert row is not None
    return dict(row)


async def any_event(connection: Connection | Pool) -> bool:
    """Whether anything was ever staged."""
    return bool(await db.fetchval(connection, Q["any_event"]))


async def oldest(connection: Connection | Pool) -> dict[str, Any] | None:
    """The event that has waited longest, and what for; None: none waits."""
    row = await db.fetchrow(connection, Q["oldest"])
    return None if row is None else dict(row)


async def undone(connection: Connection | Pool, *, first_id: int) -> tuple[int, int]:
    """How many are pending and how many dead of what was accepted from this id on."""
    row = await db.fetchrow(connection, Q["undone"], first_id)
    assert row is not None
    return row["pending"], row["dead"]
