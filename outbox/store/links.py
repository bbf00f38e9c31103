"""crm.links: one thing, two ids. For an app's own rows, and for whatever has no column for the other id."""

from dataclasses import dataclass

from outbox import db
from outbox.db import Connection, Pool
from outbox.queries import load

Q = load("links")


@dataclass(frozen=True, slots=True)
class Link:
    """The other id of something of ours, and the destination that knows it."""

    theirs: str
    destination: str


async def put(connection: Connection, kind: str, *, ours: str, theirs: str, destination: str) -> None:
    """In the caller's transaction: the two are one thing from now on; whatever either was linked to before, it is no longer.

    `kind` says what it is (`appointment`). Putting the same link again changes nothing.
    """
    await db.fetch(connection, Q["free"], destination, kind, theirs, ours)
    await db.fetch(connection, Q["put"], kind, ours, theirs, destination)


async def theirs(connection: Connection | Pool, kind: str, ours: str) -> Link | None:
    """What it is called elsewhere, and where; None: not linked."""
    row = await db.fetchrow(connection, Q["theirs"], kind, ours)
    return None if row is None else Link(row["theirs"], row["destination"])


async def ours(connection: Connection | Pool, kind: str, theirs: str, *, destination: str) -> str | None:
    """What we call the thing that is `theirs` at that destination; None: not linked."""
    found = await db.fetchval(connection, Q["ours"], destination, kind, theirs)
    return None if found is None else str(found)


async def forget(connection: Connection | Pool, kind: str, ours: str) -> bool:
    """Ends a link. False when there was none."""
    return await db.fetchval(connection, Q["forget"], kind, ours) is not None
