"""Draining: dispatcher processes on a staged backlog, timed from "go" until nothing is left."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from benchmarks import load
from benchmarks.server import database, transactions, wal_bytes
from outbox import db
from outbox.embedded import Embedded

Prepare = Callable[[db.Connection], Awaitable[None]]
LEFT = """select exists (select from outbox.pending where $1::text is null or lane <> hashtextextended($1, 0))
               or exists (select from outbox.busy where (owner is not null or due_at <= now())
                          and ($1::text is null or lane <> hashtextextended($1, 0)))"""
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
            sys.executable,
            "-m",
            "benchmarks.drainer",
            dsn,
            str(concurrency),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**26,
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
    running: Embedded,
    *,
    events: int,
    lanes: int,
    lane: str | None = None,
    prepare: Prepare | None = None,
    processes: int = 1,
    snapshot: bool = False,
    but: str | None = None,
) -> Drained:
    """Stages `events`, adds what `prepare` lays beside them, then drains. The clock stops when nothing is left but the lane `but`."""
    async with database(running, "drain") as dsn:
        control = await db.connect(dsn, name="bench:control", timeout_s=600)
        before = await wal_bytes(control)
        stage_per_s = await load.stage(control, events, lanes=lanes, lane=lane)
        wal_stage = (await wal_bytes(control) - before) / events
        if prepare is not None:
            await prepare(control)
        await db.fetch(control, "analyze")
        async with held_snapshot(dsn) if snapshot else nullcontext():
            timed = await _timed(dsn, control, processes, but)
        await control.close()
    return Drained(
        events=events,
        per_s=events / timed.seconds,
        stage_per_s=stage_per_s,
        wal_stage_bytes=wal_stage,
        wal_drain_bytes=timed.wal_bytes / timed.handled,
        tx_per_event=timed.transactions / timed.handled,
        cpu_us_per_event=timed.cpu_s / timed.handled * 1e6,
        rss_mb=timed.rss_mb,
    )


@dataclass(frozen=True, slots=True)
class Timed:
    """What dispatchers did between "ready" and the end."""

    seconds: float
    handled: int
    wal_bytes: int
    transactions: int
    cpu_s: float
    rss_mb: float


async def _timed(dsn: str, control: db.Connection, processes: int, but: str | None) -> Timed:
    wal_before, tx_before = await wal_bytes(control), await transactions(control)
    drainers = await asyncio.gather(*(Process.start(dsn) for _ in range(processes)))
    ready, polls = time.perf_counter(), 0
    while await db.fetchval(control, LEFT, but):
        polls += 1
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - ready
    wal_after = await wal_bytes(control)
    reports = [await drainer.report() for drainer in drainers]
    tx_after = await transactions(control)
    ended = await db.fetchval(control, "select count(*) from outbox.attempts where outcome = 'd'")
    handled = sum(report["events"] for report in reports)
    assert handled == ended, f"{handled} were handled, {ended} are done"
    return Timed(
        seconds,
        handled,
        wal_after - wal_before,
        max(0, tx_after - tx_before - polls),
        sum(report["cpu_s"] for report in reports),
        max(report["peak_rss_mb"] for report in reports),
    )
