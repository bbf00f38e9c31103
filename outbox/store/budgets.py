"""outbox.budgets: one token bucket for each credential, shared by all dispatchers. The arithmetic is the caller's.

Read, decide, save if nobody was faster. Never a lock over a round trip: a dispatcher that froze or vanished with it would hold up the
calls of all others, and each that waited in line behind it and vanished, too, would do so again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("budgets")


@dataclass(frozen=True, slots=True)
class Budget:
    """A bucket as it is, by the database's clock. `paused_until` None: it does not rest; `daily_left` None: the far side does not say."""

    tokens: float
    at: datetime
    paused_until: datetime | None
    used: int
    daily_left: int | None


async def take(
    pool: Pool, credential: str, *, burst: int, per_s: float, decide: Callable[[Budget, datetime], tuple[Budget, float]]
) -> float:
    """Changes the bucket as `decide(bucket, now)` says, and returns its wait in seconds. Asks it again when another was faster.

    `burst` and `per_s` are what it is filled with at first, and what people are told of its pace.
    """
    while True:
        row = await db.fetchrow(pool, Q["look"], credential)
        if row is None:
            await db.fetch(pool, Q["make"], credential, burst, per_s)
            continue
        seen = Budget(row["tokens"], row["at"], row["paused_until"], row["used"], row["daily_left"])
        left, wait_s = decide(seen, row["now"])
        if await db.fetchval(pool, Q["save"], credential, left.tokens, left.at, left.used, row["version"], burst, per_s) is not None:
            return wait_s


async def learn(pool: Pool, credential: str, *, pause_s: float, daily_left: int | None) -> None:
    """What the far side's headers said."""
    await db.fetch(pool, Q["learn"], credential, pause_s, daily_left)


async def every(connection: Connection | Pool) -> list[Record]:
    """All buckets."""
    return await db.fetch(connection, Q["all"])
