"""The peers' drains on the same server in the same run: pgqueuer and procrastinate, configured for throughput as their own docs advise.

Run as `python -m benchmarks.peers NAME DSN EVENTS`: prepares, enqueues, drains, prints one JSON line: jobs per second, and the WAL of
enqueuing and draining a job. Their handlers parse the same payload. graphile-worker, which needs Node, is in graphile.py.
"""

import asyncio
import contextlib
import json
import sys
import time
from datetime import timedelta

import asyncpg

from benchmarks.load import PAYLOAD

WAL = "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"


async def pgqueuer(dsn: str, events: int) -> dict[str, float]:
    """Batches of 500 over a pool of 4 connections; the clock stops with the last handler."""
    from pgqueuer import AsyncpgPoolDriver, Job, PgQueuer, Queries

    async with asyncpg.create_pool(dsn, min_size=4, max_size=4) as pool:
        driver = AsyncpgPoolDriver(pool)
        queries = Queries(driver)
        await queries.install()
        before = await pool.fetchval(WAL)
        for _ in range(0, events, 1000):
            await queries.enqueue(["noop"] * 1000, [PAYLOAD] * 1000, [0] * 1000)
        queue, done, finished = PgQueuer(driver), 0, asyncio.Event()

        @queue.entrypoint("noop")
        async def noop(job: Job) -> None:
            nonlocal done
            json.loads(job.payload or b"")
            done += 1
            if done == events:
                finished.set()

        began = time.perf_counter()
        running = asyncio.create_task(queue.run(dequeue_timeout=timedelta(seconds=1), batch_size=500))
        await finished.wait()
        seconds = time.perf_counter() - began
        queue.shutdown.set()
        with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(running, 15)
    return {"per_s": events / seconds, "wal_bytes": await _written(dsn, before) / events}


async def procrastinate(dsn: str, events: int) -> dict[str, float]:
    """Ten at once, finished jobs deleted."""
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=dsn))

    @app.task(name="noop")
    async def noop(payload: str) -> None:
        json.loads(payload)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        before = await _written(dsn, 0)
        text = PAYLOAD.decode()
        for _ in range(0, events, 500):
            await noop.batch_defer_async(*({"payload": text} for _ in range(min(events, 500))))
        began = time.perf_counter()
        await app.run_worker_async(concurrency=10, wait=False, delete_jobs="always", install_signal_handlers=False, listen_notify=False)
        seconds = time.perf_counter() - began
    return {"per_s": events / seconds, "wal_bytes": await _written(dsn, before) / events}


async def _written(dsn: str, before: int) -> int:
    connection = await asyncpg.connect(dsn)
    written: int = await connection.fetchval(WAL) - before
    await connection.close()
    return written


PEERS = {"pgqueuer": pgqueuer, "procrastinate": procrastinate}

if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(PEERS[sys.argv[1]](sys.argv[2], int(sys.argv[3])))))
