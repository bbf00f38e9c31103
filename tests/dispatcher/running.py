"""Dispatchers for tests: in this process with any routes, or as a process of their own that can be killed."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dispatcher.config import DispatcherSettings
from dispatcher.routes import ROUTES, Route
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from outbox import Event, stage
from outbox.embedded import leftovers
from outbox.testing import Postroom
from tests.crashes.child import Child
from tests.crashes.patience import Patience, family
from tests.dispatcher.calm import CALM


@asynccontextmanager
async def dispatching(
    dsn: str, routes: Mapping[str, Route] = ROUTES, *, settings: DispatcherSettings | None = None
) -> AsyncIterator[Dispatcher]:
    """A dispatcher at work in this process; stopped in order at the end."""
    async with services(dsn, settings or DispatcherSettings()) as shared:
        stop, ready = Stop(), asyncio.Event()
        dispatcher = Dispatcher(dsn, shared, routes, syncs=CALM)
        task = asyncio.create_task(dispatcher.run(stop, ready=ready.set))
        try:
            await asyncio.wait_for(ready.wait(), 20)
            yield dispatcher
        finally:
            stop.ask()
            await asyncio.wait_for(task, 40)


async def eventually(check: Callable[[], Awaitable[bool]], *, within_s: float = 20) -> float:
    """Waits until `check` holds; returns how long it took. Fails when it does not in time; without a core no time counts."""
    patience = Patience([[os.getpid()]])
    while not await check():
        assert not patience.is_over(within_s, family), f"not within {within_s:g} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - patience.at


async def stage_all(postroom: Postroom, *happened: Event) -> list[int]:
    """Stages events in one transaction; returns their ids."""
    async with postroom.pool.acquire() as connection, connection.transaction():
        return [await stage(connection, event) for event in happened]


class WorkerProcess:
    """A dispatcher that can be killed, forked by the nursery of the crash tests: worker_process, or another role that it knows."""

    def __init__(
        self,
        dsn: str,
        settings: DispatcherSettings | None = None,
        *,
        role: str = "worker",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._role = role
        self._environment = {**os.environ, "DATABASE_URL": dsn, **(environment or {})}
        if settings is not None and settings.ghl_api_key and settings.ghl_location_id:
            self._environment |= {
                "GHL_API_KEY": settings.ghl_api_key.get_secret_value(),
                "GHL_LOCATION_ID": settings.ghl_location_id,
                "GHL_API_BASE_URL": str(settings.ghl_api_base_url),
            }
        if settings is not None and settings.notion_api_key:
            self._environment |= {
                "NOTION_API_KEY": settings.notion_api_key.get_secret_value(),
                "NOTION_API_BASE_URL": str(settings.notion_api_base_url),
                "NOTION_CLIENT_PROPERTIES": ",".join(settings.notion_client_properties),
                "NOTION_CLIENTS_DATA_SOURCE": settings.notion_clients_data_source or "",
            }

    async def __aenter__(self) -> Child:
        self._logs = TemporaryDirectory(prefix=leftovers.prefix("worker"))
        log = Path(self._logs.name) / "log"
        self._child = await Child.start(self._role, name=self._role, environment=self._environment, log=log)
        await self._child.started()
        return self._child

    async def __aexit__(self, *_: object) -> None:
        await self._child.end()
        self._logs.cleanup()
