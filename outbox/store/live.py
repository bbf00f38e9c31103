"""What people who look at a page are told of while it changes: one read for all of them, by ids, never a scan of events. Reads only."""

from collections.abc import Sequence

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("live")


async def newest(connection: Connection | Pool) -> Record:
    """The newest event's id (0: there is none), and the database's clock."""
    row = await db.fetchrow(connection, Q["newest"])
    assert row is not None
    return row


async def events(connection: Connection | Pool, ids: Sequence[int]) -> list[Record]:
    """How these events stand."""
    return await db.fetch(connection, Q["events"], list(ids))


async def runs(connection: Connection | Pool, ids: Sequence[int]) -> list[Record]:
    """How far these runs are."""
    return await db.fetch(connection, Q["runs"], list(ids))


async def under_way(connection: Connection | Pool) -> list[Record]:
    """How far the runs are that have not ended."""
    return await db.fetch(connection, Q["under_way"])


async def plans(connection: Connection | Pool, ids: Sequence[int]) -> list[Record]:
    """How far these plans are."""
    return await db.fetch(connection, Q["plans"], list(ids))


async def dead(connection: Connection | Pool) -> Record:
    """What changes with a list of dead letters."""
    row = await db.fetchrow(connection, Q["dead"])
    assert row is not None
    return row


async def lanes(connection: Connection | Pool) -> Record:
    """What changes with a list of held lanes."""
    row = await db.fetchrow(connection, Q["lanes"])
    assert row is not None
    return row
