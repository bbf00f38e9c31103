"""Whom we write to, as people are told of it, once for the API, the command line and the console. Reads only.

The destinations of single users (google:USER), of whom there may be thousands, are told as one, and nobody is named.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from outbox.db import Connection, Pool, Record
from outbox.health import StoppedUsers
from outbox.store import budgets, calls, destinations, lanes, standing
from outbox.store.calls import GOOGLE, Calls, counted_as
from outbox.store.lanes import NONE_HELD, Held


@dataclass(frozen=True, slots=True)
class Pace:
    """What its credential may do and has done: `burst` calls at once, `per_s` a second after that, `taken` of them now.

    burst and per_s None: nobody has called since budgets say so. `day_left` None: the far side does not say.
    `rests_s` None: it does not rest.
    """

    burst: int | None
    per_s: float | None
    taken: int
    day_used: int
    day_left: int | None
    rests_s: float | None

    @property
    def window_s(self) -> float | None:
        """How long a whole burst takes to come back."""
        return None if self.burst is None or self.per_s is None else self.burst / self.per_s


@dataclass(frozen=True, slots=True)
class Way:
    """A destination. `until_s`: until it is tried again or resumes; None: it flows, or a person decides. `users`: it is all of theirs."""

    name: str
    state: str
    why: str | None
    by: str | None
    since: datetime | None
    until_s: float | None
    opened: int
    held: Held
    day: Calls | None
    pace: Pace | None
    users: StoppedUsers | None = None

    @property
    def outlook(self) -> str:
        """What resuming it lets flow, and at which rate."""
        number = self.held.waiting
        events = "no event waits" if number == 0 else f"{number:,} {'event waits' if number == 1 else 'events wait'}"
        if self.pace is None or self.pace.per_s is None:
            return f"{events}; they go at the rate of its budget"
        takes = f", so the last goes after about {_lasting(number / self.pace.per_s)}" if number > self.pace.per_s else ""
        return f"{events}; at most {self.pace.per_s:g} calls a second{takes}"


def _lasting(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{math.ceil(seconds / 60)} min"


async def every(pool: Connection | Pool, *, usual: Iterable[str]) -> list[Way]:
    """All that flow, stand or hold something back, by name; `usual` also before anything happened to them."""
    rows = {row["name"]: row for row in await destinations.every(pool)}
    held, day, spent = folded(await lanes.held(pool)), await calls.day(pool), await budgets.every(pool)
    users = await standing.stopped_users(pool)
    names = {*usual, *rows, *held, *day, *([GOOGLE] if users.said else [])}
    return [
        _way(name, rows.get(name), held.get(name, NONE_HELD), day.get(name), pace_of(name, spent, others=names), users)
        for name in sorted(names)
    ]


def _way(name: str, row: Record | None, held: Held, day: Calls | None, pace: Pace | None, users: StoppedUsers) -> Way:
    if name == GOOGLE:
        return Way(name, users.state, users.said or None, None, users.since, None, 0, held, day, None, users)
    if row is None:
        return Way(name, "flowing", None, None, None, None, 0, held, day, pace)
    return Way(name, row["state"], row["why"], row["by_whom"], row["since"], row["until_s"], row["opened"], held, day, pace)


def folded(held: Mapping[str, Held]) -> dict[str, Held]:
    """What waits, with that of single users as one's."""
    found: dict[str, Held] = {}
    for name, (waiting, oldest, bulk) in held.items():
        key = counted_as(name)
        before = found.get(key, NONE_HELD)
        ids = [one for one in (before.oldest, oldest) if one is not None]
        found[key] = Held(before.waiting + waiting, min(ids, default=None), before.bulk or bulk)
    return found


def pace_of(name: str, spent: list[Record], *, others: Iterable[str]) -> Pace | None:
    """Whose bucket it is: the credential of that name, or `name:…` where no destination is called so. None: it made no call yet."""
    exact = next((row for row in spent if row["credential"] == name), None)
    own = [row for row in spent if row["credential"].startswith(f"{name}:") and row["credential"] not in others]
    row = exact or max(own, key=lambda row: int(row["used"]), default=None)
    if row is None:
        return None
    rests_s = row["paused_s"] if row["paused_s"] and row["paused_s"] > 0 else None
    return Pace(row["burst"], row["per_s"], row["taken"], row["used"], row["daily_left"], rests_s)
