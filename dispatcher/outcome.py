"""How a run of an event ends. A handler returns one of these; nothing else settles an event.

Done | Skipped   the event is over
Retry | Snooze   it stays, and its lane waits with it (Retry counts as a failure, Snooze does not)
Dead             a dead letter; its lane goes on without it
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Done:
    """Carried out. `result` is kept in the event's timeline: small, without personal data."""

    result: Mapping[str, object] | None = None

    @property
    def note(self) -> str | None:
        """The result as the timeline keeps it."""
        return None if self.result is None else json.dumps(dict(self.result), sort_keys=True)[:2000]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing had to be done, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """It failed; the route's retry policy says when it runs again, or that it is buried. `after_s` wins when it is longer."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """Not yet: again in `seconds`, at no cost."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Dead:
    """It will not get better by itself: a person has to look."""

    reason: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What Transaction.settle returns: the outcome is committed together with the handler's own writes."""

    outcome: Done | Skipped


Outcome: TypeAlias = Done | Skipped | Retry | Snooze | Dead
