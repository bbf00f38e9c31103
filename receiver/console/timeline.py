"""The timeline of one event as the why page draws it: offsets, bars to one scale, and attempts that went alike folded into one line. Pure.

    wait     dotted   nobody worked on it
    attempt  light    ours, its calls included
    step     solid    a call to the far side

Reads the entries of outbox.timeline.story(); adds nothing to what they say.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from receiver.console.charts import Span, spans

Entry: TypeAlias = Mapping[str, Any]
FOLD_OVER = 2  # alike attempts between the first and the last of them
_TOOK = re.compile(r"\d+(?:\.\d+)? (?:ms|s|min)\b")
_MADE_BY_PEOPLE = frozenset({"replay", "bury", "discard"})


@dataclass(frozen=True, slots=True)
class Line:
    """An entry, when it was, how long after the event was staged, and its bar; None: it took no time."""

    entry: Entry
    at: datetime
    offset_s: float
    bar: Span | None


@dataclass(frozen=True, slots=True)
class Part:
    """Lines that are shown, or folded behind `said`."""

    lines: tuple[Line, ...]
    said: str | None = None


def draw(entries: Sequence[Entry]) -> tuple[Part, ...]:
    """The parts of a timeline, oldest first."""
    if not entries:
        return ()
    moments = [datetime.fromisoformat(entry["at"]) for entry in entries]
    began = moments[0]
    offsets = [max(0.0, (moment - began).total_seconds()) for moment in moments]
    took = [(entry.get("took_ms") or 0) / 1000 for entry in entries]
    bars = spans(list(zip(offsets, took, strict=True)))
    lines = [Line(*four) for four in zip(entries, moments, offsets, bars, strict=True)]
    return tuple(_folded(_attempts(lines)))


def _attempts(lines: Sequence[Line]) -> list[list[Line]]:
    """Cut before each attempt and each act of a person: its steps and the wait after it belong to it."""
    found: list[list[Line]] = [[]]
    for line in lines:
        if line.entry["what"] == "attempt" or line.entry["what"] in _MADE_BY_PEOPLE:
            found.append([])
        found[-1].append(line)
    return [one for one in found if one]


def _folded(attempts: Sequence[list[Line]]) -> list[Part]:
    parts: list[Part] = []
    at = 0
    while at < len(attempts):
        end = at + 1
        while end < len(attempts) and _alike(attempts[at], attempts[end]):
            end += 1
        inner = attempts[at + 1 : end - 1]
        if len(inner) >= FOLD_OVER:
            parts.append(Part(tuple(attempts[at])))
            parts.append(Part(tuple(line for one in inner for line in one), f"{len(inner)} more attempts that went the same way"))
            parts.append(Part(tuple(attempts[end - 1])))
        else:
            parts.append(Part(tuple(line for one in attempts[at:end] for line in one)))
        at = end
    return parts


def _alike(one: Sequence[Line], other: Sequence[Line]) -> bool:
    """The same happened in both; how long it took does not count, nor how long was waited."""
    return one[0].entry["what"] == "attempt" and _essence(one) == _essence(other)


def _essence(lines: Sequence[Line]) -> list[tuple[object, ...]]:
    return [_happened(line.entry) for line in lines if line.entry["what"] != "wait"]


def _happened(entry: Entry) -> tuple[object, ...]:
    if entry["what"] == "attempt":
        return ("attempt", entry["outcome"], entry["note"])
    return (entry["what"], _TOOK.sub("", entry["text"]))
