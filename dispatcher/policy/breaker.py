"""The circuit breaker of one destination, as a pure state machine. It does no I/O: the shared state is a row elsewhere.

             5 failures in a row, or locked out
    CLOSED ──────────────────────────────────────▶ OPEN ◀──┐
      ▲                                              │ due │ failed: twice the period, up to a minute
      │ answered                                     ▼     │ locked out: five minutes
      └────────────────────────────────────────── PROBING ─┘

Who may probe, and when a probe is given up, is decided where the state is shared (outbox.destinations).
While it is open no event of the destination is started, no attempt is spent and nothing is buried.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

OPENS_AFTER: Final = 5
FIRST_OPEN_S: Final = 5.0
LONGEST_OPEN_S: Final = 60.0
LOCKED_OUT_S: Final = 300.0
JITTER: Final = 0.3


class Verdict(StrEnum):
    """What one call says about its destination."""

    ANSWERED = "answered"  # it works, even if it refused this request
    FAILED = "failed"  # it does not work, or nobody knows
    LOCKED_OUT = "locked out"  # it does not take our token


class Phase(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


@dataclass(frozen=True, slots=True)
class Breaker:
    """`failures`: in a row. `until`: OPEN = no call before it, PROBING = since when, CLOSED = None."""

    phase: Phase = Phase.CLOSED
    failures: int = 0
    until: datetime | None = None

    def __post_init__(self) -> None:
        if (self.until is None) is not (self.phase is Phase.CLOSED):
            raise ValueError("a breaker that is not closed says until when")


def record(state: Breaker, verdict: Verdict, *, now: datetime, rng: random.Random) -> Breaker:
    """The state after a call ended with `verdict` (each RemoteError carries its own)."""
    match verdict:
        case Verdict.ANSWERED:
            return Breaker()
        case Verdict.LOCKED_OUT:
            period_s = open_period_s(1, rng=rng, locked_out=True)
        case Verdict.FAILED if state.phase is Phase.OPEN:
            return state  # a call that began before it opened: no news
        case Verdict.FAILED if state.phase is Phase.CLOSED and state.failures + 1 < OPENS_AFTER:
            return Breaker(failures=state.failures + 1)
        case Verdict.FAILED:
            period_s = open_period_s(state.failures + 2 - OPENS_AFTER, rng=rng)
    return Breaker(Phase.OPEN, state.failures + 1, now + timedelta(seconds=period_s))


def probing(opened: int, *, now: datetime) -> Breaker:
    """The state while one event tries, after it opened so many times in a row."""
    return Breaker(Phase.PROBING, OPENS_AFTER - 1 + opened, now)


def open_period_s(opened: int, *, rng: random.Random, locked_out: bool = False) -> float:
    """How long it stays open the `opened`-th time in a row (1 is the first).

    Jitter only lengthens, so that several destinations behind one gateway do not probe together.
    """
    period_s = LOCKED_OUT_S if locked_out else min(LONGEST_OPEN_S, FIRST_OPEN_S * 2.0 ** min(max(0, opened - 1), 16))
    return period_s * (1 + JITTER * rng.random())
