"""Dead letters by cause, told for people: counts, the last day, the note, and what to do. The same for API, command line and console."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outbox.db import Pool, Record
from outbox.store import dead
from outbox.timeline import iso
from outbox.verdict import Cause, advice, cause

MOST_FIELDS, MOST_DEPTH = 40, 4
STEPS_OF_EACH, STEPS_OF_ONE = 25, 1000  # newest letters whose finished steps are counted: of each of many groups, of one group


@dataclass(frozen=True, slots=True)
class Filter:
    """Which causes; None does not filter. `kind` and `destination` are those of the newest letter, `since` when it died at the earliest."""

    kind: str | None = None
    destination: str | None = None
    cause: Cause | None = None
    since: datetime | None = None
    noted: bool = False  # only those with a note

    def finds(self, group: Mapping[str, Any]) -> bool:
        """Whether it is a cause like this."""
        wanted = {"kind": self.kind, "destination": self.destination, "cause": self.cause}
        return (
            all(value in (None, group[name]) for name, value in wanted.items())
            and (self.since is None or datetime.fromisoformat(group["last_at"]) >= self.since)
            and (group["note"] is not None or not self.noted)
        )


EVERY = Filter()


async def groups(pool: Pool, which: Filter = EVERY, *, limit: int = 200) -> list[dict[str, Any]]:
    """Causes, the newest death first; of the first `limit` of all those that are wanted."""
    found, sparks = await dead.groups(pool, limit=limit), await dead.sparks(pool)
    steps = await dead.finished_steps(pool, [row["fingerprint"] for row in found], look_at=STEPS_OF_EACH)
    told = [_told(row, sparks.get(row["fingerprint"]), steps[row["fingerprint"]]) for row in found]
    return [one for one in told if which.finds(one)]


async def group(pool: Pool, name: str) -> dict[str, Any] | None:
    """One cause, with what its letters share; None: nothing is dead of it."""
    row = await dead.group(pool, name)
    if row is None:
        return None
    sparks = await dead.sparks(pool, name)
    steps, samples = await dead.finished_steps(pool, [name], look_at=STEPS_OF_ONE), await dead.samples(pool, name)
    return {**_told(row, sparks.get(name), steps[name]), "alike": alike([bytes(sample["payload"]) for sample in samples])}


def alike(payloads: Sequence[bytes]) -> dict[str, Any]:
    """What payloads share, by the names of their fields alone: the same in all, different, or missing in some. No value is told."""
    leaves = [dict(_leaves(parsed)) for payload in payloads if (parsed := _parsed(payload)) is not None]
    names = sorted({name for one in leaves for name in one})
    missing = [name for name in names if any(name not in one for one in leaves)]
    there = [name for name in names if name not in missing]
    same = [name for name in there if len({one[name] for one in leaves}) == 1]
    return {
        "looked_at": len(payloads),
        "unreadable": len(payloads) - len(leaves),
        "same": same[:MOST_FIELDS],
        "differ": [name for name in there if name not in same][:MOST_FIELDS],
        "missing_in_some": missing[:MOST_FIELDS],
    }


def _parsed(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def _leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every field with its value as text; lists, and what is nested deep, as a whole."""
    if isinstance(value, dict) and value and depth < MOST_DEPTH:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name), depth + 1)
    else:
        yield path or "payload", json.dumps(value, sort_keys=True)


def _told(row: Record, spark: list[int] | None, steps: dict[str, int]) -> dict[str, Any]:
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
        "cause": cause(row["reason"]),
        "advice": advice(row["reason"]),
        "note": note,
        "steps_done": steps,
    }
