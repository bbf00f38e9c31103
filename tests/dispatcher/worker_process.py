"""A dispatcher process for tests that kill one: the real routes, settings from the environment, "ready" on standard output."""

import asyncio
import os
import signal

from pydantic import SecretStr

from dispatcher.config import DispatcherSettings
from dispatcher.routes import ROUTES
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from outbox.seal import Sealer
from tests.dispatcher.calm import CALM


async def main() -> None:
    stop = Stop()
    for what in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(what, stop.ask)
    dsn = os.environ["DATABASE_URL"]
    sealer = Sealer([SecretStr(key)] if (key := os.environ.get("KEY")) else [])
    async with services(dsn, DispatcherSettings.read(), sealer=sealer) as shared:
        await Dispatcher(dsn, shared, ROUTES, syncs=CALM).run(stop, ready=lambda: print("ready", flush=True))  # noqa: T201 -- the parent waits for it


def run() -> None:
    """In a process that was forked for it."""
    asyncio.run(main())
