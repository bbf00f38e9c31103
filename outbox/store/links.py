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


@dataclass(frozen=True, slots=True)
class Made:
    """Something at a destination that we created."""

    kind: str
    ours: str
    theirs: str
    destination: str


async def join(
    connection: Connection,
    kind: str,
    *,
    ours: str,
    theirs: str,
    destination: str,
    our_hash: bytes | None,
    their_hash: bytes | None = None,
    made: bool = False,
    event_id: int | None = None,
) -> bool:
    """In the caller's transaction: as put(), but what is theirs may stay another's of ours, too. True: it is, and this one only shares it.

    `our_hash`: of what was written; `made`: it was created for this. Raises the driver's UniqueViolationError when another transaction
    has just taken it: tried again, it is shared.
    """
    return bool(await db.fetchval(connection, Q["join"], kind, ours, theirs, destination, our_hash, their_hash, made, event_id))


async def taken(connection: Connection | Pool, kind: str, theirs: str, *, destination: str, but: str) -> str | None:
    """Which other of ours has it for its own; None: none but `but`."""
    found = await db.fetchval(connection, Q["taken"], destination, kind, theirs, but)
    return None if found is None else str(found)


async def made_one(connection: Connection | Pool, kind: str, ours: str) -> Made | None:
    """What we created elsewhere for one of ours; None: nothing, or it was there before."""
    row = await db.fetchrow(connection, Q["made_one"], kind, ours)
    return None if row is None else Made(**row)


async def count_made(connection: Connection | Pool, prefix: str) -> dict[str, int]:
    """How much of it there is, by kind."""
    return {row["kind"]: row["n"] for row in await db.fetch(connection, Q["count_made"], prefix)}


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
