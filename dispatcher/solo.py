"""One lane at work in the caller's own process: what a command does when no dispatcher is there to do it.

A worker incarnation like any other, with its lease, its destinations and fenced settlements, but it claims from this lane only: events
of others are none of its business. A dispatcher that begins meanwhile may take the lane's next event; nothing is done twice.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, assert_never

from dispatcher.context import Services
from dispatcher.destinations import Destinations
from dispatcher.ending import CANCEL_S, end
from dispatcher.executor import Executor
from dispatcher.line import Line, close_all
from dispatcher.routes import UNROUTED, Route
from dispatcher.running import Running
from dispatcher.worker import Lease, LeaseLost
from outbox.errors import DatabaseUnavailable
from outbox.event import Claimed
from outbox.log import get_logger
from outbox.store import lanes, workers
from outbox.store.lanes import Burial, End, Wait

log = get_logger(__name__)
REST_S: Final = 0.1
BEAT_S: Final = 0.5


async def work_on(
    lane: str, *, dsn: str, services: Services, routes: Mapping[str, Route], is_over: Callable[[], Awaitable[bool]], stop: asyncio.Event
) -> None:
    """Handles the lane's events until `is_over()`, or `stop` is set: what is at work is then handed back, and goes on elsewhere.

    Raises DatabaseUnavailable; LeaseLost when this process was too slow to be believed alive.
    """
    lease_line, line = Line(dsn, name="postroom:lease", timeout_s=3), Line(dsn, name="postroom:solo")
    try:
        lease = await Lease.begin(lease_line, name=services.settings.worker_name)
        try:
            await _Solo(lane, lease, line, services, routes).run(is_over, stop)
        finally:
            await _leave(line, lease.worker)
    finally:
        await close_all((line, lease_line))


async def _leave(line: Line, worker: int) -> None:
    """Hands back what is undone, ends the worker. What fails here, a dispatcher's look repairs."""
    try:
        connection = await line.get()
        await lanes.hand_back(connection, worker=worker)
        await workers.end(connection, worker)
    except DatabaseUnavailable as problem:
        log.warning("could not say goodbye; dispatchers take over when the lease ends", worker=worker, problem=problem)


class _Solo:
    def __init__(self, lane: str, lease: Lease, line: Line, services: Services, routes: Mapping[str, Route]) -> None:
        self._lane, self._lease, self._line, self._services, self._routes = lane, lease, line, services, routes
        self._destinations = Destinations(services.pool, limit=2, is_set_up=services.has, freed=lambda: None)
        self._executor = Executor(services, lease, self._destinations)

    async def run(self, is_over: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(self._lease.keep(), name="lease"),
                    tasks.create_task(self._beat(stop), name="beat"),
                    tasks.create_task(self._destinations.watch(), name="destinations"),
                ]
                try:
                    while not stop.is_set() and not await is_over():
                        event = await lanes.take_one(await self._line.get(), self._lane, worker=self._lease.worker)
                        if event is None:
                            await asyncio.sleep(REST_S)
                        else:
                            await self._handle(event)
                finally:
                    await end(background)
        except* (LeaseLost, DatabaseUnavailable) as ended:
            raise ended.exceptions[0] from None

    async def _beat(self, stop: asyncio.Event) -> None:
        """The lease is renewed while this process's loop turns."""
        while True:
            self._lease.last_round = time.monotonic()
            self._lease.is_stopping = stop.is_set()
            await asyncio.sleep(BEAT_S)

    async def _handle(self, event: Claimed) -> None:
        running = Running(event, self._routes.get(event.kind, UNROUTED), time.monotonic())
        running.task = asyncio.create_task(self._settled(running))
        try:
            await asyncio.wait({running.task}, timeout=running.route.deadline_s)
            if not running.task.done():
                running.timed_out = True
                running.task.cancel()
            await running.task
        except asyncio.CancelledError:
            running.task.cancel()
            await asyncio.wait({running.task}, timeout=CANCEL_S)
            raise

    async def _settled(self, running: Running) -> None:
        settlement = await self._executor.run(running)
        connection, worker = await self._line.get(), self._lease.worker
        match settlement:
            case None:
                return
            case End():
                await lanes.finish(connection, [settlement], worker=worker)
            case Wait():
                await lanes.wait(connection, [settlement], worker=worker)
            case Burial():
                await lanes.bury(connection, [settlement], worker=worker)
            case _:
                assert_never(settlement)
