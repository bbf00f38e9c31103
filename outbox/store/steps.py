"""outbox.steps: the journal of remote effects. Entries are written only while the event is held."""

import json
from typing import Any

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.errors import OwnershipLost
from outbox.event import Claimed
from outbox.queries import load

Q = load("steps")


async def journal(connection: Connection | Pool, event_id: int) -> list[Record]:
    """What is known of an event's steps, oldest first."""
    return await db.fetch(connection, Q["journal"], event_id)


async def write(
    connection: Connection | Pool,
    event: Claimed,
    worker: int,
    name: str,
    entry: str,
    *,
    took_ms: int | None = None,
    answer: Any = None,
    note: str | None = None,
) -> None:
    """One entry, committed: intent, done, found or not done. Raises OwnershipLost when the event is another's by now."""
    text = None if answer is None else json.dumps(answer)
    if await db.fetchval(connection, Q["write"], event.lane_key, event.id, worker, event.attempt, name, entry, took_ms, text, note) is None:
        raise OwnershipLost(f"event {event.id} is no longer held by worker {worker} (attempt {event.attempt})")
