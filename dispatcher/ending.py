"""The end of tasks that would run for ever.

A cancellation is an exception that travels through others' code, and on its way another may take its place: then a loop that outlives
every failure outlives that one, too, and who waits for its end waits for ever.
"""

import asyncio
from collections.abc import Iterable

from outbox.log import get_logger

log = get_logger(__name__)
CANCEL_S = 2.0


async def end(tasks: "Iterable[asyncio.Task[None]]") -> None:
    """Cancels them and waits; what has not ended after a while is named and cancelled again, until it has."""
    while going := [task for task in tasks if not task.done()]:
        for task in going:
            task.cancel()
        _, late = await asyncio.wait(going, timeout=CANCEL_S)
        if late:
            log.error("what was cancelled goes on; it is cancelled again", tasks=sorted(task.get_name() for task in late))
