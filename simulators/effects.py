"""What a simulator was made to do, counted so that a test can say "exactly one note".

Only changes made through the provider's own API are effects; what a test arranges under `/_sim/` is not.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from simulators.shapes import Clock, JsonObject, utc_now

# What a client writes into a note or task to find it again after a lost answer.
_MARKER = re.compile(r"postroom:[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Effect:
    """One change, done whether or not its answer reached anybody. `object_id` is what it was done to: a note's contact, a page."""

    kind: str
    object_id: str
    at: datetime
    refs: Mapping[str, str]
    text: str

    def matches(self, kind: str | None, containing: str | None, refs: Mapping[str, str]) -> bool:
        return (
            (kind is None or self.kind == kind)
            and (containing is None or containing in self.text)
            and all(self.refs.get(name) == value for name, value in refs.items())
        )


class Effects:
    """All effects of one simulator, in the order in which they happened."""

    def __init__(self, *, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._all: list[Effect] = []
        self._by_marker: Counter[str] = Counter()

    def add(self, kind: str, object_id: str, *, text: str = "", **refs: str) -> None:
        """Record one effect. `text` is given by creations only, or a later edit would count its marker twice."""
        self._all.append(Effect(kind, object_id, self._clock(), refs, text))
        self._by_marker.update(_MARKER.findall(text))

    def list(self, kind: str | None = None, *, containing: str | None = None, **refs: str) -> tuple[Effect, ...]:
        """Effects of a kind, about these ids (`contact_id=…`), whose text contains something (a marker)."""
        return tuple(effect for effect in self._all if effect.matches(kind, containing, refs))

    def count(self, kind: str | None = None, *, containing: str | None = None, **refs: str) -> int:
        return sum(effect.matches(kind, containing, refs) for effect in self._all)

    def totals(self) -> JsonObject:
        """Numbers per kind, per kind and object, and per marker found in created texts."""
        objects: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for effect in self._all:
            objects[effect.kind][effect.object_id] += 1
        return {
            "total": len(self._all),
            "kinds": {kind: counts.total() for kind, counts in objects.items()},
            "objects": {kind: dict(counts) for kind, counts in objects.items()},
            "markers": dict(self._by_marker),
        }

    def clear(self) -> None:
        self._all.clear()
        self._by_marker.clear()
