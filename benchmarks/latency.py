"""From just before stage() in one process to the handler's first line in another, at a steady 100 events a second."""

import asyncio
import time

from benchmarks.drain import Process
from benchmarks.load import KIND
from benchmarks.server import database
from outbox import Event, db, stage
from outbox.embedded import Embedded

PER_S = 100


async def latency(running: Embedded, *, seconds: float) -> tuple[float, float]:
    """(p50, p99) in milliseconds. Both processes read the same monotonic clock."""
    async with database(running, "latency") as dsn:
        drainer = await Process.start(dsn, "--latency", concurrency=100)
        connection = await db.connect(dsn, name="bench:latency")
        begins = time.monotonic() + 0.5
        for n in range(int(PER_S * seconds)):
            await asyncio.sleep(max(0.0, begins + n / PER_S - time.monotonic()))
            await stage(connection, Event(KIND, {"at": time.monotonic(), "n": n, "text": "y" * 560}, key=f"k{n}", lane=f"lane-{n % 50}"))
        while await db.fetchval(connection, "select exists (select from outbox.pending) or exists (select from outbox.busy)"):
            await asyncio.sleep(0.05)
        await connection.close()
        latencies_ms = sorted(1000 * taken for taken in (await drainer.report())["latencies_s"])
    return latencies_ms[len(latencies_ms) // 2], latencies_ms[int(len(latencies_ms) * 0.99)]
