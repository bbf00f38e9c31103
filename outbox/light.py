"""How a sync stands, as one colour. Pure.

By the age of its last success, in intervals of its most frequent schedule: green below 2, yellow to 6, red above (hourly: 2 h and 6 h).
Times at which nothing was due (nights, weekends of a schedule of office hours) make nothing older.
"""

from collections.abc import Sequence
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


def light(cadences: Sequence[Cadence], *, last_success_at: datetime | None, expected_since: datetime, now: datetime) -> Light:
    """Of a sync that has had these schedules, and was on, since `expected_since`: what was not due before then makes nothing older."""
    if not cadences:
        return Light.GREY
    since = max(last_success_at or expected_since, expected_since)
    cadence = min(cadences, key=lambda one: interval_s(one, around=since))
    age = (now - since).total_seconds() / interval_s(cadence, around=since)
    missed = sum(1 for tick in islice(cadence.after(since), RED_AFTER) if tick <= now)
    if age > RED_AFTER and missed >= RED_AFTER:
        return Light.RED
    return Light.YELLOW if age >= YELLOW_AFTER and missed >= YELLOW_AFTER else Light.GREEN
