"""How many records a second a run gets through, over the last minute of its work. Pure.

It begins anew with each attempt, each phase, and where a walk begins again: what came before an interruption tells nothing of what comes.
"""

from collections import deque
from typing import Final

WINDOW_MS: Final = 60_000


class Pace:
    """Of one attempt, which begins in this phase with so much done."""

    def __init__(self, at_ms: int, *, phase: str | None, done: int) -> None:
        self._phase = phase
        self._marks = deque([(at_ms, done)])

    def behind_page(self, at_ms: int, *, phase: str | None, done: int) -> float | None:
        """Records a second by now; None: nobody knows."""
        last_ms, last_done = self._marks[-1]
        if phase != self._phase or done < last_done:
            self._phase, self._marks = phase, deque([(last_ms, 0)])
        self._marks.append((at_ms, done))
        while self._marks[1][0] < at_ms - WINDOW_MS:
            self._marks.popleft()
        first_ms, first_done = self._marks[0]
        return (done - first_done) * 1000 / (at_ms - first_ms) if at_ms > first_ms and done > first_done else None
