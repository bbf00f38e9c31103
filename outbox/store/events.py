"""outbox.events: staging in batches, reading, replaying."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from pydantic_core import to_json

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.errors import InvalidEvent
from outbox.event import digest
from outbox.queries import load

Q = load("events")
DAY_BITS = 36  # of an id: the rest is the day
LANE_TIMEOUT_S = 3.0
MANY_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row to be staged by a receiver: the exact bytes, with what routes them."""

    source: str
    kind: str
    key: str | None
    lane: str | None
    payload: bytes
    headers: Mapping[str, str] | None = None
    urgency: int = 0


@dataclass(frozen=True, slots=True)
class Staged:
    """The answer to one arrival: its id (of the first, when it is a duplicate)."""

    id: int
    duplicate: bool


async def stage_many(connection: Connection, arrivals: Sequence[Arrival], *, timeout_s: float = 5) -> list[Staged]:
    """Stages a batch in one committed statement and answers each row. With keys it must not run inside another transaction.

    Duplicates inside the batch and against earlier events are answered with the first id (P2). Raises InvalidEvent, and stages
    nothing, when a row holds text that Postgres cannot keep; which one, the caller finds by sending them singly.
    """
    try:
        digests = [digest(a.source, a.key) if a.key is not None else None for a in arrivals]
        ids = await _insert(connection, arrivals, digests, timeout_s=timeout_s)
    except (UnicodeError, asyncpg.DataError):
        # Without its cause: the driver quotes the values.
        raise InvalidEvent("a row of the batch holds text that Postgres cannot keep: NUL, or half of a surrogate pair") from None
    repeated = [key for n, key in enumerate(digests) if key is not None and n not in ids]
    known: dict[uuid.UUID, int] = {}
    if repeated:
        counted = await db.fetch(connection, Q["count_duplicates"], repeated, timeout_s=timeout_s)
        known = {uuid.UUID(bytes=row["digest"].bytes): row["event_id"] for row in counted}
    return [
        Staged(ids[n], duplicate=False) if n in ids else Staged(known[key] if key else 0, duplicate=True) for n, key in enumerate(digests)
    ]


async def stage_page(connection: Connection, arrivals: Sequence[Arrival]) -> list[bool]:
    """In the caller's transaction: stages a page, and says of each row whether it was new. A key used before stages nothing again.

    For a page whose keys nobody else stages at the same time, as those of one sync's runs are.
    """
    digests = [digest(a.source, a.key) if a.key is not None else None for a in arrivals]
    ids = await _insert(connection, arrivals, digests, timeout_s=30)
    return [n in ids for n in range(len(arrivals))]


async def _insert(
    connection: Connection, arrivals: Sequence[Arrival], digests: Sequence[uuid.UUID | None], *, timeout_s: float
) -> dict[int, int]:
    """The ids of the rows that were new, by their position; of rows with one key only the first is sent."""
    first: dict[uuid.UUID, int] = {}
    rows = [n for n, key in enumerate(digests) if key is None or first.setdefault(key, n) == n]
    batch = [arrivals[n] for n in rows]
    answers = await db.fetch(
        connection,
        Q["stage_many"],
        [a.source for a in batch],
        [a.kind for a in batch],
        [a.key for a in batch],
        [a.lane for a in batch],
        [a.payload for a in batch],
        [to_json(dict(a.headers)) if a.headers else None for a in batch],
        [digests[n] for n in rows],
        [a.urgency for a in batch],
        timeout_s=timeout_s,
    )
    return {rows[row["ord"] - 1]: row["id"] for row in answers}


async def one(connection: Connection | Pool, event_id: int) -> Record | None:
    """An event with its state, or None."""
    return await db.fetchrow(connection, Q["one"], event_id)


async def timeline(connection: Connection | Pool, event_id: int) -> list[Record]:
    """Its attempts and steps, oldest first."""
    return await db.fetch(connection, Q["timeline"], event_id)


