"""One dispatcher process with a no-op handler: `python -m benchmarks.drainer DSN CONCURRENCY`.

Says "ready", works until its input ends, then reports as one JSON line.
"""

import asyncio
import json
import resource
import sys
import time

import psutil
import uvloop

from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome
from dispatcher.routes import Route
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from outbox import Claimed


async def main(dsn: str, concurrency: int) -> None:
    count, started_at = 0, []
    latencies = "--latency" in sys.argv

    async def noop(event: Claimed, ctx: Context) -> Outcome:
        nonlocal count
        body = event.json()
        count += 1
        if latencies:
            started_at.append(time.monotonic() - body["at"])
        return Done()

    stop = Stop()
    async with services(dsn, DispatcherSettings(concurrency=concurrency)) as shared:
        dispatcher = Dispatcher(dsn, shared, {"bench.noop": Route(noop)})
        running = asyncio.create_task(dispatcher.run(stop, ready=lambda: print("ready", flush=True)))
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
        stop.ask()
        await running
    used = resource.getrusage(resource.RUSAGE_SELF)
    report = {
        "events": count,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_rss_mb": used.ru_maxrss / 1024,
        "rss_mb": psutil.Process().memory_info().rss / 1e6,
        "latencies_s": started_at,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
