"""`python -m benchmarks.syncs [--contacts 100000]`: a sync of many contacts, against an API without a limit that answers at once.

GHL lets us call ten times a second, so a page has 100 ms; what ours costs is a share of that. Prints one JSON document:
`page_ms` is a page from call to commit, `of_the_apis_rate` the same as a share of those 100 ms (below 1 a sync goes at the API's own
pace, and ours adds nothing), `walk_ms` the part of it that is fetching and reading, and how the memory of the process grew.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import psutil
import uvloop

from benchmarks.server import database, server
from dispatcher import services as made
from dispatcher.clients.ghl import GhlClient
from dispatcher.config import DispatcherSettings
from dispatcher.policy.ratelimit import Rate
from dispatcher.routes import sync_routes
from dispatcher.schedule import Schedule
from dispatcher.solo import work_on
from dispatcher.syncs.ghl_contacts import GHL_CONTACTS, PAGE
from outbox import db
from outbox.db import Pool
from outbox.store import runs
from outbox.store.runs import LANE, Trigger

API_PAGE_MS = 100.0
MIB = 1024 * 1024


@asynccontextmanager
async def far_side(contacts: int) -> AsyncIterator[str]:
    """It, in a process of its own. Its base URL."""
    served = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.contacts_side", str(contacts), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert served.stdin is not None
    assert served.stdout is not None
    try:
        yield f"http://127.0.0.1:{(await served.stdout.readline()).decode().strip()}"
    finally:
        served.stdin.close()
        await served.wait()


async def measure(contacts: int) -> dict[str, Any]:
    """The first sync of all, and one in which nothing has changed."""
    with server() as running, patch.object(made, "GHL_RATE", Rate(per_s=1e6, burst=1_000_000)):
        async with database(running, "syncs") as dsn, far_side(contacts) as url:
            settings = DispatcherSettings.model_construct(
                **DispatcherSettings.read(ghl_api_key="bench-token", ghl_location_id="bench", ghl_api_base_url=url).model_dump()
            )
            async with made.services(dsn, settings) as shared:
                table = {GHL_CONTACTS.name: GHL_CONTACTS}
                await Schedule(shared, table).register()
                assert shared.ghl is not None
                pages = -(-contacts // PAGE)
                walked_s = await walk(shared.ghl)
                results: dict[str, Any] = {"contacts": contacts, "pages": pages, "walk_ms": round(1000 * walked_s / pages, 1)}
                for name in ("first", "unchanged"):
                    results[name] = await run(dsn, shared, sync_routes(table), pages)
    return results


async def walk(ghl: GhlClient) -> float:
    """Seconds for fetching and reading alone."""
    began, after = time.perf_counter(), None
    while (found := await ghl.search_contacts(search_after=after, page_limit=PAGE)).search_after is not None:
        after = found.search_after
    return time.perf_counter() - began


async def run(dsn: str, shared: Any, routes: Any, pages: int) -> dict[str, Any]:
    """A full run, with the memory of this process from its first page on."""
    async with db.transaction(shared.pool) as connection:
        asked = await runs.ask(connection, GHL_CONTACTS.name, "full", trigger=Trigger.MANUAL, by="bench")
    assert asked is not None
    memory: list[int] = []
    process = psutil.Process()

    async def is_over() -> bool:
        return (await row(shared.pool, asked.id))["ended_at"] is not None

    async def watch() -> None:
        while True:
            if (await row(shared.pool, asked.id))["pages"] > 0:
                memory.append(process.memory_info().rss)
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    await work_on(LANE + GHL_CONTACTS.name, dsn=dsn, services=shared, routes=routes, is_over=is_over, stop=asyncio.Event())
    watching.cancel()
    ended = await row(shared.pool, asked.id)
    assert ended["state"] == "done", ended["reason"]
    page_ms = ended["worked_ms"] / pages
    return {
        "seconds": round(ended["worked_ms"] / 1000, 1),
        "page_ms": round(page_ms, 1),
        "of_the_apis_rate": round(page_ms / API_PAGE_MS, 3),
        "total": ended["total"],
        "memory_mib": round(max(memory) / MIB),
        "memory_grew_mib": round((max(memory) - memory[len(memory) // 10]) / MIB, 1),
    }


async def row(pool: Pool, run_id: int) -> Any:
    found = await runs.one(pool, run_id)
    assert found is not None
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.syncs", description=__doc__)
    parser.add_argument("--contacts", type=int, default=100_000)
    print(json.dumps(uvloop.run(measure(parser.parse_args().contacts)), indent=2))
