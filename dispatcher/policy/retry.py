"""When a failed event is tried again: a few quick retries, then a slow schedule to about a day, then no more.

Pure: the caller passes how often it failed and the random numbers, and decides itself what a failure is
(waiting for a rate limit or for a destination that is down is none).
"""

import math
import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

MIN_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400

_SLOW_S: Final = (MIN_S, 5 * MIN_S, 15 * MIN_S, 30 * MIN_S, HOUR_S, 2 * HOUR_S, 4 * HOUR_S, 8 * HOUR_S, 8 * HOUR_S)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`quick` retries after base_s, base_s * factor, … up to cap_s, then one retry after each entry of `slow_s`.

    Jitter only lengthens a delay, by up to that share of it, so that a destination is never asked earlier than planned.
    """

    quick: int = 3
    base_s: float = 1
    factor: float = 2
    cap_s: float = 30
    jitter: float = 0.3
    slow_s: tuple[float, ...] = _SLOW_S

    def __post_init__(self) -> None:
        if not (0 <= self.quick <= 1_000 and 1 <= self.factor <= 100):
            raise ValueError("a retry policy has 0 to 1,000 quick retries and a factor from 1 to 100")
        if not all(0 <= number <= 30 * DAY_S for number in (self.base_s, self.cap_s, self.jitter, *self.slow_s)):
            raise ValueError("the delays of a retry policy are between nothing and 30 days")
        if any(later < earlier for earlier, later in pairwise(self.schedule_s())):
            raise ValueError("the delays of a retry policy never get shorter")

    def schedule_s(self) -> tuple[float, ...]:
        """Every delay without jitter: entry n is waited after failure n + 1."""
        # Beyond 100 doublings any delay is at its cap; the bound keeps the power inside a float.
        quick = (min(self.cap_s, self.base_s * self.factor ** min(n, 100)) for n in range(self.quick))
        return (*quick, *self.slow_s)

    def next_delay_s(self, failures: int, *, rng: random.Random, retry_after_s: float | None = None) -> float | None:
        """Seconds to wait after the `failures`-th failure in all (1 is the first); None = exhausted, bury.

        What the far side asked for (Retry-After) wins when it is longer, up to a day.
        """
        if failures < 1:
            raise ValueError("a delay follows a failure: count the first one as 1")
        schedule_s = self.schedule_s()
        if failures > len(schedule_s):
            return None
        delay_s = schedule_s[failures - 1] * (1 + self.jitter * rng.random())
        if retry_after_s is None or not math.isfinite(retry_after_s):
            return delay_s
        return max(delay_s, min(retry_after_s, DAY_S))

    def describe(self) -> str:
        """The whole schedule in words, for the docs and the console."""
        schedule_s = self.schedule_s()
        if not schedule_s:
            return "no retries: the first failure buries the event"
        parts = (("quick", schedule_s[: self.quick]), ("slow", self.slow_s))
        waits = [f"{_count(len(part), kind)} after {', '.join(map(spell, part))}" for kind, part in parts if part]
        later = f", each up to {self.jitter:.0%} later" if self.jitter else ""
        total = f"{_count(len(schedule_s), '')} in all over about {spell(sum(schedule_s))}"
        return f"{'; then '.join(waits)}{later}; {total}; then the event is buried"


def spell(seconds: float) -> str:
    """A duration as people say it: 4 s, 5 min, 1 h 30 min."""
    whole = round(seconds)
    if whole < MIN_S:
        return f"{seconds:.3g} s"
    if whole < HOUR_S:
        minutes, rest = divmod(whole, MIN_S)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / MIN_S), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _count(n: int, kind: str) -> str:
    words = (str(n), kind, "retry" if n == 1 else "retries")
    return " ".join(word for word in words if word)
