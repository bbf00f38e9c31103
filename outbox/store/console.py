"""What the console's frame reads of several tables at once: how much needs a person."""

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
