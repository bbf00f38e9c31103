"""Events to drain: 618-byte payloads with keys of their own, spread over lanes, staged in batches as a receiver stages them."""

import json
import random
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

from outbox import db
from outbox.store import days, events
from outbox.store.events import Arrival

PAYLOAD: Final = json.dumps({"n": 12345, "text": "y" * 594}).encode()
KIND: Final = "bench.noop"
FRESH: Final = "bench.fresh"  # of what is staged beside a measurement
BATCH: Final = 1000


async def stage(connection: db.Connection, count: int, *, lanes: int = 0, lane: str | None = None, seed: int = 7) -> float:
    """Stages `count` events over `lanes` lanes (0: none), or all in one; returns the events per second. Another seed, other keys."""
    rng = random.Random(seed)
    began = time.perf_counter()
    for _ in range(0, count, BATCH):
        batch = [
            Arrival(
                "ghl", KIND, str(uuid.UUID(int=rng.getrandbits(128))), lane or (f"lane-{rng.randrange(lanes)}" if lanes else None), PAYLOAD
            )
            for _ in range(BATCH)
        ]
        await events.stage_many(connection, batch, timeout_s=60)
    return count / (time.perf_counter() - began)


async def let_no_commit_wait(connection: db.Connection) -> None:
    """For all who connect from now on: commits are told before the disk has them. To see what the disk takes, and for nothing else."""
    name = await db.fetchval(connection, "select quote_ident(current_database())")
    await db.fetch(connection, f"alter database {name} set synchronous_commit = off")


async def add_old_days(connection: db.Connection, count: int) -> None:
    """The tables of so many days before today, as each day's upkeep had made them."""
    today = datetime.now(UTC).date()
    for day in (today - timedelta(days=n) for n in range(count, 0, -1)):
        first, end = [await db.fetchval(connection, "select outbox.first_id($1::date)", of) for of in (day, day + timedelta(days=1))]
        for table in days.PARTITIONED:
            await db.fetch(
                connection,
                f"create table outbox.{table}_{day:%Y%m%d} partition of outbox.{table} for values from ({first}) to ({end})",
            )


async def add_waiting_retries(connection: db.Connection, count: int) -> None:
    """Lanes that wait an hour for their next attempt."""
    await db.fetch(
        connection,
        """insert into outbox.busy (lane, event_id, urgency, due_at, attempt, failures, why)
           select hashtextextended('retry-' || n, 0), nextval('outbox.event_ids'), 0, now() + interval '1 hour', 2, 1, 'retry'
           from generate_series(1, $1::int) n""",
        count,
        timeout_s=60,
    )
