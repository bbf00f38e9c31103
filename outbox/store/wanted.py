"""outbox.wanted: kinds that the database stages only while somebody takes them, so that an app without a use for them pays nothing."""

from collections.abc import Collection

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.kinds import CONTACT_CHANGED
from outbox.queries import load

Q = load("wanted")
ON_DEMAND = frozenset({CONTACT_CHANGED})


async def want(connection: Connection | Pool, kinds: Collection[str]) -> None:
    """A process that takes these kinds is here; those that are always staged are nobody's to ask for."""
    if asked := sorted(ON_DEMAND & set(kinds)):
        await db.fetch(connection, Q["want"], asked)


async def forget(connection: Connection | Pool) -> list[str]:
    """Ends the staging of kinds that nobody took for a week. Returns them."""
    return [row["kind"] for row in await db.fetch(connection, Q["forget"])]


async def every(connection: Connection | Pool) -> list[Record]:
    """What is wanted."""
    return await db.fetch(connection, Q["all"])
