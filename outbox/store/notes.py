"""outbox.notes: what an operator wrote on a group of dead letters. It stays when the group is empty, for when it comes back."""

from collections.abc import Sequence

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("notes")


async def write(connection: Connection | Pool, fingerprint: str, note: str, *, by: str) -> None:
    """An empty note removes the one there is."""
    if note.strip():
        await db.fetch(connection, Q["write"], fingerprint, note.strip(), by)
    else:
        await db.fetch(connection, Q["remove"], fingerprint)


async def of(connection: Connection | Pool, fingerprints: Sequence[str]) -> dict[str, Record]:
    """The notes there are, by group."""
    return {row["fingerprint"]: row for row in await db.fetch(connection, Q["some"], list(fingerprints))}
