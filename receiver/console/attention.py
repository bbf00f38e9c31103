"""How much needs a person: read at most every two seconds for all who look, for the badges of every page and for the overview."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from outbox.db import Pool
from outbox.store import console

LASTS_S: Final = 2.0


class Attention:
    """One for each process."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._read_at, self._counts = float("-inf"), dict[str, int]()

    async def now(self, pool: Pool) -> Mapping[str, int]:
        """Groups of dead letters, lanes and connections that need a person."""
        async with self._lock:
            if time.monotonic() - self._read_at >= LASTS_S:
                self._counts, self._read_at = await console.attention(pool), time.monotonic()
            return self._counts

    def forget(self) -> None:
        """Something was done: the next page shows it at once."""
        self._read_at = float("-inf")
