"""When people are told: only when a state has changed, and has lasted. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

WELL: Final = "ok"
SOON_S, LASTING_S = 0.0, 60.0  # a provider's no is sure at once; a rate swings


class Act(StrEnum):
    SEE = "see"  # it looks different, or its words have changed
    TELL = "tell"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Condition:
    """A thing that can be wrong, as it looks now. `runbook`: the page that says what to do; `patience_s`: how long it must last."""

    name: str
    state: str
    detail: str
    runbook: str
    patience_s: float = SOON_S


class Known(Protocol):
    """What people were told, and how it has looked since."""

    @property
    def state(self) -> str: ...
    @property
    def seen(self) -> str: ...
    @property
    def seen_s(self) -> float: ...
    @property
    def detail(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Step:
    """What to do about one condition."""

    act: Act
    condition: Condition


def changes(conditions: Sequence[Condition], known: Mapping[str, Known]) -> Iterator[Step]:
    """What is to be done, in order. A thing that is known and that nobody names any more is well again."""
    named = {condition.name for condition in conditions}
    gone = [Condition(name, WELL, "well again", _page(name)) for name in known if name not in named]
    for condition in (*conditions, *gone):
        yield from _of(condition, known.get(condition.name))


def _of(now: Condition, known: Known | None) -> Iterator[Step]:
    if known is None:
        if now.state == WELL:
            return
        yield Step(Act.SEE, now)
        if now.patience_s == 0:
            yield Step(Act.TELL, now)
        return
    if known.seen != now.state or (known.detail != now.detail and now.state != WELL):
        yield Step(Act.SEE, now)
    lasted_s = known.seen_s if known.seen == now.state else 0.0
    if known.state != now.state and lasted_s >= now.patience_s:
        yield Step(Act.TELL, now)
    if now.state == WELL and (known.state == WELL or lasted_s >= now.patience_s):
        yield Step(Act.FORGET, now)


def _page(name: str) -> str:
    return name.partition(":")[0]
