"""Three minutes of steady load, half of them with old transactions held: events flow, tables heal afterwards, the dispatcher does not grow.

Sizes, rows and counts are judged, never a time.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from outbox import db
from outbox.embedded import FAST, Embedded, find_binaries, temporary_folder
from outbox.migrate import migrate
from outbox.store import events, storage
from outbox.store.events import Arrival
from outbox.testing import Postroom
from tests.crashes.evidence import FOLDER, Row, keep
from tests.dispatcher.handling import everything_is_over
from tests.dispatcher.running import WorkerProcess, eventually
from tests.storage.held import snapshot, staging, writing

PER_S, BATCHES_PER_S, LANES = 800, 10, 2000
FREE_S, HELD_S, AFTER_S = 30, 75, 45
BEHIND_S = 5  # of load that may wait at any moment, on a machine that does other work too
VACUUM_AT = 20_000  # of the schema
COMMAND = ".venv/bin/pytest tests/storage/test_soak.py -n0"


@pytest.fixture
async def soaked() -> AsyncIterator[Postroom]:
    """A database on a server that looks every second whether there is something to vacuum."""
    options = {**FAST, "autovacuum_naptime": "1s", "shared_buffers": "256MB"}
    binaries = find_binaries(os.environ.get("POSTROOM_PG_BIN"))
    with temporary_folder() as folder, Embedded(folder / "postgres", binaries=binaries, options=options) as server:
        connection = await db.connect(server.dsn(), name="postroom:migrate", timeout_s=60)
        await migrate(connection)
        await connection.close()
        async with db.pool(server.dsn(), name="postroom:test", size=4, timeout_s=60) as pool:
            yield Postroom(server.dsn(), pool)


@dataclass(slots=True)
class Phase:
    """What was seen while the load went on: undone events at each look, and how things stood at the end."""

    undone: list[int] = field(default_factory=list)
    dead: int = 0
    heap_bytes: int = 0
    rss_bytes: int = 0


class Soak:
    """A steady load on a database with one dispatcher."""

    def __init__(self, postroom: Postroom, worker: psutil.Process) -> None:
        self._postroom, self._worker = postroom, worker
        self.staged = 0

    async def run(self, seconds: float) -> Phase:
        """So long; a batch that could not be staged in time is staged late, not left out."""
        phase, begins = Phase(), time.monotonic()
        async with self._postroom.pool.acquire() as connection:
            for n in range(int(seconds * BATCHES_PER_S)):
                await asyncio.sleep(max(0.0, begins + n / BATCHES_PER_S - time.monotonic()))
                count = PER_S // BATCHES_PER_S
                await events.stage_many(
                    connection,
                    [Arrival("test", "test.soak", f"k{self.staged + k}", f"l{(self.staged + k) % LANES}", b"{}") for k in range(count)],
                    timeout_s=60,
                )
                self.staged += count
                if n % BATCHES_PER_S == BATCHES_PER_S - 1:
                    counted = await events.counts(self._postroom.pool, timeout_s=60)
                    phase.undone.append(counted["pending"] + counted["running"] + counted["waiting"])
        swinging = [table for table in await storage.tables(self._postroom.pool) if table.name in ("pending", "busy")]
        phase.dead, phase.heap_bytes = sum(one.dead for one in swinging), sum(one.heap_bytes for one in swinging)
        phase.rss_bytes = self._worker.memory_info().rss
        return phase


@pytest.mark.long
async def test_a_soak_with_a_snapshot_held_and_released(soaked: Postroom) -> None:
    async with WorkerProcess(soaked.dsn) as worker:
        soak = Soak(soaked, psutil.Process(worker.pid))
        free = await soak.run(FREE_S)
        async with AsyncExitStack() as holding:
            await holding.enter_async_context(snapshot(soaked.dsn))
            await holding.enter_async_context(writing(soaked.dsn))
            await holding.enter_async_context(staging(soaked.dsn))
            held = await soak.run(HELD_S)
        after = await soak.run(AFTER_S)
        await eventually(everything_is_over(soaked), within_s=60)
    totals = await soaked.totals()
    ended_twice = await soaked.value(
        "select count(*) from (select from outbox.attempts where outcome = 's' group by event_id having count(*) > 1) x"
    )
    assert totals["accepted"] == totals["skipped"] == soak.staged + 1
    assert ended_twice == 0
    for phase in (free, held, after):
        assert max(phase.undone) <= BEHIND_S * PER_S, phase.undone
    assert held.dead >= HELD_S * PER_S, "nothing was held back, so nothing was measured"
    assert after.dead <= 2 * (VACUUM_AT + 5 * PER_S), "what was held back was not cleared away"
    assert after.heap_bytes <= 1.05 * held.heap_bytes + 2**20, "the space is used again"
    assert after.rss_bytes <= free.rss_bytes + 25 * 2**20, (free.rss_bytes, held.rss_bytes, after.rss_bytes)
    if folder := os.environ.get(FOLDER):
        lost = totals["accepted"] - totals["skipped"]
        keep(
            Row("storage: a snapshot, an import and a staging transaction held for 75 s", soak.staged, lost, ended_twice, None, COMMAND),
            Path(folder),
        )
