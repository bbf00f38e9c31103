"""outbox.arrivals and outbox.minutes: how much was accepted and settled in each minute, for rates and charts. Never looks at all events.

What was accepted is counted from the events themselves, each once. What was settled is told by the dispatchers: of one that is killed, the
last second is missing. Whoever wants to know what an event is asks outbox.states; nothing here decides anything.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from outbox import db
from outbox.db import Connection, Pool
from outbox.queries import load

Q = load("minutes")
AHEAD = 200_000  # events that one call counts at most


@dataclass(slots=True)
class Counts:
    """Settlements. `failures`: runs that are tried again; `settled_ms`: staged to done, in sum; `late`: how many of these were too slow."""

    done: int = 0
    skipped: int = 0
    dead: int = 0
    failures: int = 0
    settled_ms: int = 0
    late: int = 0

    def add(self, more: "Counts") -> None:
        """Counts those, too."""
        self.done, self.skipped, self.dead = self.done + more.done, self.skipped + more.skipped, self.dead + more.dead
        self.failures, self.settled_ms, self.late = self.failures + more.failures, self.settled_ms + more.settled_ms, self.late + more.late

    @property
    def success_rate(self) -> float | None:
        """Done of done and dead; None: neither."""
        return self.done / (self.done + self.dead) if self.done + self.dead else None

    @property
    def latency_s(self) -> float | None:
        """From staged to done, on the average; None: nothing was done."""
        return self.settled_ms / self.done / 1000 if self.done else None


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a chart, from `at` on."""

    at: datetime
    accepted: int
    counts: Counts


async def sources(connection: Connection | Pool) -> list[str]:
    """Who staged an event in the last day."""
    return [row["source"] for row in await db.fetch(connection, Q["sources"])]


async def add(connection: Connection | Pool, counted: Iterable[tuple[datetime, str, Counts]]) -> None:
    """Adds counts of (minute, kind)."""
    rows = [(at, kind, c.done, c.skipped, c.dead, c.failures, c.settled_ms, c.late) for at, kind, c in counted]
    if rows:
        await db.fetch(connection, Q["add"], *(list(column) for column in zip(*rows, strict=True)))


async def count_arrivals(connection: Connection | Pool, *, ahead: int = AHEAD) -> bool:
    """Counts what was accepted since the last call, as far as it is surely committed. False: it was not yet, or another call was faster."""
    await db.fetch(connection, Q["begin_arrivals"])
    return await db.fetchrow(connection, Q["count_arrivals"], ahead, timeout_s=30) is not None


async def prune(connection: Connection, *, keep_days: int) -> None:
    """Forgets what is older than the events that are kept."""
    await db.fetch(connection, Q["prune"], keep_days)


async def settled(connection: Connection | Pool, *, within_s: float) -> Counts:
    """What was settled in the last seconds."""
    row = await db.fetchrow(connection, Q["settled"], within_s)
    assert row is not None
    return Counts(**dict(row))


async def accepted(connection: Connection | Pool, *, within_s: float) -> int:
    """What was accepted in the last seconds."""
    return int(await db.fetchval(connection, Q["accepted"], within_s))


async def before(connection: Connection | Pool, *, within_s: float) -> tuple[int, Counts]:
    """What was accepted and settled in as many seconds before the last ones: the same hours of yesterday."""
    row = await db.fetchrow(connection, Q["before"], within_s)
    assert row is not None
    found = dict(row)
    return found.pop("accepted"), Counts(**found)


async def bars(connection: Connection | Pool, *, count: int, seconds: int) -> list[Bar]:
    """The last `count` bars of a chart, oldest first; the last one is still in progress."""
    found = [dict(row) for row in await db.fetch(connection, Q["bars"], count, seconds)]
    return [Bar(row.pop("at"), row.pop("accepted"), Counts(**row)) for row in found]
