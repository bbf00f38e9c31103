"""Which requests a simulator saw and how each ended: method, path, status, time.

Keeps no bodies, headers or query strings: they hold tokens and personal data.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from simulators.faults import path_pattern
from simulators.shapes import JsonObject, iso_ms

_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """`status` is None when no answer was sent; `fault` is the id of the fault that met it."""

    at: datetime
    method: str
    path: str
    status: int | None
    took_ms: float
    fault: str | None

    def as_json(self) -> JsonObject:
        return {
            "at": iso_ms(self.at),
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "took_ms": round(self.took_ms, 3),
            "fault": self.fault,
        }


class RequestLog:
    """The latest requests, oldest first, and how many there were in all."""

    def __init__(self) -> None:
        self.total = 0
        self._latest: deque[SeenRequest] = deque(maxlen=_KEPT)
        self._grown = asyncio.Event()

    def add(self, request: SeenRequest) -> None:
        self.total += 1
        self._latest.append(request)
        self._grown.set()

    async def wait_for(self, count: int) -> None:
        """Return as soon as `count` requests have ended, since the start or the last `clear`."""
        while self.total < count:
            self._grown.clear()
            await self._grown.wait()

    def list(self, method: str = "*", path: str = "**") -> tuple[SeenRequest, ...]:
        """Those of a method and a path pattern (as in `Faults.add`)."""
        pattern = path_pattern(path)
        return tuple(seen for seen in self._latest if method in ("*", seen.method) and pattern.fullmatch(seen.path))

    def count(self, method: str = "*", path: str = "**") -> int:
        return len(self.list(method, path))

    def clear(self) -> None:
        self.total = 0
        self._latest.clear()