async def neighbours(connection: Connection | Pool, lane: str, event_id: int, *, each_way: int = 5) -> list[Record]:
    """The events of a lane around one, in staging order, itself not among them; not further back than a day."""
    lowest = max(0, event_id - (1 << DAY_BITS))
    return await db.fetch(connection, Q["neighbours"], lane, event_id, lowest, each_way, timeout_s=LANE_TIMEOUT_S)


async def follow_ups(
    connection: Connection | Pool, event_id: int, runs: Sequence[tuple[int, int]], *, most: int, look_at: int
) -> list[int]:
    """The events that its runs staged; each run's ids are from one (inclusive) to another, and its first `look_at` are looked at."""
    lows, highs = [low for low, _ in runs], [high for _, high in runs]
    rows = await db.fetch(connection, Q["follow_ups"], event_id, lows, highs, most, look_at, timeout_s=LANE_TIMEOUT_S)
    return [row["id"] for row in rows]


async def marks(connection: Connection | Pool, ids: Sequence[int]) -> dict[int, Record]:
    """Kind and mark of events, by id; those that are gone are not there."""
    return {row["id"]: row for row in await db.fetch(connection, Q["marks"], list(ids))}


async def done_after(connection: Connection | Pool, lane: str, event_id: int) -> int:
    """How many newer events of its lane are done, of the newest 20: a retry applies only if it still is newer than they were."""
    return int(await db.fetchval(connection, Q["done_after"], lane, event_id, timeout_s=LANE_TIMEOUT_S))


async def is_new(connection: Connection, event_id: int) -> bool:
    """Whether the caller's transaction staged this event, rather than found it by its key."""
    return bool(await db.fetchval(connection, Q["is_new"], event_id))


async def totals(connection: Connection | Pool) -> dict[str, int]:
    """P7: accepted, and the four it is the sum of. Reads every event: for tests, demos and doctor, not for a page."""
    row = await db.fetchrow(connection, Q["totals"], timeout_s=60)
    return dict(row) if row else {}


async def counts(connection: Connection | Pool, *, timeout_s: float = 2) -> dict[str, int]:
    """What is undone: pending, running, waiting, held, delayed, dead; and the workers alive, the destinations stopped."""
    row = await db.fetchrow(connection, Q["counts"], timeout_s=timeout_s)
    return dict(row) if row else {}


async def replay(connection: Connection, event_id: int, *, by: str) -> bool:
    """Puts a settled event into the queue again, in a transaction of its own. False when it is undone or unknown."""
    with db.mapped():
        async with connection.transaction():
            locked = await connection.fetchrow(Q["replay_lock"], event_id)
            if locked is None or locked[1] is None:
                return False
            again = await connection.fetchval(Q["replay"], event_id, f"replayed by {by}")
            await connection.fetchval(Q["notify"])
    return again is not None


async def replay_many(connection: Connection, ids: Sequence[int], *, by: str) -> list[int]:
    """Puts the settled ones of a few hundred events into the queue again, in the caller's transaction. Returns which those were."""
    await db.fetch(connection, Q["replay_many_lock"], list(ids), timeout_s=LANE_TIMEOUT_S)
    await db.fetch(connection, Q["keep_many"], list(ids), timeout_s=LANE_TIMEOUT_S)
    again = await db.fetch(connection, Q["replay_many"], list(ids), f"replayed by {by}", timeout_s=MANY_TIMEOUT_S)
    await db.fetchval(connection, Q["notify"])
    return [row["event_id"] for row in again]


async def missing(connection: Connection | Pool, event_id: int) -> str:
    """Why there is no event of this id, in a sentence."""
    row = await db.fetchrow(connection, Q["fate"], event_id)
    if row is not None and row["is_before"] and event_id >> DAY_BITS:
        return f"Event {event_id}, of {row['day']:%d %b %Y}, is older than anything kept here: retention has dropped it, if it ever was."
    return f"Event {event_id} is unknown here."


async def clock(connection: Connection | Pool) -> datetime:
    """The database's clock, the only one that is compared with a due time or a lease."""
    now: Any = await db.fetchval(connection, Q["clock"])
    assert isinstance(now, datetime)
    return now
