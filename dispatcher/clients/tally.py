"""How many calls a task made, and what the far side said is left of the day. Set by whoever wants to know; the HTTP client counts."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """`quota_left`, and of how many a day: None, no answer said so."""

    calls: int = 0
    quota_left: int | None = None
    quota: int | None = None


tally: ContextVar[Tally | None] = ContextVar("tally", default=None)
