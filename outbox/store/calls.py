"""outbox.calls: how calls to each destination went, counted by how long they took. For people: no event depends on it.

A call is in the first bucket whose bound it does not exceed; bounds grow by the root of two from 1 ms, so what is said of a share
of the calls is off by less than that.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("calls")
TOP: Final = 40  # 17 minutes: longer than any call may take
MOST: Final = 1_000
GOOGLE: Final = "google"


@dataclass(frozen=True, slots=True)
class Calls:
    """Those of one destination in some time. `p95_ms`: all but one in twenty took no longer."""

    made: int
    failed: int
    p95_ms: float
    hour: "Calls | None" = None  # of a day's: those of its last hour; None: none was made

    @property
    def success_rate(self) -> float:
        """Of all that were made."""
        return (self.made - self.failed) / self.made


def counted_as(destination: str) -> str:
    """The name under which its calls are counted: Google is one for all its users, or there would be rows for each of thousands."""
    return GOOGLE if destination.startswith(f"{GOOGLE}:") else destination


def bucket_of(took_ms: float) -> int:
    """Which one a call belongs in."""
    return 0 if took_ms <= 1 else min(TOP, math.ceil(2 * math.log2(took_ms)))


def bound_ms(bucket: int) -> float:
    """The longest time of a bucket."""
    return float(2 ** (bucket / 2)) if bucket >= 0 else 0.0


def quantile_ms(counts: Sequence[tuple[int, int]], share: float) -> float:
    """What this share of the calls did not exceed, by (bucket, calls) in order; inside a bucket they are taken to lie evenly. Pure."""
    rank, before = share * sum(number for _, number in counts), 0
    for bucket, number in counts:
        if before + number >= rank:
            low, high = bound_ms(bucket - 1), bound_ms(bucket)
            return low + (high - low) * (rank - before) / number
        before += number
    return 0.0


async def add(connection: Connection | Pool, counted: Iterable[tuple[str, int, int, int]]) -> None:
    """Adds (destination, bucket, calls, failed)."""
    if rows := list(counted):
        await db.fetch(connection, Q["add"], *(list(column) for column in zip(*rows, strict=True)))


async def day(connection: Connection | Pool, *, limit: int = MOST) -> Mapping[str, Calls]:
    """The last 24 hours, of the destinations with the most calls."""
    of: dict[str, list[Record]] = {}
    for row in await db.fetch(connection, Q["day"], limit):
        of.setdefault(row["destination"], []).append(row)
    return {name: _added([(row["bucket"], row["calls"], row["failed"]) for row in rows], hour=_hour(rows)) for name, rows in of.items()}


def _hour(rows: Sequence[Record]) -> Calls | None:
    late = [(row["bucket"], row["late_calls"], row["late_failed"]) for row in rows if row["late_calls"]]
    return _added(late) if late else None


def _added(counted: Sequence[tuple[int, int, int]], *, hour: Calls | None = None) -> Calls:
    """Of (bucket, calls, failed) in order."""
    made, failed = sum(n for _, n, _ in counted), sum(f for _, _, f in counted)
    return Calls(made, failed, quantile_ms([(bucket, n) for bucket, n, _ in counted], 0.95), hour)


async def prune(connection: Connection) -> None:
    """Forgets what is over two days old."""
    await db.fetch(connection, Q["prune"])
