"""From just before stage() in one process to the handler's first line in another, at a steady 100 events a second; and the same, bare."""

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from benchmarks import relay
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
TEXT: Final = "y" * 560


@dataclass(frozen=True, slots=True)
class Latency:
    """In milliseconds: of the median window, and of the worst. `stage_p50_ms`: until the stager has its answer."""

    p50_ms: float
    p99_ms: float
    worst_p50_ms: float
    worst_p99_ms: float
    stage_p50_ms: float
    stage_p99_ms: float


async def latency(running: Embedded, *, windows: int, window_s: float) -> Latency:
    """Over `windows` windows, one after the other. Both processes read the same monotonic clock."""
    async with database(running, "latency") as dsn:
        with Tally(1) as tally:
            drainer = await Process.start(dsn, Options(SLOTS, str(tally.path), latencies=True))
            drainer.go()
            connection = await db.connect(dsn, name="bench:latency")

            async def one(n: int) -> None:
                body = {"at": time.monotonic(), "n": n, "text": TEXT}
                await stage(connection, Event(KIND, body, key=f"k{n}", lane=f"lane-{n % 50}"))

            count = WARM_UP + round(windows * window_s * PER_S)
            staged_s = await paced(one, count)
            async with asyncio.timeout(30):
                while tally.total() < count:
                    await asyncio.sleep(0.05)
            await connection.close()
            return summed((await drainer.report())["latencies_s"], staged_s, windows)


async def bare(running: Embedded, *, windows: int, window_s: float) -> Latency:
    """The same by a table, a NOTIFY and a `delete ... returning`: two durable commits and a wake-up, and nothing else."""
    async with database(running, "bare", migrated=False) as dsn:
        connection = await db.connect(dsn, name="bench:latency")
        await connection.execute(relay.TABLE)
        relaying = await Process.start(dsn, module="benchmarks.relay")

        async def one(n: int) -> None:
            await connection.fetchval(relay.STAGE, n, time.monotonic(), TEXT)

        staged_s = await paced(one, WARM_UP + round(windows * window_s * PER_S))
        await asyncio.sleep(0.5)
        await connection.close()
        started = (await relaying.report())["latencies_s"]
        assert len(started) == len(staged_s), f"{len(started)} were taken, {len(staged_s)} staged"
        return summed(started, staged_s, windows)


async def paced(act: Callable[[int], Awaitable[None]], count: int) -> list[float]:
    """Does it so often, at its times; how many seconds each took."""
    begins, took_s = time.monotonic() + 0.5, list[float]()
    for n in range(count):
        await asyncio.sleep(max(0.0, begins + n / PER_S - time.monotonic()))
        began = time.monotonic()
        await act(n)
        took_s.append(time.monotonic() - began)
    return took_s


def summed(started: Iterable[tuple[int, float]], staged_s: list[float], windows: int) -> Latency:
    """What the handlers and the stager saw, without the first second."""
    each = (len(staged_s) - WARM_UP) // windows
    taken_ms: dict[int, list[float]] = defaultdict(list)
    for n, seconds in started:
        if n >= WARM_UP:
            taken_ms[(n - WARM_UP) // each].append(1000 * seconds)
    p50s, p99s = ([share_of(window, share) for window in taken_ms.values()] for share in (0.5, 0.99))
    stage_ms = [1000 * seconds for seconds in staged_s[WARM_UP:]]
    return Latency(
        statistics.median(p50s), statistics.median(p99s), max(p50s), max(p99s), share_of(stage_ms, 0.5), share_of(stage_ms, 0.99)
    )


def share_of(values: list[float], share: float) -> float:
    """The value below which so large a share of them is."""
    return sorted(values)[int(len(values) * share)]
