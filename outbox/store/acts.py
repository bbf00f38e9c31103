"""What a person does with an event that is not over: run it now, bury it, release its lane. Each says whether it did.

What runs at this moment is its worker's: nobody takes it away.
"""

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load
from outbox.store.search import TIMEOUT_S

Q = load("acts")


async def run_now(connection: Connection | Pool, event_id: int) -> bool:
    """A wait for a time ends now. False: it does not wait for one."""
    return await db.fetchval(connection, Q["run_now"], event_id) is not None


async def bury(connection: Connection | Pool, event_id: int, *, by: str, reason: str) -> bool:
    """It becomes a dead letter and its lane goes on. Order is not restored when it is retried later. False: it runs, or is over."""
    return await db.fetchval(connection, Q["bury"], event_id, f"buried by {by}: {reason}") is not None


async def release(connection: Connection | Pool, event_id: int, *, by: str) -> bool:
    """The head of a lane waits aside until its time, its lane goes on. Its failures count from none again. False: it holds no lane."""
    return await db.fetchval(connection, Q["release"], event_id, f"taken out of its lane by {by} until its next attempt") is not None


async def behind(connection: Connection | Pool, event_id: int) -> int:
    """How many wait behind it in its lane; 1001: more than that."""
    return int(await db.fetchval(connection, Q["behind"], event_id))


async def waiting(connection: Connection | Pool, lane: str, *, limit: int = 50) -> list[Record]:
    """What holds a lane and what waits in it, in the order in which it runs, as outbox.store.search.find() gives rows."""
    return await db.fetch(connection, Q["waiting"], lane, limit, timeout_s=TIMEOUT_S)


async def head(connection: Connection | Pool, lane: str) -> int | None:
    """The event that holds a lane, running or waiting; None: it is free."""
    event_id: int | None = await db.fetchval(connection, Q["head"], lane)
    return event_id
