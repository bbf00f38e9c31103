"""What all examples of a property share: an event loop of their own, connections as the engine opens them, and an empty database.

Hypothesis calls a property many times from a function that is not async; the connections outlive its examples, the rows do not.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from outbox import db
from outbox.broom import EMPTY
from outbox.db import ENGINE_SETTINGS, Connection
from outbox.testing import Postroom

T = TypeVar("T")


class Ground:
    """`engine` is where workers' statements come by; `frozen` and `app` are for transactions that are held open."""

    engine: Connection
    frozen: Connection
    app: Connection

    def __init__(self, loop: asyncio.AbstractEventLoop, postroom: Postroom) -> None:
        self._loop, self.postroom = loop, postroom
        self.happened: Counter[str] = Counter()  # over all examples: that a property was about something

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    async def open(self) -> None:
        self.engine, self.app = await self._connect(), await self._connect()
        await self.thaw()

    async def thaw(self) -> None:
        """A new client in place of one that was frozen and ended."""
        self.frozen = await self._connect()

    async def empty(self) -> None:
        await self.postroom.pool.execute(EMPTY)

    def close(self) -> None:
        for connection in (self.engine, self.frozen, self.app):
            connection.terminate()

    async def _connect(self) -> Connection:
        return await db.connect(self.postroom.dsn, name="postroom:test", settings=ENGINE_SETTINGS)


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop for a test that is not async; nothing is left on it."""
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@contextmanager
def ground_on(dsn: str) -> Iterator[Ground]:
    """The database of this process of the test run, from outside any loop."""
    with running_loop() as loop:
        pool = _pool(dsn)
        ground = Ground(loop, loop.run_until_complete(anext(pool)))
        try:
            ground.run(ground.open())
            yield ground
        finally:
            ground.close()
            loop.run_until_complete(anext(pool, None))


async def _pool(dsn: str) -> AsyncIterator[Postroom]:
    async with db.pool(dsn, name="postroom:test", size=4, timeout_s=30) as pool:
        yield Postroom(dsn, pool)
