"""The overview's first sentence: how much needs a person, what is dead, at work and waiting, and what the oldest waits for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outbox.event import Mark
from receiver.console import words


@dataclass(frozen=True, slots=True)
class Verdict:
    """A shape and a sentence without its full stop. `oldest`: the event that has waited longest; `because`: for how long, and why."""

    shape: str
    said: str
    oldest: int | None = None
    because: str = ""


def verdict(needs: int, counts: Mapping[str, int] | None, oldest: Mapping[str, Any] | None, *, now: datetime) -> Verdict:
    """`counts` None: not everything could be read. `oldest` is what outbox.store.console.oldest() says."""
    if counts is None:
        return Verdict("retry", "Not everything could be read; what is shown below is what is known")
    waits = counts["pending"] + counts["waiting"] + counts["held"] + counts["delayed"]
    said = words.plural(needs, "thing needs you", "things need you") if needs else "Nothing needs you"
    rest = f"{words.plural(counts['dead'], 'event')} dead, {words.count(counts['running'])} at work; {words.count(waits)} wait"
    shape = "dead" if needs else "done"
    why = None if oldest is None or not waits else waits_for(oldest, workers=counts["workers"], now=now)
    if oldest is None or why is None:
        return Verdict(shape, f"{said}. {rest}")
    age = words.age((now - oldest["staged_at"]).total_seconds())
    return Verdict(shape, f"{said}. {rest}", oldest["id"], f"for {age} because {why}")


def waits_for(event: Mapping[str, Any], *, workers: int, now: datetime) -> str | None:
    """Why a pending event waits, as a clause; None: it does not, any more."""
    is_due = event["until"] is None or event["until"] <= now
    again = "now" if is_due else words.ago(event["until"], now)
    match event["mark"]:
        case Mark.READY | Mark.BEHIND | Mark.RETRY | Mark.SNOOZED | Mark.DELAYED if is_due and not workers:
            return "no dispatcher is at work"
        case Mark.READY:
            return "no dispatcher has taken it yet"
        case Mark.BEHIND:
            return f"it is {event['why']}"
        case Mark.HELD:
            return _stands(event)
        case Mark.RETRY:
            return f"it is tried again {again}: {words.brief(event['why'], 80)}"  # what to do about it is on its page
        case Mark.SNOOZED:
            return f"it asked to be run again {again}"
        case Mark.DELAYED:
            return f"it is due {again}"
        case _:
            return None


def _stands(event: Mapping[str, Any]) -> str:
    name = event["destination"]
    match event["state"]:
        case "paused":
            return f"{name} is paused by {event['by_whom']}"
        case "unauthorised":
            return f"{name} does not accept our credential"
        case "open":
            return f"{name} is held back by its breaker"
        case _:
            return f"it is {event['why']}"
