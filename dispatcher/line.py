"""A connection that comes back. The engine's loops each hold one and survive a database outage with it, for ever.

When one of a process falls, the others to that database are opened anew before they are used again: a network that forgot one connection
has mostly forgotten them all, and finding that out takes a time limit each.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence

from outbox import db
from outbox.db import UNAVAILABLE, Connection

_fell_at: dict[str, float] = {}  # by connection string: when a line of this process fell last


class Line:
    """One named connection, opened when asked for and dropped when it failed. Several tasks may ask at once: there still is only one."""

    def __init__(self, dsn: str, *, name: str, timeout_s: float = 5, settings: Mapping[str, str] | None = None) -> None:
        self._dsn, self._name, self._timeout_s, self._settings = dsn, name, timeout_s, settings
        self._open: Connection | None = None
        self._opened_at = 0.0
        self._opening = asyncio.Lock()

    async def get(self) -> Connection:
        """The connection. Raises DatabaseUnavailable."""
        if self._open is not None and self._opened_at < _fell_at.get(self._dsn, 0.0):
            self.forget()
        if self._open is None or self._open.is_closed():
            async with self._opening:
                if self._open is None or self._open.is_closed():
                    self._opened_at = time.monotonic()
                    self._open = await db.connect(self._dsn, name=self._name, timeout_s=self._timeout_s, settings=self._settings)
        return self._open

    def drop(self) -> None:
        """Forgets a connection that failed."""
        _fell_at[self._dsn] = time.monotonic()
        self.forget()

    def forget(self) -> None:
        """Cuts the connection, if there is one; the next get() opens another."""
        if self._open is not None:
            self._open.terminate()
            self._open = None

    async def close(self) -> None:
        """Closes it properly, or at least for certain."""
        if self._open is not None:
            try:
                await self._open.close(timeout=1)
            except UNAVAILABLE:
                self._open.terminate()
            self._open = None


async def close_all(lines: Sequence[Line]) -> None:
    """Each of them; what is left when this is cancelled is cut."""
    try:
        for line in lines:
            await line.close()
    finally:
        for line in lines:
            line.forget()


class Backoff:
    """How long to wait before asking a database that is away again: 0.1 s doubling to 3 s, jittered upward."""

    def __init__(self) -> None:
        self._failures = 0

    def reset(self) -> None:
        """It answered."""
        self._failures = 0

    def next_s(self) -> float:
        """It did not."""
        self._failures += 1
        return float(min(3.0, 0.1 * 2 ** min(self._failures - 1, 6)) * (1 + 0.3 * random.random()))  # noqa: S311 -- jitter, not secrecy
