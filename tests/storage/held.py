"""What pins the horizon in these tests, and events that pass through meanwhile. Every holder lets go at the end of its block."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from outbox import db
from outbox.db import Connection
from outbox.store import events
from outbox.store.events import Arrival
from outbox.testing import Postroom
from tests.outbox.engine import Worker, worker

BATCH = 1000


@asynccontextmanager
async def snapshot(dsn: str, *, name: str = "report") -> AsyncIterator[Connection]:
    """A repeatable read transaction that has looked once and stands idle."""
    connection = await db.connect(dsn, name=name, timeout_s=30)
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    await transaction.start()
    await connection.fetchval("select count(*) from pg_class")
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


@asynccontextmanager
async def writing(dsn: str, *, name: str = "import") -> AsyncIterator[Connection]:
    """A transaction that wrote into a table of the app's and is not committed yet."""
    connection = await db.connect(dsn, name=name, timeout_s=30)
    await connection.execute("create table if not exists public.unrelated (n int)")
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("insert into public.unrelated values (1)")
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.execute("drop table public.unrelated")
        await connection.close()


@asynccontextmanager
async def staging(dsn: str, lane: str | None = "slow", *, name: str = "app") -> AsyncIterator[Connection]:
    """An app's transaction that staged an event and is not committed yet; commits at the end."""
    connection = await db.connect(dsn, name=name, timeout_s=30)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("select outbox.stage('test.work', '{}', lane => $1)", lane)
    try:
        yield connection
    finally:
        await transaction.commit()
        await connection.close()


async def stage(postroom: Postroom, count: int, *, lanes: int, kind: str = "test.work", urgency: int = 0, tag: str = "lane") -> None:
    """Stages `count` events over so many lanes, in batches as a receiver does."""
    async with postroom.pool.acquire() as connection:
        for first in range(0, count, BATCH):
            batch = [
                Arrival("test", kind, None, f"{tag}-{n % lanes}", b"{}", urgency=urgency) for n in range(first, min(first + BATCH, count))
            ]
            await events.stage_many(connection, batch, timeout_s=60)


async def settle_all(me: Worker, *, urgency: int = 0) -> int:
    """Claims and settles until nothing is pending. Returns how many."""
    settled = 0
    while found := await me.claim(limit=BATCH, urgency=urgency):
        settled += len(await me.done(*found))
    return settled


async def through(postroom: Postroom, count: int, *, lanes: int = BATCH, urgency: int = 0) -> None:
    """So many events are staged, claimed and settled, by the engine's own statements."""
    async with worker(postroom) as me:
        for first in range(0, count, BATCH):
            portion = min(BATCH, count - first)
            await stage(postroom, portion, lanes=lanes, urgency=urgency)
            assert await settle_all(me, urgency=urgency) == portion
