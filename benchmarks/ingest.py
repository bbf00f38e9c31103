"""Ingest, signed and durable, against a bare route that only verifies the same signature: same server, same load, in turns."""

import asyncio
import json
import statistics
import sys
from dataclasses import dataclass

from benchmarks.server import database
from outbox import db
from outbox.embedded import Embedded


@dataclass(frozen=True, slots=True)
class Ingested:
    """Medians over the rounds."""

    bare_per_s: float
    postroom_per_s: float
    ratio: float
    p99_ms: float


async def ingest(running: Embedded, source: str, *, requests: int, rounds: int) -> Ingested:
    """`rounds` turns of both apps. Every request has to be answered 202 and to be an event afterwards."""
    bare, postroom, p99_ms = [], [], []
    for _ in range(rounds):
        bare.append((await _run("bare", source, requests))["per_s"])
        async with database(running, "ingest") as dsn:
            said = await _run("postroom", source, requests, dsn)
            connection = await db.connect(dsn, name="bench:count", timeout_s=60)
            events = await db.fetchval(connection, "select count(*) from outbox.events")
            await connection.close()
            assert events == requests, f"{requests} were accepted, {events} are there"
            postroom.append(said["per_s"])
            p99_ms.append(said["p99_ms"])
    ratios = [ours / theirs for ours, theirs in zip(postroom, bare, strict=True)]
    return Ingested(*(statistics.median(numbers) for numbers in (bare, postroom, ratios, p99_ms)))


async def _run(which: str, source: str, requests: int, dsn: str = "") -> dict[str, float]:
    served = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.served", which, source, dsn, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert served.stdin is not None
    assert served.stdout is not None
    port = (await served.stdout.readline()).decode().strip()
    sender = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.sender", port, source, str(requests), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await sender.communicate()
    served.stdin.close()
    await served.wait()
    said = json.loads(output)
    assert said["statuses"] == {"202": requests}, f"{which} answered {said['statuses']}"
    return dict(said)
