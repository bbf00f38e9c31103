"""outbox.workers: incarnations and their leases."""

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("workers")


async def begin(connection: Connection, name: str, *, lease_s: float, version: str | None = None, keep_days: int | None = None) -> int:
    """A new incarnation, of that version of the code, whose upkeep drops days that old (None: it does none). Its id is never used again."""
    return int(await db.fetchval(connection, Q["begin"], name, lease_s, version, keep_days))


async def renew(connection: Connection, worker: int, *, lease_s: float, timeout_s: float) -> bool:
    """Whether the lease was renewed; False: the worker was ended by another."""
    return await db.fetchval(connection, Q["renew"], worker, lease_s, timeout_s=timeout_s) is not None


async def end(connection: Connection, worker: int) -> bool:
    """Ends a worker. False when it had ended."""
    return await db.fetchval(connection, Q["end"], worker) is not None


async def end_lapsed(connection: Connection) -> list[int]:
    """Ends the workers whose lease is over. Returns their ids."""
    return [row["id"] for row in await db.fetch(connection, Q["end_lapsed"])]


async def recently_ended(connection: Connection) -> bool:
    """Whether a worker ended in the last minute."""
    return bool(await db.fetchval(connection, Q["recently_ended"]))


async def terminate(connection: Connection, worker: int) -> int:
    """Ends the connections of a frozen worker. Returns how many."""
    return int(await db.fetchval(connection, Q["terminate"], worker))


async def end_frozen(connection: Connection, *, silent_s: float) -> list[tuple[str, int]]:
    """Ends connections whose client has said nothing for so long in the middle of a transaction. Returns their names, and how many."""
    return [(row["name"], row["connections"]) for row in await db.fetch(connection, Q["end_frozen"], silent_s)]


async def alive(connection: Connection | Pool) -> list[Record]:
    """Workers whose lease holds, with the seconds left of it and how many events each runs."""
    return await db.fetch(connection, Q["alive"])


async def last(connection: Connection | Pool) -> Record | None:
    """name, until and is_alive of the worker that was there last; one that is, if any is. None: there has been none for a day."""
    return await db.fetchrow(connection, Q["last"])


async def prune(connection: Connection) -> None:
    """Forgets workers that ended over a day ago."""
    await db.fetch(connection, Q["prune"])
