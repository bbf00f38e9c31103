"""A dispatcher process whose handlers do harm to it: for tests that count its deaths. "ready" on standard output, as worker_process.

`harm.kill` ends the process by SIGKILL, `harm.exit` by os._exit, `harm.interrupt` by KeyboardInterrupt; `harm.none` waits a moment
and is done.
"""

import asyncio
import os
import signal

from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome
from dispatcher.routes import Route
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from outbox import Claimed


async def kill(event: Claimed, ctx: Context) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.Event().wait()
    return Done()


async def leave(event: Claimed, ctx: Context) -> Outcome:
    os._exit(7)


async def interrupt(event: Claimed, ctx: Context) -> Outcome:
    raise KeyboardInterrupt


async def harmless(event: Claimed, ctx: Context) -> Outcome:
    await asyncio.sleep(0.1)  # long enough to be at work when a neighbour kills the process
    return Done()


ROUTES = {"harm.kill": Route(kill), "harm.exit": Route(leave), "harm.interrupt": Route(interrupt), "harm.none": Route(harmless)}


async def main() -> None:
    stop = Stop()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.ask)
    dsn = os.environ["DATABASE_URL"]
    async with services(dsn, DispatcherSettings.read()) as shared:
        await Dispatcher(dsn, shared, ROUTES).run(stop, ready=lambda: print("ready", flush=True))  # noqa: T201 -- the parent waits for it


def run() -> None:
    """In a process that was forked for it."""
    asyncio.run(main())
