"""How much needs a person: read at most every two seconds for all who look, for the badges of every page and for the overview."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from outbox import sync_facts
from outbox.db import Pool
from outbox.light import Light
from outbox.store import console

LASTS_S: Final = 2.0


async def counts(pool: Pool) -> dict[str, int]:
    """Groups of dead letters, lanes and connections that need a person, and syncs, by the light that says so."""
    late = await sync_facts.late(pool)
    return {**await console.attention(pool), "red": late[Light.RED], "yellow": late[Light.YELLOW]}


class Attention:
    """One for each process."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._read_at, self._counts = float("-inf"), dict[str, int]()

    async def now(self, pool: Pool) -> Mapping[str, int]:
        """As counts()."""
        async with self._lock:
            if time.monotonic() - self._read_at >= LASTS_S:
                self._counts, self._read_at = await counts(pool), time.monotonic()
            return self._counts

    def forget(self) -> None:
        """Something was done: the next page shows it at once."""
        self._read_at = float("-inf")
