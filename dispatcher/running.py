"""An event at work in this process: what was claimed, by which route it goes, since when."""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outbox.event import Claimed
from outbox.store.lanes import End

if TYPE_CHECKING:
    from dispatcher.routes import Route


@dataclass(slots=True)
class Running:
    """`started` on this process's monotonic clock; `followers` are covered by it; `streak`: how many its lane had in a row.

    `is_settling`: its outcome is known and on its way to the database. `end`: how a transaction of its handler settled it; None: none did.
    """

    event: Claimed
    route: "Route"
    started: float
    followers: tuple[int, ...] = ()
    streak: int = 0
    task: "asyncio.Task[None] | None" = None
    timed_out: bool = False
    is_settling: bool = False
    end: End | None = None

    def took_ms(self) -> int:
        """Milliseconds since it started."""
        return int((time.monotonic() - self.started) * 1000)
