"""One dispatcher process: `python -m benchmarks.drainer DSN OPTIONS`, OPTIONS as JSON (see Options).

Says "loaded", begins when its input says "go", works until its input ends, then reports as one JSON line.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import psutil
import uvloop
from pydantic import SecretStr

from benchmarks.load import FRESH, KIND
from benchmarks.tally import Cell
from dispatcher.clients.ghl_errors import classify_ghl
from dispatcher.clients.http import Http, Unlimited
from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome
from dispatcher.routes import Route
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from outbox import Claimed

DESTINATION = "bench"
STATUS = Path("/proc/self/status")
Handler: TypeAlias = Callable[[Claimed, Context], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Options:
    """`tally` and `place`: where it counts. `but`: a lane that is not counted. `far_side`: what each event calls; else nothing.

    `destination_slots`: the calls go through the gate of a destination that lets so many through.
    """

    slots: int
    tally: str
    place: int = 0
    but: str | None = None
    latencies: bool = False
    far_side: str | None = None
    destination_slots: int | None = None


@dataclass(slots=True)
class Seen:
    """What the handler saw."""

    events: int = 0
    counted: int = 0
    latencies_s: list[tuple[int, float]] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)


def noop(options: Options, seen: Seen, cell: Cell) -> Handler:
    """Reads its payload, as every handler does, and is done."""

    async def handle(event: Claimed, ctx: Context) -> Outcome:
        event.json()
        seen.events += 1
        if event.lane != options.but:
            seen.counted += 1
            cell.set(seen.counted)
        return Done()

    return handle


def timing(seen: Seen, cell: Cell) -> Handler:
    """Says how long ago its event was staged, by a clock that both processes read."""

    async def handle(event: Claimed, ctx: Context) -> Outcome:
        body = event.json()
        seen.latencies_s.append((body["n"], time.monotonic() - body["at"]))
        seen.events += 1
        cell.set(seen.events)
        return Done()

    return handle


def calling(seen: Seen, cell: Cell, http: Http) -> Handler:
    """One step with one call, as the real handlers make them."""

    async def handle(event: Claimed, ctx: Context) -> Outcome:
        async def call() -> str:
            answer = await http.call("POST", http.path("notes"), json={"text": ctx.marker("note")})
            assert isinstance(answer, dict)
            return str(answer["id"])

        await ctx.step("note", call, repeatable=True)
        seen.events += 1
        cell.set(seen.events)
        return Done()

    return handle


async def main(dsn: str, options: Options) -> None:
    seen, cell, stop = Seen(), Cell(Path(options.tally), options.place), Stop()
    settings = DispatcherSettings.model_construct(
        concurrency=options.slots, destination_concurrency=options.destination_slots or options.slots
    )
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(services(dsn, settings))
        handler = timing(seen, cell) if options.latencies else noop(options, seen, cell)
        if options.far_side is not None:
            http = Http(DESTINATION, options.far_side, token=SecretStr("demo"), classify=classify_ghl, budget=Unlimited())
            handler = calling(seen, cell, await stack.enter_async_context(http))
        route = Route(handler, destination=DESTINATION if options.destination_slots else None)
        routes = {KIND: route, FRESH: route}
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print("loaded", flush=True)
        await reader.readline()
        loaded = resource.getrusage(resource.RUSAGE_SELF)  # importing is no event's work
        running = asyncio.create_task(Dispatcher(dsn, shared, routes).run(stop))
        sampling = asyncio.create_task(sample(seen))
        await reader.read()
        sampling.cancel()
        stop.ask()
        await running
    used = resource.getrusage(resource.RUSAGE_SELF)
    report = {
        "events": seen.events,
        "cpu_s": used.ru_utime + used.ru_stime - loaded.ru_utime - loaded.ru_stime,
        "peak_rss_mb": peak_rss_mb(used),
        "rss_mb": seen.rss_mb,
        "latencies_s": seen.latencies_s,
    }
    print(json.dumps(report), flush=True)


async def sample(seen: Seen) -> None:
    """Its memory, four times a second, for ever."""
    process = psutil.Process()
    while True:
        seen.rss_mb.append(process.memory_info().rss / 2**20)
        await asyncio.sleep(0.25)


def peak_rss_mb(used: resource.struct_rusage) -> float:
    """Of this program alone: what getrusage says includes the process that started it, as it was then."""
    try:
        [line] = [line for line in STATUS.read_text("ascii").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        return used.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Options(**json.loads(sys.argv[2]))))
