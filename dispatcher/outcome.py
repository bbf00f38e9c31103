"""How a run of an event ends. A handler returns one of these; nothing else settles an event.

Done | Skipped   the event is over
Retry | Snooze   it stays, and its lane waits with it (Retry counts as a failure, Snooze does not)
Dead             a dead letter; its lane goes on without it
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dispatcher.errors import scrub
from outbox.log import get_logger

log = get_logger(__name__)
REASON_CHARS = 400
RESULT_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Done:
    """Carried out. `result` is kept in the event's timeline: small, without personal data."""

    result: Mapping[str, object] | None = None

    @property
    def note(self) -> str | None:
        """The result as the timeline keeps it; of one that is too large or no JSON, only that there was one."""
        if self.result is None:
            return None
        try:
            text = json.dumps(dict(self.result), sort_keys=True)
        except (TypeError, ValueError, RecursionError) as problem:
            log.error("a handler's result is no JSON and is not kept", problem=problem)
        else:
            if len(text) <= RESULT_CHARS:
                return text
            log.error("a handler's result is too large for the timeline and is not kept", chars=len(text))
        return '{"kept": false}'


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


def reason_of(outcome: Skipped | Retry | Snooze | Dead) -> str:
    """The reason as rows keep it: one line, bounded, without personal data, tokens, or characters that Postgres cannot store."""
    return scrub(str(outcome.reason), max_chars=REASON_CHARS)
