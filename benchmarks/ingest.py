"""Ingest, signed and durable, against a bare route that only verifies the same signature: same machine, same load, in turns."""

import asyncio
import json
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.server import database
from outbox import db
from outbox.embedded import Embedded


@dataclass(frozen=True, slots=True)
class Ingested:
    """Medians over the rounds; `ratio` of the ratios of each round."""

    bare_per_s: float
    postroom_per_s: float
    ratio: float
    p99_ms: float


async def ingest(running: Embedded, source: str, *, requests: int, rounds: int) -> Ingested:
    """`rounds` rounds of both apps, after one to warm up. Every request has to be answered 202 and to be an event afterwards."""
    async with database(running, "ingest") as dsn, _served("bare", source) as bare, _served("postroom", source, dsn) as postroom:
        sender = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.sender",
            source,
            str(rounds + 1),
            str(requests),
            bare,
            postroom,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        output, _ = await sender.communicate()
        connection = await db.connect(dsn, name="bench:count", timeout_s=60)
        events = await db.fetchval(connection, "select count(*) from outbox.events")
        await connection.close()
    said = json.loads(output)
    for round_ in said:
        for app, answers in round_.items():
            assert answers["statuses"] == {"202": requests}, f"{app} answered {answers['statuses']}"
    assert events == requests * len(said), f"{requests * len(said)} were accepted, {events} are there"
    counted = said[1:]
    return Ingested(
        statistics.median(round_["bare"]["per_s"] for round_ in counted),
        statistics.median(round_["postroom"]["per_s"] for round_ in counted),
        statistics.median(round_["postroom"]["per_s"] / round_["bare"]["per_s"] for round_ in counted),
        statistics.median(round_["postroom"]["p99_ms"] for round_ in counted),
    )


@asynccontextmanager
async def _served(which: str, source: str, dsn: str = "") -> AsyncIterator[str]:
    """An app in a process of its own. Its port."""
    served = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.served", which, source, dsn, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert served.stdin is not None
    assert served.stdout is not None
    try:
        yield (await served.stdout.readline()).decode().strip()
    finally:
        served.stdin.close()
        await served.wait()
