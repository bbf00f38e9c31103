"""A dispatcher process: incarnation after incarnation until it is told to stop.

begin ─▶ claim, handle, settle … ─▶ stop asked: no more claims, grace, hand back, end
                └─ lease lost: handlers cancelled, finished outcomes sent, next incarnation
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from dispatcher.alarms import Alarms
from dispatcher.context import Services
from dispatcher.destinations import Destinations
from dispatcher.ending import end
from dispatcher.executor import Executor
from dispatcher.line import Backoff, Line, close_all
from dispatcher.loop import Loop
from dispatcher.plans import Plans
from dispatcher.routes import Route, told
from dispatcher.schedule import Schedule
from dispatcher.settler import Settler
from dispatcher.sight import Sight
from dispatcher.syncs.base import Sync
from dispatcher.syncs.table import SYNCS
from dispatcher.tally import Tally
from dispatcher.upkeep import Upkeep
from dispatcher.worker import Lease, LeaseLost, Lookout
from outbox.db import ENGINE_SETTINGS
from outbox.errors import DatabaseUnavailable
from outbox.listen import Listener
from outbox.log import get_logger
from outbox.migrate import check
from outbox.store import lanes, routes, wanted, workers

log = get_logger(__name__)
HOUSE_AFTER_S: Final = 1.0  # what begins has events to claim; its housekeeping can wait for so long


class Stop:
    """Asked once: finish what runs. Asked twice: now."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.forced = asyncio.Event()

    def ask(self) -> None:
        """As a signal handler does."""
        (self.forced if self.asked.is_set() else self.asked).set()


class Dispatcher:
    """Drains the outbox of one database with one set of routes."""

    def __init__(
        self,
        dsn: str,
        services: Services,
        routes: Mapping[str, Route],
        *,
        direct_dsn: str | None = None,
        keep_days: int = 90,
        syncs: Mapping[str, Sync] = SYNCS,
        pulls_first: bool = False,
    ) -> None:
        self._dsn, self._direct_dsn, self._services, self._routes, self._keep_days = dsn, direct_dsn or dsn, services, routes, keep_days
        self._syncs, self._pulls_first = syncs, pulls_first
        self.loop: Loop | None = None
        self.worker: int | None = None

    async def run(self, stop: Stop, *, ready: Callable[[], None] = lambda: None) -> None:
        """Until `stop` is asked; an outage of the database is waited out. Raises SchemaMismatch."""
        backoff = Backoff()
        while not stop.asked.is_set():
            try:
                await self._incarnation(stop, ready, backoff)
            except DatabaseUnavailable as problem:
                wait_s = backoff.next_s()
                log.warning("the dispatcher waits for the database", problem=problem, again_in_s=round(wait_s, 1))
                await _first(stop.asked.wait(), asyncio.sleep(wait_s))

    async def _incarnation(self, stop: Stop, ready: Callable[[], None], backoff: Backoff) -> None:
        settings = self._services.settings
        lease_line = Line(self._dsn, name="postroom:lease", timeout_s=3)
        try:
            await check(await lease_line.get())
            await wanted.want(await lease_line.get(), self._routes)
            lease = await Lease.begin(lease_line, name=settings.worker_name, keep_days=self._keep_days)
            await routes.tell(await lease_line.get(), told(self._routes, self._services.lacks))
            backoff.reset()
            await self._work(stop, ready, lease, lease_line)
        finally:
            await lease_line.close()

    async def _work(self, stop: Stop, ready: Callable[[], None], lease: Lease, lease_line: Line) -> None:
        settings, worker = self._services.settings, lease.worker
        name = f"postroom:{worker}"
        claim_line, far_line, *settle_lines = (Line(self._dsn, name=name, settings=ENGINE_SETTINGS) for _ in range(4))
        look_line, upkeep_line = Line(self._dsn, name=name), Line(self._dsn, name="postroom:upkeep", timeout_s=60)

        destinations = Destinations(
            self._services.pool,
            limit=min(settings.destination_concurrency, max(1, settings.concurrency // 2)),
            is_set_up=self._services.has,
            freed=lambda: loop.look_for_due(),  # noqa: PLW0108 -- the loop is made below
        )
        executor, sight = Executor(self._services, lease, destinations), Sight(far_line, worker=worker)
        loop = Loop(claim_line, lease, executor, self._routes, slots=settings.concurrency, sight=sight)
        tally = Tally(self._services.pool, lease.clock)
        settler = Settler(settle_lines, worker=worker, ended=loop.ended, may_take=loop.may_take, count=tally.settled)
        listener = Listener(self._direct_dsn, name=name, heard=loop.notify)
        schedule = Schedule(self._services, self._syncs, pulls_first=self._pulls_first)
        self.loop, self.worker = loop, worker
        log.info("dispatcher began", worker=worker, name=settings.worker_name)
        try:
            async with asyncio.TaskGroup() as tasks:
                loop.attach(settler)
                background = [
                    tasks.create_task(lease.keep(), name="lease"),
                    tasks.create_task(Lookout(look_line, freed=loop.look_for_due).watch(), name="lookout"),
                    tasks.create_task(destinations.watch(), name="destinations"),
                    tasks.create_task(settler.run(), name="settler"),
                    tasks.create_task(tally.run(), name="tally"),
                    tasks.create_task(_later(Alarms(self._services.pool).run), name="alarms"),
                    tasks.create_task(loop.sweep(), name="deadlines"),
                    tasks.create_task(loop.look_far(), name="far looks"),
                    tasks.create_task(listener.run(lambda up: setattr(loop, "listening", up)), name="listener"),
                    tasks.create_task(_later(Upkeep(upkeep_line, keep_days=self._keep_days, kinds=self._routes).run), name="upkeep"),
                    tasks.create_task(schedule.run(), name="schedule"),
                    tasks.create_task(Plans(self._services.pool).run(), name="plans"),
                ]
                stopper = tasks.create_task(self._drain_on(stop, loop, lease), name="stopper")
                try:
                    ready()
                    await loop.run()
                    await _first(loop.drained(), stop.forced.wait(), asyncio.sleep(settings.grace_s))
                finally:
                    await end((stopper, *background))
        except* LeaseLost as lost:
            log.error("lease lost", worker=worker, why=str(lost.exceptions[0]))
        finally:
            await loop.cancel()
            await self._leave(settler, tally, lease_line, worker)
            await close_all((claim_line, far_line, *settle_lines, look_line, upkeep_line))

    async def _drain_on(self, stop: Stop, loop: Loop, lease: Lease) -> None:
        await stop.asked.wait()
        lease.is_stopping = True
        loop.drain()

    async def _leave(self, settler: Settler, tally: Tally, line: Line, worker: int) -> None:
        """Sends what finished, hands back what did not, ends the worker. What fails here, another worker's look repairs."""
        try:
            async with asyncio.timeout(5):
                await settler.flush(line)
                connection = await line.get()
                handed_back = await lanes.hand_back(connection, worker=worker)
                await workers.end(connection, worker)
                log.info("dispatcher ended", worker=worker, handed_back=handed_back)
                await tally.tell()
        except (DatabaseUnavailable, TimeoutError) as problem:
            log.warning("a dispatcher could not say goodbye; others take over when its lease ends", worker=worker, problem=problem)


async def _later(work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(HOUSE_AFTER_S)
    await work()


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Returns when the first of them has."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
