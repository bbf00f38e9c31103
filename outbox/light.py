"""How a sync stands, as one colour. Pure.

By the age of its last success, in intervals of its most frequent schedule: green below 2, yellow to 6, red above (hourly: 2 h and 6 h).
Times at which nothing was due (nights, weekends of a schedule of office hours) make nothing older.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Final

from outbox.cadence import Cadence, interval_s

YELLOW_AFTER: Final = 2
RED_AFTER: Final = 6


class Light(StrEnum):
    """GREY: nothing is expected of it, because it is switched off or paused."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    GREY = "grey"


@dataclass(frozen=True, slots=True)
class Standing:
    """A light with what it was seen by: the age since `since` in intervals, and how often it was due since then (RED_AFTER: or more)."""

    light: Light
    interval_s: float
    since: datetime
    missed: int


def standing(cadences: Sequence[Cadence], *, last_success_at: datetime | None, expected_since: datetime, now: datetime) -> Standing | None:
    """Of a sync that has had these schedules, and was on, since `expected_since`: what was not due before then makes nothing older.

    None: nothing is expected of it.
    """
    if not cadences:
        return None
    since = max(last_success_at or expected_since, expected_since)
    cadence = min(cadences, key=lambda one: interval_s(one, around=since))
    each_s = interval_s(cadence, around=since)
    age = (now - since).total_seconds() / each_s
    missed = sum(1 for tick in islice(cadence.after(since), RED_AFTER) if tick <= now)
    colour = Light.GREEN
    if age > RED_AFTER and missed >= RED_AFTER:
        colour = Light.RED
    elif age >= YELLOW_AFTER and missed >= YELLOW_AFTER:
        colour = Light.YELLOW
    return Standing(colour, each_s, since, missed)
