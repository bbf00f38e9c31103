"""The least that an outbox can be: `python -m benchmarks.relay DSN` takes each row that a NOTIFY tells of, by a durable commit of its own.

Keeps no keys, no lanes, no attempts. What it takes from a row's staging to its start is what this machine's commits and wake-ups take.
Says "loaded", works until its input ends, then reports as the drainer does.
"""

import asyncio
import json
import sys
import time
from typing import Final

import uvloop

from outbox import db

CHANNEL: Final = "relay"
TABLE: Final = f"create table {CHANNEL} (n int primary key, at float8 not null, text text not null)"
STAGE: Final = f"with one as (insert into {CHANNEL} values ($1, $2, $3)) select pg_notify('{CHANNEL}', $1::int::text)"
TAKE: Final = f"delete from {CHANNEL} where n = $1 returning at, text"


async def main(dsn: str) -> None:
    told: asyncio.Queue[int] = asyncio.Queue()
    latencies_s: list[tuple[int, float]] = []
    listening, taking = await db.connect(dsn, name="bench:hears"), await db.connect(dsn, name="bench:takes")
    await listening.add_listener(CHANNEL, lambda *heard: told.put_nowait(int(heard[-1])))

    async def relay() -> None:
        while True:
            row = await db.fetchrow(taking, TAKE, await told.get())
            assert row is not None
            latencies_s.append((len(latencies_s), time.monotonic() - row["at"]))

    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("loaded", flush=True)
    async with asyncio.TaskGroup() as tasks:
        relaying = tasks.create_task(relay())
        await reader.read()
        relaying.cancel()
    for connection in (listening, taking):
        await connection.close()
    print(json.dumps({"latencies_s": latencies_s}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
