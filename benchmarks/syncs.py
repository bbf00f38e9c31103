"""`python -m benchmarks.syncs [--contacts 100000] [--latency-ms 50]`: a full sync of many contacts at the pace that GHL allows.

GHL takes 100 calls in 10 s, so a page costs it 100 ms whatever we do: what ours adds to that is measured. Prints one JSON document, of the
first run, which writes every contact, and of one in which nothing has changed:

    api_s      the least that the API's own pace and latency allow for so many calls; the first few are free
    seconds    from the run's begin to its end; `overhead` is what that is more, as a share of api_s
    cpu_ms     of this process for a page, which a busy machine stretches less than it stretches time
    memory     of this process at a tenth of the pages, and at the end
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psutil
import uvloop

from benchmarks.server import database, server
from dispatcher.config import DispatcherSettings
from dispatcher.context import Services
from dispatcher.policy.ratelimit import BULK_RESERVE, GHL_RATE
from dispatcher.routes import Route, sync_routes
from dispatcher.schedule import Schedule
from dispatcher.services import services
from dispatcher.solo import work_on
from dispatcher.syncs.ghl_contacts import GHL_CONTACTS, PAGE
from outbox import db
from outbox.db import Pool
from outbox.store import runs
from outbox.store.runs import LANE, Trigger

FREE = int(GHL_RATE.burst * (1 - BULK_RESERVE))  # calls that bulk work has at once
MIB = 1024 * 1024


@asynccontextmanager
async def far_side(contacts: int, latency_ms: float) -> AsyncIterator[str]:
    """It, in a process of its own. Its base URL."""
    command = ["-m", "benchmarks.contacts_side", str(contacts), str(latency_ms)]
    served = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert served.stdin is not None
    assert served.stdout is not None
    try:
        yield f"http://127.0.0.1:{(await served.stdout.readline()).decode().strip()}"
    finally:
        served.stdin.close()
        await served.wait()


async def measure(contacts: int, latency_ms: float) -> dict[str, Any]:
    """The first sync of all, and one in which nothing has changed."""
    table = {GHL_CONTACTS.name: GHL_CONTACTS}
    pages = -(-contacts // PAGE)
    results: dict[str, Any] = {"contacts": contacts, "pages": pages, "latency_ms": latency_ms}
    with server() as running:
        async with database(running, "syncs") as dsn, far_side(contacts, latency_ms) as url:
            settings = DispatcherSettings.model_construct(
                **DispatcherSettings.read(ghl_api_key="bench-token", ghl_location_id="bench", ghl_api_base_url=url).model_dump()
            )
            async with services(dsn, settings) as shared:
                await Schedule(shared, table).register()
                for name in ("first", "unchanged"):
                    results[name] = await run(dsn, shared, sync_routes(table), pages, latency_ms)
    return results


async def run(dsn: str, shared: Services, routes: Mapping[str, Route], pages: int, latency_ms: float) -> dict[str, Any]:
    """A full run, with the memory of this process from its first page on."""
    async with db.transaction(shared.pool) as connection:
        asked = await runs.ask(connection, GHL_CONTACTS.name, "full", trigger=Trigger.MANUAL, by="bench")
    assert asked is not None
    memory: dict[int, int] = {}
    process = psutil.Process()

    async def is_over() -> bool:
        seen = await row(shared.pool, asked.id)
        memory[seen["pages"]] = process.memory_info().rss
        return seen["ended_at"] is not None

    cpu_s = time.process_time()
    await work_on(LANE + GHL_CONTACTS.name, dsn=dsn, services=shared, routes=routes, is_over=is_over, stop=asyncio.Event())
    cpu_s = time.process_time() - cpu_s
    ended = await row(shared.pool, asked.id)
    assert ended["state"] == "done", ended["reason"]
    api_s = max((ended["calls"] - FREE) / GHL_RATE.per_s, ended["calls"] * latency_ms / 1000)
    seconds = (ended["ended_at"] - ended["started_at"]).total_seconds()
    return {
        "calls": ended["calls"],
        "api_s": round(api_s, 1),
        "seconds": round(seconds, 1),
        "overhead": round(seconds / api_s - 1, 3),
        "cpu_ms": round(1000 * cpu_s / pages, 1),
        "total": ended["total"],
        "memory_at_a_tenth_mib": round(next(size for at, size in sorted(memory.items()) if at * 10 >= pages) / MIB, 1),
        "memory_at_the_end_mib": round(memory[max(memory)] / MIB, 1),
    }


async def row(pool: Pool, run_id: int) -> Any:
    found = await runs.one(pool, run_id)
    assert found is not None
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.syncs", description=__doc__)
    parser.add_argument("--contacts", type=int, default=100_000)
    parser.add_argument("--latency-ms", type=float, default=50)
    told = parser.parse_args()
    print(json.dumps(uvloop.run(measure(told.contacts, told.latency_ms)), indent=2))
