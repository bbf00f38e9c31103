"""Dead letters by cause, told for people: counts, the last day, the note, and what to do. The same for API, command line and console."""

from typing import Any

from outbox.db import Pool, Record
from outbox.store import dead
from outbox.timeline import iso
from outbox.verdict import advice


async def groups(pool: Pool, *, limit: int = 200) -> list[dict[str, Any]]:
    """All causes, the newest death first."""
    sparks = await dead.sparks(pool)
    return [_told(row, sparks.get(row["fingerprint"])) for row in await dead.groups(pool, limit=limit)]


async def group(pool: Pool, name: str) -> dict[str, Any] | None:
    """One cause, with its finished steps; None: nothing is dead of it."""
    row = await dead.group(pool, name)
    if row is None:
        return None
    sparks = await dead.sparks(pool, name)
    return {**_told(row, sparks.get(name)), "steps_done": await dead.finished_steps(pool, name)}


def _told(row: Record, spark: list[int] | None) -> dict[str, Any]:
    note = None if row["note"] is None else {"note": row["note"], "by": row["note_by"], "at": iso(row["note_at"])}
    return {
        "group": row["fingerprint"],
        "reason": row["reason"],
        "kind": row["kind"],
        "destination": row["destination"],
        "dead": row["dead"],
        "lanes": row["lanes"],
        "first_at": iso(row["first_at"]),
        "last_at": iso(row["last_at"]),
        "example": row["example"],
        "last_24_hours": spark or [0] * dead.HOURS,
        "advice": advice(row["reason"]),
        "note": note,
    }
