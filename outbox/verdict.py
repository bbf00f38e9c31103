"""What is the matter with an event, in one sentence, and what a person can do. Pure: from the rows of its story, without a clock.

The words are the same for API, command line and console.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from outbox.db import Record

JITTER = 1.35  # a wait that is longer than its schedule and the most of its jitter was asked for by the far side


class Cause(StrEnum):
    """What kind of thing dead letters died of."""

    KILLED = "killed"
    BURIED = "buried"
    PAYLOAD = "payload"
    UNAUTHORISED = "unauthorised"
    REFUSED = "refused"
    SLOW = "too slow"
    GAVE_UP = "gave up"
    CODE = "our code"
    OTHER = "other"


_THE_REST = "then retry one, and the rest after it."
# What a reason means for whoever has to put it right; the first that fits.
_ADVICE: Sequence[tuple[Cause, re.Pattern[str], str]] = (
    (
        Cause.KILLED,
        re.compile(r"killed its process"),
        "Its handler ended its process three times. Read the worker's log of that time and deploy a fix before it is retried.",
    ),
    (Cause.BURIED, re.compile(r"^buried by "), "A person buried it. Retry it when its cause is gone, or discard it."),
    (
        Cause.PAYLOAD,
        re.compile(r"payload is not as expected"),
        f"The payload has another form than the handler expects. Look at the example, fix the handler or the sender, {_THE_REST}",
    ),
    (
        Cause.UNAUTHORISED,
        re.compile(r"answered 40[13]"),
        f"The destination does not let us in. Check its credential and what the credential may do, {_THE_REST}",
    ),
    (
        Cause.REFUSED,
        re.compile(r"answered 4(?:00|22)|refused"),
        f"The destination refused the content. Put the data right there, or where it came from, {_THE_REST}",
    ),
    (
        Cause.SLOW,
        re.compile(r"took longer than"),
        "Its handler did not end within its deadline. Look whether the destination is slow; finished steps are not repeated by a retry.",
    ),
    (Cause.GAVE_UP, re.compile(r"\(after \d+ failures\)"), f"It was tried for about a day. If the destination is well again, {_THE_REST}"),
    (Cause.CODE, re.compile(r"^[A-Za-z_.]+(?:Error|Exception): "), f"Its handler's own code failed. Deploy a fix, {_THE_REST}"),
)
_OTHERWISE = f"Read the reason and the example's timeline. If the cause is gone, {_THE_REST} If it never will be, discard them."


def in_words(note: str) -> str:
    """A note as people read it. What a handler returned is kept as JSON: `{"contact": "created"}` is "contact created"."""
    if not note.startswith("{"):
        return note
    try:
        return _members(json.loads(note)) or note
    except ValueError:
        return note


def _members(told: Mapping[str, Any]) -> str:
    """Each with what it says; what is not so, or empty, is left out."""
    return ", ".join(_member(name, value) for name, value in told.items() if value or (value == 0 and value is not False))


def _member(name: str, value: object) -> str:
    match value:
        case True:
            return name
        case dict():
            return f"{name} ({_members(value)})"
        case list():
            return f"{name} {' '.join(map(str, value))}"
    return f"{name} {value}"


def advice(reason: str) -> str:
    """What to do about dead letters with this reason."""
    return next((text for _, pattern, text in _ADVICE if pattern.search(reason)), _OTHERWISE)


def cause(reason: str) -> Cause:
    """What kind of thing a reason is."""
    return next((one for one, pattern, _ in _ADVICE if pattern.search(reason)), Cause.OTHER)


def verdict(event: Record | Mapping[str, Any], *, steps_done: int = 0, reason_of_time: str | None = None) -> str:
    """One sentence about an event (a row of events.one() with its state)."""
    why, attempts = (event["why"] or "").removesuffix("."), event["attempts"]
    when = f" {reason_of_time}." if reason_of_time else ""
    match event["mark"]:
        case "ready":
            return "It is ready: the next free worker takes it."
        case "running":
            return f"Attempt {attempts} is under way."
        case "retry":
            again = "" if "tried again" in why else " It is tried again by itself."  # a reason of ours may say it already
            return f"{_attempts(attempts)} failed: {why}.{again}{when}"
        case "snoozed":
            return f"It was put off: {why}. It runs again by itself.{when}"
        case "delayed":
            return "It was staged for later, or taken out of its lane until its time."
        case "behind":
            return f"It waits {why}: events of one lane run one after the other."
        case "held":
            return f"It is {why}, which does not flow now. No attempt is spent; it runs when the destination flows again."
        case "done":
            return f"It is done, after {_attempts(attempts).lower()}." if attempts else "It is done."
        case "skipped":
            return f"Nothing was done, on purpose: {why}."
        case "dead":
            kept = f" {steps_done} finished {'step is' if steps_done == 1 else 'steps are'} not repeated by a retry." if steps_done else ""
            return f"It is a dead letter after {_attempts(attempts).lower()}: {why}.{kept}"
    return "It is in none of the places where an event can be. That must not happen: keep the database as it is and report it."


def may(event: Record | Mapping[str, Any]) -> tuple[str, ...]:
    """What a person can do with an event as it is now."""
    match event["mark"]:
        case "retry" | "snoozed":
            return ("run", "bury", "release")
        case "delayed":
            return ("run", "bury")
        case "ready" | "behind" | "held":
            return ("bury",)
        case "done" | "skipped":
            return ("replay",)
        case "dead":
            return ("retry", "discard")
    return ()


def reason_of_time(event: Record | Mapping[str, Any], waited_from: datetime | None) -> str | None:
    """Why its next attempt is when it is; None: it waits for no time, or nobody knows."""
    if event["mark"] != "retry" or event["until"] is None or not event["failures"] or not event["schedule_s"]:
        return None
    number, schedule = event["failures"], event["schedule_s"]
    planned = schedule[min(number, len(schedule)) - 1]
    if waited_from is not None and (asked := (event["until"] - waited_from).total_seconds()) > planned * JITTER + 1:
        return f"The destination asked for {asked:.0f} s"
    return f"That is retry {number} of {len(schedule)}, {planned:g} s after the failure and up to a third later"


def _attempts(number: int) -> str:
    return f"Attempt {number}" if number != 1 else "The first attempt"
