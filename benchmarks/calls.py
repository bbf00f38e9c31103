"""Handlers as they are in earnest: each event is a step with one call to a far side that takes its time, so many at once."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks import load
from benchmarks.drain import LEFT, POLL_S, Process
from benchmarks.drainer import Options
from benchmarks.server import database
from benchmarks.tally import Tally
from outbox import db
from outbox.embedded import Embedded

PATIENCE_S = 120
DEFAULT_SLOTS = 500


@asynccontextmanager
async def far_side(call_ms: int) -> AsyncIterator[str]:
    """A server in a process of its own that answers after so long. Its base URL."""
    served = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.far_side", str(call_ms), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert served.stdin is not None
    assert served.stdout is not None
    try:
        yield f"http://127.0.0.1:{(await served.stdout.readline()).decode().strip()}"
    finally:
        served.stdin.close()
        await served.wait()


@dataclass(frozen=True, slots=True)
class Called:
    """Seconds until all are settled, and what the dispatcher's process spent on each."""

    seconds: float
    cpu_ms_per_event: float


async def calls(running: Embedded, *, events: int, at_once: int, call_ms: int, gated: bool = False) -> Called:
    """At best it takes events * call_ms / at_once.

    At once by the worker's slots; `gated`: by the gate of their destination, where the worker has as many slots as by default and
    the rest is held.
    """
    async with database(running, "calls") as dsn, far_side(call_ms) as url:
        control = await db.connect(dsn, name="bench:control", timeout_s=PATIENCE_S)
        await load.stage(control, events)
        with Tally(1) as tally:
            options = Options(
                DEFAULT_SLOTS if gated else at_once, str(tally.path), far_side=url, destination_slots=at_once if gated else None
            )
            drainer = await Process.start(dsn, options)
            drainer.go()
            began = time.perf_counter()
            async with asyncio.timeout(PATIENCE_S):
                while tally.total() < events or await db.fetchval(control, LEFT, None):
                    await asyncio.sleep(POLL_S)
            seconds = time.perf_counter() - began
            report = await drainer.report()
        steps = await db.fetchval(control, "select count(*) from outbox.steps where entry = 'd'")
        await control.close()
    assert report["events"] == steps == events, f"{report['events']} events, {steps} steps done, {events} staged"
    return Called(seconds, 1000 * report["cpu_s"] / events)
