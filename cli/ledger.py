"""What was sent and what was answered, so that every event can be accounted for in the end. Adds up; sends nothing.

sent = accepted + duplicates + rejected, and accepted = pending + done + skipped + dead
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cli.deliver import Answer
from outbox.db import Pool
from outbox.event import State
from outbox.store import events

ACCEPTED, DUPLICATE, REJECTED, UNANSWERED = "accepted", "duplicate", "rejected", "unanswered"


@dataclass(frozen=True, slots=True)
class Sent:
    """One webhook or one staged change. `event_id` None: it was turned away."""

    source: str
    what: str
    result: str
    event_id: int | None = None
    status: int | None = None


class Ledger:
    """In the order of sending."""

    def __init__(self) -> None:
        self.all: list[Sent] = []

    def webhook(self, source: str, what: str, answer: Answer) -> Answer:
        """A webhook that was posted to the receiver."""
        turned_away = UNANSWERED if answer.status is None else REJECTED
        taken = DUPLICATE if answer.duplicate else ACCEPTED
        self.all.append(Sent(source, what, taken if answer.accepted else turned_away, answer.event_id, answer.status))
        return answer

    def staged(self, what: str, event_id: int) -> None:
        """A change that an app staged in a transaction that was committed."""
        self.all.append(Sent("app", what, DUPLICATE if event_id in self.ids else ACCEPTED, event_id))

    @property
    def ids(self) -> list[int]:
        """Of the accepted events, in the order of sending."""
        return [sent.event_id for sent in self.all if sent.result == ACCEPTED and sent.event_id is not None]

    def counts(self) -> dict[str, int]:
        """How many were sent, and what was answered."""
        results = Counter(sent.result for sent in self.all)
        return {"sent": len(self.all), ACCEPTED: results[ACCEPTED], "duplicates": results[DUPLICATE], REJECTED: results[REJECTED]}


@dataclass(frozen=True, slots=True)
class Became:
    """What an event is now."""

    event_id: int
    kind: str
    state: str
    why: str | None
    duplicates: int


async def became(pool: Pool, ids: Iterable[int]) -> dict[int, Became]:
    """By id; an id that is not there is missing."""
    rows = [await events.one(pool, event_id) for event_id in ids]
    return {row["id"]: Became(row["id"], row["kind"], row["state"], row["why"], row["duplicates"] or 0) for row in rows if row is not None}


def states(found: Iterable[Became]) -> dict[str, int]:
    """How many are in each of the four states."""
    counted = Counter(one.state for one in found)
    return {str(state): counted[state] for state in State}


def rows(ledger: Ledger, found: dict[int, Became]) -> list[dict[str, Any]]:
    """One for each that was sent, with what became of it."""
    told = []
    for sent in ledger.all:
        now = found.get(sent.event_id) if sent.event_id is not None else None
        told.append(
            {
                "source": sent.source,
                "what": sent.what,
                "result": sent.result,
                "status": sent.status,
                "id": sent.event_id,
                "state": now.state if now else None,
                "why": now.why if now else None,
            }
        )
    return told
