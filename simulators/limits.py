"""A request budget in fixed windows, as both providers describe theirs.

Counts and says how much is left; what an answer looks like when nothing is left is the provider's business.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(slots=True)
class Budget:
    """`limit` requests in each window of `window_s`, counted per name (a location, a token). A window begins with its first request."""

    limit: int
    window_s: float
    _windows: dict[str, tuple[datetime, int]] = field(default_factory=dict)

    def take(self, name: str, now: datetime) -> bool:
        """Count one request; False when the window had none left."""
        started, used = self._window(name, now)
        if used >= self.limit:
            return False
        self._windows[name] = (started, used + 1)
        return True

    def left(self, name: str, now: datetime) -> int:
        return self.limit - self._window(name, now)[1]

    def resets_in_s(self, name: str, now: datetime) -> float:
        return self.window_s - (now - self._window(name, now)[0]).total_seconds()

    def clear(self) -> None:
        self._windows.clear()

    def _window(self, name: str, now: datetime) -> tuple[datetime, int]:
        started, used = self._windows.get(name, (now, 0))
        return (started, used) if now - started < timedelta(seconds=self.window_s) else (now, 0)
