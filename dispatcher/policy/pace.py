"""How often a look may be made that costs much and finds little, and how far back the freshest events reach. Pure: the time is passed in.

An old snapshot that somebody holds keeps dead rows from being cleared away, and a look over all lanes, or over all waits, walks over each
of them. Three such looks in a row, or one that is very long or was given up, make it dear; then it is made a twentieth of the time, until
one is cheap again.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf
from typing import Final

STEPS, STEPS_PER_FIND = 3000, 10  # about half a millisecond, and three times what a lane costs where nothing is in the way
VERY_FAR = 50_000
LONG_S, LONG_PER_FIND_S = 0.02, 0.001
GIVEN_UP_S: Final = 1.0
IN_A_ROW: Final = 3  # the first look after much work clears the way of what can be cleared; two of them make a round of the lanes
SHARE: Final = 20
SPAN_S: Final = 1.0


class Length(IntEnum):
    """Of a look: how far it brings its kind towards being dear."""

    SHORT = 0
    LONG = 1
    VERY_LONG = IN_A_ROW


@dataclass(slots=True)
class Pace:
    """Of one kind of look. `longest_rest_s`: where something waits for it that has a time limit."""

    longest_rest_s: float = inf
    again_at: float = 0.0
    _in_a_row: int = 0

    @property
    def is_dear(self) -> bool:
        """Whether it may be made only now and then."""
        return self._in_a_row >= IN_A_ROW

    def looked(self, *, now: float, took_s: float, length: Length) -> None:
        """A look ended at `now`."""
        self._in_a_row = 0 if length is Length.SHORT else self._in_a_row + length
        self.again_at = now + min(SHARE * took_s, self.longest_rest_s) if self.is_dear else 0.0


def by_walk(walked: int, *, found: int) -> Length:
    """How much more a look passed than it found. By work, so that a busy machine makes no difference."""
    if walked <= STEPS + found * STEPS_PER_FIND:
        return Length.SHORT
    return Length.VERY_LONG if walked > VERY_FAR + found * STEPS_PER_FIND else Length.LONG


def by_time(took_s: float, *, found: int) -> Length:
    """The same by time, where nobody counts the work: what takes so long may never end in time, and would keep all else from being done."""
    if took_s <= LONG_S + found * LONG_PER_FIND_S:
        return Length.SHORT
    return Length.VERY_LONG if took_s > GIVEN_UP_S else Length.LONG


@dataclass(slots=True)
class Window:
    """Ids by the time at which they were first looked at: all that is younger than a second is looked at again and again.

    For a younger id may be seen before an older one, whose transaction took longer, and an event may come while its lane is at work.
    """

    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def above(self, now: float) -> int | None:
        """The id behind which to look; None: nobody has looked yet."""
        while len(self._marks) > 1 and self._marks[1][0] <= now - SPAN_S:
            self._marks.popleft()
        return self._marks[0][1] if self._marks else None

    def looked(self, *, now: float, last: int, is_full: bool) -> None:
        """Up to id `last`. `is_full`: there may be more than one look can see, so the next one goes on behind it."""
        if is_full:
            self._marks.clear()
        if not self._marks or last > self._marks[-1][1]:
            self._marks.append((now, last))
