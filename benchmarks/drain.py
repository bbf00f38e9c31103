"""Draining: dispatcher processes on a staged backlog, timed from "go" until nothing is left."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import load
from benchmarks.server import database, transactions, wal_bytes
from outbox import db
from outbox.embedded import Embedded

Prepare = Callable[[db.Connection], Awaitable[None]]
LEFT = "select exists (select from outbox.pending) or exists (select from outbox.busy where owner is not null or due_at <= now())"
CONCURRENCY = 1000


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain of `events` took. WAL and transactions are of the drain alone."""

    events: int
    per_s: float
    stage_per_s: float
    wal_stage_bytes: float
    wal_drain_bytes: float
    tx_per_event: float
    cpu_us_per_event: float
    rss_mb: float


class Process:
    """A drainer that is ready; `report()` ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, dsn: str, *arguments: str, concurrency: int = CONCURRENCY) -> "Process":
        """Returns when it says that it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.drainer", dsn, str(concurrency), *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
        )
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line == b"ready\n", f"the drainer said {line!r}"
        return cls(process)

    async def report(self) -> dict[str, Any]:
        """Stops it in order and returns what it says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        report = json.loads(await self._process.stdout.readline())
        await self._process.wait()
        return dict(report)


@asynccontextmanager
async def held_snapshot(dsn: str) -> AsyncIterator[None]:
    """A transaction that saw the database before the work and stays open: nothing that dies meanwhile can be vacuumed."""
    connection = await db.connect(dsn, name="bench:snapshot", timeout_s=600)
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    await connection.fetchval("select count(*) from pg_class")
    try:
        yield
    finally:
        await transaction.rollback()
        await connection.close()


async def drain(
    running: Embedded, *, events: int, lanes: int, lane: str | None = None, prepare: Prepare | None = None, processes: int = 1, snapshot: bool = False
) -> Drained:
    """Stages, then drains. `prepare` adds what lies beside the backlog."""
    async with database(running, "drain") as dsn:
        control = await db.connect(dsn, name="bench:control", timeout_s=600)
        before = await wal_bytes(control)
        stage_per_s = await load.stage(control, events, lanes=lanes, lane=lane)
        after_stage = await wal_bytes(control)
        if prepare is not None:
            await prepare(control)
        await db.fetch(control, "analyze")
        tx_before = await transactions(control)
        if not snapshot:
            return await _drain(dsn, control, events, processes, stage_per_s, (after_stage - before) / events, tx_before)
        async with held_snapshot(dsn):
            return await _drain(dsn, control, events, processes, stage_per_s, (after_stage - before) / events, tx_before)


async def _drain(
    dsn: str, control: db.Connection, events: int, processes: int, stage_per_s: float, wal_stage: float, tx_before: int
) -> Drained:
    wal_before = await wal_bytes(control)
    total = int(await db.fetchval(control, "select count(*) from outbox.pending"))
    began = time.perf_counter()
    drainers = await asyncio.gather(*(Process.start(dsn) for _ in range(processes)))
    ready = time.perf_counter()
    polls = 0
    while await db.fetchval(control, LEFT):
        polls += 1
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - ready
    wal_after = await wal_bytes(control)
    reports = [await drainer.report() for drainer in drainers]
    tx_after = await transactions(control)
    await control.close()
    assert sum(report["events"] for report in reports) == total, "every event is handled once"
    del began
    return Drained(
        events=total,
        per_s=total / seconds,
        stage_per_s=stage_per_s,
        wal_stage_bytes=wal_stage,
        wal_drain_bytes=(wal_after - wal_before) / total,
        tx_per_event=max(0, tx_after - tx_before - polls) / total,
        cpu_us_per_event=sum(report["cpu_s"] for report in reports) / total * 1e6,
        rss_mb=max(report["peak_rss_mb"] for report in reports),
    )
