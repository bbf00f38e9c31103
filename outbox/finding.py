"""What a text leads to, told for people; and when it leads nowhere, what explains the absence.

An event that is not there was turned away, was never sent, or will be caught by a sync: the answer shows what speaks for each.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from outbox.db import Pool
from outbox.store import events, find, schedules, sources
from outbox.timeline import iso

WINDOW = timedelta(hours=24)


async def found(pool: Pool, text: str, *, known_sources: Sequence[str]) -> dict[str, Any]:
    """Events and lanes; with `absence` when there is no event of it."""
    led = await find.lead(pool, text, known_sources=known_sources)
    return {
        "events": list(led.ids),
        "lanes": [{"lane": lane.name, "what": lane.what, "newest": lane.newest} for lane in led.lanes],
        "absence": await absence(pool) if led.is_empty else None,
    }


async def absence(pool: Pool, *, since: datetime | None = None, until: datetime | None = None) -> dict[str, Any]:
    """When each source last spoke, what was turned away in that time (the last 24 hours if none is given), and which syncs come by when."""
    now = await events.clock(pool)
    until = until or now
    since = since or until - WINDOW
    return {
        "since": iso(since),
        "until": iso(until),
        "sources": [
            {"source": row["name"], "last_accepted_at": iso(row["last_accepted_at"]), "last_rejected_at": iso(row["last_rejected_at"])}
            for row in await sources.every(pool)
        ],
        "rejected": [
            {"source": row["source"], "reason": row["reason"], "requests": row["requests"], "last_at": iso(row["last_at"])}
            for row in await find.turned_away(pool, since=since, until=until)
        ],
        "syncs": [{"sync": row["sync"], "type": row["type"], "due_at": iso(row["due_at"])} for row in await schedules.coming(pool)],
    }
