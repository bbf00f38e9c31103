"""outbox.dead: dead letters, found, retried, discarded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("dead")
NOTIFY = load("events")["notify"]
HOURS = 24


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters; None does not filter."""

    kind: str | None = None
    source: str | None = None
    lane: str | None = None
    group: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def values(self) -> tuple[object, ...]:
        """In the order of the statements' parameters."""
        return (self.kind, self.source, self.lane, self.group, self.since, self.until)


async def find(connection: Connection | Pool, which: Filter, *, before: int | None = None, limit: int = 50) -> list[Record]:
    """Dead letters, newest first, below id `before`."""
    return await db.fetch(connection, Q["list"], before, limit, *which.values())


async def count(connection: Connection | Pool, which: Filter, *, ceiling: int | None = None) -> Record:
    """How many a filter finds: dead, lanes, first_died_at, ceiling (the largest id now); with a ceiling, of those up to that id."""
    row = await db.fetchrow(connection, Q["count"], *which.values(), ceiling)
    assert row is not None
    return row


async def portion(connection: Connection | Pool, which: Filter, *, ceiling: int, above: int, limit: int) -> list[int]:
    """The ids that a filter finds above one id and up to another, oldest first."""
    return [row["id"] for row in await db.fetch(connection, Q["portion"], *which.values(), ceiling, above, limit)]


async def groups(connection: Connection | Pool, *, limit: int = 200) -> list[Record]:
    """Dead letters by cause, the newest death first."""
    return await db.fetch(connection, Q["groups"], limit, None)


async def group(connection: Connection | Pool, fingerprint: str) -> Record | None:
    """One cause, as groups() lists it; None: nothing is dead of it."""
    return await db.fetchrow(connection, Q["groups"], 1, fingerprint)


async def sparks(connection: Connection | Pool, fingerprint: str | None = None) -> dict[str, list[int]]:
    """Deaths in each of the last 24 hours, the oldest first, by group; groups without any are not there."""
    found: dict[str, list[int]] = {}
    for row in await db.fetch(connection, Q["sparks"], fingerprint):
        found.setdefault(row["fingerprint"], [0] * HOURS)[HOURS - 1 - min(max(row["hours"], 0), HOURS - 1)] += row["dead"]
    return found


async def finished_steps(connection: Connection | Pool, fingerprints: Sequence[str], *, look_at: int) -> dict[str, dict[str, int]]:
    """Which steps of the groups' newest dead letters are done, and how often: a retry repeats none of them."""
    found: dict[str, dict[str, int]] = {name: {} for name in fingerprints}
    for row in await db.fetch(connection, Q["finished"], list(fingerprints), look_at):
        found[row["fingerprint"]][row["name"]] = row["steps"]
    return found


async def samples(connection: Connection | Pool, fingerprint: str, *, look_at: int = 50) -> list[Record]:
    """The newest of a group, with their payloads."""
    return await db.fetch(connection, Q["samples"], fingerprint, look_at)


async def one(connection: Connection | Pool, event_id: int) -> Record | None:
    """A dead letter, or None."""
    return await db.fetchrow(connection, Q["one"], event_id)


async def retry(connection: Connection | Pool, ids: Sequence[int], *, by: str) -> list[int]:
    """Dead letters become pending again with attempts and journal kept. Returns those that were still dead."""
    again = [row["event_id"] for row in await db.fetch(connection, Q["retry"], list(ids), f"retried by {by}")]
    await db.fetchval(connection, NOTIFY)
    return again


async def discard(connection: Connection | Pool, ids: Sequence[int], *, by: str, reason: str) -> list[int]:
    """Dead letters become skipped, with the reason. Returns those that were still dead."""
    return [row["event_id"] for row in await db.fetch(connection, Q["discard"], list(ids), f"discarded by {by}: {reason}")]
