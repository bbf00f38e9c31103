"""A dispatcher with the routes of every day, at work for the locations of a simulated GHL."""

import asyncio

from dispatcher.config import DispatcherSettings
from dispatcher.routes import ROUTES
from dispatcher.service import Dispatcher, Stop
from tests.dispatcher.calm import CALM
from tests.dispatcher.connecting import World
from tests.dispatcher.handling import is_over
from tests.dispatcher.running import eventually


async def settle(at: World, *event_ids: int, settings: DispatcherSettings | None = None) -> None:
    """Runs a dispatcher until these events are done or skipped."""
    async with at.services(settings) as shared:
        stop = Stop()
        task = asyncio.create_task(Dispatcher(at.postroom.dsn, shared, ROUTES, syncs=CALM).run(stop))
        try:
            await eventually(is_over(at.postroom, *event_ids))
        finally:
            stop.ask()
            await asyncio.wait_for(task, 40)
