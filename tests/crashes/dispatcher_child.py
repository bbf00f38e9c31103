"""A dispatcher process for crash tests: the real routes and time limits, settings from the environment, armed points from CRASH_POINTS.

Only the far sides' rates are others (CRASH_RATE_PER_S): the simulators allow more, and a budget of 10 calls a second would hide crashes
behind waiting; and pages of syncs may be small (CRASH_PAGE). SIGTERM stops it as it stops the real one; SIGUSR1 lets go on what waits at
a point that only tells.
"""

import asyncio
import os
import signal

from pydantic import SecretStr

import dispatcher.services
from cli import running
from dispatcher import upkeep
from dispatcher.clients import google_people, phorest
from dispatcher.config import DispatcherSettings
from dispatcher.policy import pace
from dispatcher.policy.ratelimit import Rate
from dispatcher.routes import ROUTES
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from dispatcher.syncs import ghl_contacts, notion_clients
from outbox.log import configure
from outbox.seal import Sealer
from tests.crashes import arming
from tests.dispatcher.calm import CALM


async def main() -> None:
    stop = Stop()
    running.on_signals(stop.ask)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, arming.go_on)
    dsn = os.environ["DATABASE_URL"]
    sealer = Sealer([SecretStr(key) for key in os.environ.get("POSTROOM_ENCRYPTION_KEYS", "").split(",") if key])
    async with services(dsn, DispatcherSettings.read(), sealer=sealer) as shared:
        made = Dispatcher(dsn, shared, ROUTES, keep_days=int(os.environ.get("POSTROOM_RETENTION_DAYS", "90")), syncs=CALM)
        await made.run(stop, ready=lambda: arming.say("ready"))


def run() -> None:
    """In a process that was forked for it."""
    configure(json=True, level=os.environ.get("POSTROOM_LOG_LEVEL", "info"))
    per_s = float(os.environ.get("CRASH_RATE_PER_S", "1000"))
    for name in ("GHL_RATE", "NOTION_RATE", "PHOREST_RATE", "GOOGLE_RATE"):
        setattr(dispatcher.services, name, Rate(per_s=per_s, burst=max(1, int(per_s))))
    if os.environ.get("CRASH_DEAR"):  # as beside an old snapshot: looks over all lanes are dear
        setattr(pace, "IN_A_ROW", 0)  # noqa: B010 -- a constant for everybody else
    if page := os.environ.get("CRASH_PAGE"):  # few records make several pages
        for module, name in ((ghl_contacts, "PAGE"), (notion_clients, "PAGE"), (phorest, "PAGE_SIZE")):
            setattr(module, name, int(page))
        google_people.ASKED["pageSize"] = int(page)
    if os.environ.get("CRASH_HOUSE"):  # what retention had to leave is looked at again soon
        setattr(upkeep, "HOUSE_EVERY", 1)  # noqa: B010
        setattr(upkeep, "EVERY_S", 2.0)  # noqa: B010
    arming.arm(os.environ.get("CRASH_POINTS", ""))
    running.run(main())
