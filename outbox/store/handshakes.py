"""outbox.handshakes: verification tokens that a source sent: candidates, and the promoted ones in use. Sealed; never logged."""

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("handshakes")


async def offer(connection: Connection | Pool, source: str, *, sealed: bytes, fingerprint: str, remote: str | None) -> int:
    """Keeps a candidate, the five newest of a source. Never touches a token in use. Returns its id."""
    return int(await db.fetchval(connection, Q["offer"], source, sealed, fingerprint, remote))


async def every(connection: Connection | Pool, source: str) -> list[Record]:
    """Candidates and tokens in use, newest first, without the secrets."""
    return await db.fetch(connection, Q["list"], source)


async def sealed(connection: Connection | Pool, source: str, handshake_id: int) -> bytes | None:
    """The sealed token, or None."""
    row = await db.fetchrow(connection, Q["sealed"], source, handshake_id)
    return None if row is None else bytes(row["sealed"])


async def one(connection: Connection | Pool, source: str, handshake_id: int) -> Record | None:
    """A handshake with its sealed token, fingerprint and promoted_at, or None."""
    return await db.fetchrow(connection, Q["sealed"], source, handshake_id)


async def promoted(connection: Connection | Pool, source: str) -> list[bytes]:
    """The sealed tokens in use, newest first."""
    return [bytes(row["sealed"]) for row in await db.fetch(connection, Q["promoted"], source)]


async def promote(connection: Connection | Pool, source: str, handshake_id: int, *, by: str) -> bool:
    """A candidate becomes a token in use, beside those that are. False when there is no such candidate."""
    return await db.fetchval(connection, Q["promote"], source, handshake_id, by) is not None


async def retire_others(connection: Connection | Pool, source: str, handshake_id: int) -> int:
    """Ends the promoted tokens but this one. Returns how many."""
    return len(await db.fetch(connection, Q["retire"], source, handshake_id))
