"""From just before stage() in one process to the handler's first line in another, at a steady 100 events a second."""

import asyncio
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from benchmarks.drain import Process
from benchmarks.drainer import Options
from benchmarks.load import KIND
from benchmarks.server import database
from benchmarks.tally import Tally
from outbox import Event, db, stage
from outbox.embedded import Embedded

PER_S: Final = 100
SLOTS: Final = 100
WARM_UP: Final = PER_S  # events of the first second, which are not counted


@dataclass(frozen=True, slots=True)
class Latency:
    """In milliseconds: of the median window, and of the worst."""

    p50_ms: float
    p99_ms: float
    worst_p50_ms: float
    worst_p99_ms: float


async def latency(running: Embedded, *, windows: int, window_s: float) -> Latency:
    """Over `windows` windows, one after the other. Both processes read the same monotonic clock."""
    each = int(PER_S * window_s)
    async with database(running, "latency") as dsn:
        with Tally(1) as tally:
            drainer = await Process.start(dsn, Options(SLOTS, str(tally.path), latencies=True))
            drainer.go()
            connection = await db.connect(dsn, name="bench:latency")
            count, begins = WARM_UP + windows * each, time.monotonic() + 0.5
            for n in range(count):
                await asyncio.sleep(max(0.0, begins + n / PER_S - time.monotonic()))
                body = {"at": time.monotonic(), "n": n, "text": "y" * 560}
                await stage(connection, Event(KIND, body, key=f"k{n}", lane=f"lane-{n % 50}"))
            async with asyncio.timeout(30):
                while tally.total() < count:
                    await asyncio.sleep(0.05)
            await connection.close()
            taken_ms: dict[int, list[float]] = defaultdict(list)
            for n, seconds in (await drainer.report())["latencies_s"]:
                if n >= WARM_UP:
                    taken_ms[(n - WARM_UP) // each].append(1000 * seconds)
    p50s, p99s = ([sorted(window)[int(len(window) * share)] for window in taken_ms.values()] for share in (0.5, 0.99))
    return Latency(statistics.median(p50s), statistics.median(p99s), max(p50s), max(p99s))
