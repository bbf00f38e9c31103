"""outbox.sources and outbox.rejected: what came in, what was turned away, and why (P11)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

S = load("sources")
R = load("rejected")


@dataclass(slots=True)
class Seen:
    """What one receiver saw of a source since it last said."""

    name: str
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    last_accepted_at: datetime | None = None
    last_rejected_at: datetime | None = None
    last_rejected: str | None = None
    last_fingerprint: str | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    keys: dict[str, datetime] = field(default_factory=dict)  # when each matched last


@dataclass(frozen=True, slots=True)
class Turned:
    """A rejected request as it is kept: bounded, without secrets. `remote` is a network, not an address."""

    at: datetime
    source: str
    reason: str
    detail: str
    remote: str | None
    body_bytes: int
    body_head: bytes


async def count(connection: Connection | Pool, seen: Sequence[Seen]) -> None:
    """Adds to the totals."""
    await db.fetch(
        connection,
        S["count"],
        [s.name for s in seen],
        [s.accepted for s in seen],
        [s.duplicates for s in seen],
        [s.rejected for s in seen],
        [s.last_accepted_at for s in seen],
        [s.last_rejected_at for s in seen],
        [s.last_rejected for s in seen],
        [s.last_fingerprint for s in seen],
        *_columns(((s.name, outcome, number) for s in seen for outcome, number in s.outcomes.items()), 3),
        *_columns(((s.name, key, at) for s in seen for key, at in s.keys.items()), 3),
    )


def _columns(rows: Iterable[tuple[object, ...]], width: int) -> list[list[object]]:
    listed = list(rows)
    return [[row[n] for row in listed] for n in range(width)]


async def every(connection: Connection | Pool) -> list[Record]:
    """Totals of each source."""
    return await db.fetch(connection, S["all"])


async def day(connection: Connection | Pool) -> list[Record]:
    """source, outcome, seen in 24 hours and in the last_hour; by source, the most frequent first."""
    return await db.fetch(connection, S["day"])


async def keys(connection: Connection | Pool) -> list[Record]:
    """source, fingerprint, first_at, last_at of every key that ever matched."""
    return await db.fetch(connection, S["keys"])


async def prune(connection: Connection | Pool, *, keep_days: int) -> None:
    """Forgets counts that are older than that."""
    await db.fetch(connection, S["prune"], keep_days)


async def one(connection: Connection | Pool, name: str) -> Record | None:
    """Totals of a source; None when it never sent anything."""
    return await db.fetchrow(connection, S["one"], name)


async def keep(connection: Connection | Pool, turned: Sequence[Turned]) -> None:
    """Keeps rejected requests for inspection."""
    await db.fetch(
        connection,
        R["keep"],
        [t.at for t in turned],
        [t.source for t in turned],
        [t.reason for t in turned],
        [t.detail for t in turned],
        [t.remote for t in turned],
        [t.body_bytes for t in turned],
        [t.body_head for t in turned],
    )


async def rejected(
    connection: Connection | Pool, source: str | None, *, reason: str | None = None, before: int | None = None, limit: int = 50
) -> list[Record]:
    """Rejected requests, newest first."""
    return await db.fetch(connection, R["list"], source, before, limit, reason)


async def prune_rejected(connection: Connection | Pool, *, per_source: int = 1000, days: int = 7) -> None:
    """Bounds what is kept."""
    await db.fetch(connection, R["prune"], per_source, days)
