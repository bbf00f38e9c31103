"""How fast this machine is, by fixed work, so that the figures of two machines can be compared: its cores, and its disk's commits."""

import hashlib
import json
import time
from typing import Final

from benchmarks.server import database
from outbox import db
from outbox.embedded import Embedded

WORK: Final = {"id": "note-1", "names": ["Ada", "Grace"], "n": list(range(40))}
LONG_S: Final = 1.0
COMMITS: Final = 2_000


def rounds_per_s() -> int:
    """Rounds of JSON, hashing and plain Python that one core does in a second of its own time, whatever else runs."""
    rounds, began = 0, time.process_time()
    while (spent_s := time.process_time() - began) < LONG_S:
        for _ in range(100):
            digest = hashlib.sha256(json.dumps(json.loads(json.dumps(WORK))).encode()).digest()
            sum(byte * place for place, byte in enumerate(digest))
        rounds += 100
    return round(rounds / spent_s)


async def commits_per_s(running: Embedded) -> int:
    """Durable commits of one row that one connection makes, one after the other: what nothing that waits for each of them can exceed."""
    async with database(running, "commits", migrated=False) as dsn:
        connection = await db.connect(dsn, name="bench:commits")
        await connection.execute("create table counter (n int); insert into counter values (0)")
        count = await connection.prepare("update counter set n = n + 1")
        began = time.perf_counter()
        for _ in range(COMMITS):
            await count.fetch()
        seconds = time.perf_counter() - began
        await connection.close()
    return round(COMMITS / seconds)
