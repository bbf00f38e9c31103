"""Draining: dispatcher processes on a staged backlog, timed from "go" until nothing is left."""

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from benchmarks import load
from benchmarks.counters import Counted, Counter
from benchmarks.drainer import Options
from benchmarks.server import database
from benchmarks.tally import Tally
from outbox import db
from outbox.embedded import Embedded

Prepare = Callable[[db.Connection], Awaitable[None]]
# Asked once nothing is left to handle, so that it is asked a few times only.
LEFT = """select exists (select from outbox.busy where (owner is not null or due_at <= now())
                         and ($1::text is null or lane <> hashtextextended($1, 0)))
              or exists (select from outbox.pending where $1::text is null or lane <> hashtextextended($1, 0))"""
SLOTS = 1000
POLL_S = 0.005
PATIENCE_S = 900


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain of `events` took. WAL and transactions are of the drain alone, an event; memory is that of the larger process."""

    events: int
    per_s: float
    stage_per_s: float
    wal_stage_bytes: float
    wal_drain_bytes: float
    tx_per_event: float
    cpu_us_per_event: float
    peak_rss_mb: float
    rss_growth_mb: float


class Process:
    """A drainer; `report()` ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, dsn: str, options: Options | None = None, *, module: str = "benchmarks.drainer") -> "Process":
        """Returns when it waits for `go()`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            dsn,
            *([] if options is None else [json.dumps(dataclasses.asdict(options))]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**26,
        )
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line == b"loaded\n", f"{module} said {line!r}"
        return cls(process)

    def go(self) -> None:
        """Lets it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

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
    connection = await db.connect(dsn, name="bench:snapshot", timeout_s=PATIENCE_S)
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
        control = await db.connect(dsn, name="bench:control", timeout_s=PATIENCE_S)
        counter = Counter(control)
        before = await counter.read()
        stage_per_s = await load.stage(control, events, lanes=lanes, lane=lane)
        staged = await counter.read()
        if prepare is not None:
            await prepare(control)
        await db.fetch(control, "analyze")
        async with held_snapshot(dsn) if snapshot else nullcontext():
            timed = await _timed(dsn, counter, events=events, processes=processes, but=but)
        await control.close()
    memory = max((report["rss_mb"] for report in timed.reports), key=lambda samples: samples[-1])
    return Drained(
        events=events,
        per_s=events / timed.seconds,
        stage_per_s=stage_per_s,
        wal_stage_bytes=(staged - before).wal_bytes / events,
        wal_drain_bytes=timed.spent.wal_bytes / timed.handled,
        tx_per_event=timed.spent.transactions / timed.handled,
        cpu_us_per_event=sum(report["cpu_s"] for report in timed.reports) / timed.handled * 1e6,
        peak_rss_mb=max(report["peak_rss_mb"] for report in timed.reports),
        # From when it has worked for a moment: the first full set of slots is no growth.
        rss_growth_mb=memory[-1] - memory[len(memory) // 10],
    )


@dataclass(frozen=True, slots=True)
class Timed:
    """What dispatchers did between "go" and the end, and what the server spent until they had left."""

    seconds: float
    handled: int
    spent: Counted
    reports: Sequence[dict[str, Any]]


async def _timed(dsn: str, counter: Counter, *, events: int, processes: int, but: str | None) -> Timed:
    with Tally(processes) as tally:
        drainers = await asyncio.gather(
            *(Process.start(dsn, Options(SLOTS, str(tally.path), place=place, but=but)) for place in range(processes))
        )
        before, seconds = await counter.read(), 0.0
        for drainer in drainers:
            drainer.go()
        began = time.perf_counter()
        async with asyncio.timeout(PATIENCE_S):
            while tally.total() < events or await counter.ask(LEFT, but):
                await asyncio.sleep(POLL_S)
        seconds = time.perf_counter() - began
        reports = [await drainer.report() for drainer in drainers]
        spent = await counter.read() - before
    ended = await counter.ask("select count(*) from outbox.attempts where outcome = 'd'")
    handled = sum(report["events"] for report in reports)
    assert handled == ended, f"{handled} were handled, {ended} are done"
    return Timed(seconds, handled, spent, reports)
