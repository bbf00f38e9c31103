"""The circuit breaker: when it opens, how long, and that an answer closes it."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import AnswerLost, Failed, Forbidden, Gone, Misused, RateLimited, Refused, RemoteError, Unauthorised, Unavailable
from dispatcher.policy.breaker import LOCKED_OUT_S, LONGEST_OPEN_S, OPENS_AFTER, Breaker, Phase, Verdict, probing, record
from tests.dispatcher import patient

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)

# What happened, and how many seconds after the thing before it (the clock may step back).
histories = st.lists(st.tuples(st.sampled_from([*Verdict, None]), st.floats(-400, 400)), max_size=60)


class NoJitter(random.Random):
    def random(self) -> float:
        return 0.0


def opened(failures: int = OPENS_AFTER, *, now: datetime = NOW) -> Breaker:
    state = Breaker()
    for _ in range(failures):
        state = record(state, Verdict.FAILED, now=now, rng=NoJitter())
    return state


def open_for_s(state: Breaker, *, now: datetime = NOW) -> float:
    assert state.until is not None
    return (state.until - now).total_seconds()


def test_five_failures_in_a_row_open_it_for_five_seconds() -> None:
    assert opened(OPENS_AFTER - 1).phase is Phase.CLOSED
    assert opened().phase is Phase.OPEN
    assert open_for_s(opened()) == 5


def test_four_failures_and_an_answer_count_for_nothing() -> None:
    state = record(opened(OPENS_AFTER - 1), Verdict.ANSWERED, now=NOW, rng=NoJitter())
    assert state == Breaker()


def test_each_failed_probe_doubles_the_period_up_to_a_minute() -> None:
    state, now, periods = opened(), NOW, []
    for n in range(1, 8):
        periods.append(open_for_s(state, now=now))
        now = state.until or now
        state = record(probing(n, now=now), Verdict.FAILED, now=now, rng=NoJitter())
    assert periods == [5, 10, 20, 40, 60, 60, 60]


def test_a_successful_probe_closes_it() -> None:
    assert record(probing(1, now=NOW), Verdict.ANSWERED, now=NOW, rng=NoJitter()) == Breaker()


def test_a_dead_token_opens_it_at_once_for_five_minutes() -> None:
    state = record(Breaker(), Verdict.LOCKED_OUT, now=NOW, rng=NoJitter())
    assert (state.phase, open_for_s(state)) == (Phase.OPEN, LOCKED_OUT_S)


def test_calls_that_were_under_way_when_it_opened_do_not_lengthen_the_period() -> None:
    assert record(opened(), Verdict.FAILED, now=NOW + timedelta(seconds=3), rng=NoJitter()) == opened()


@patient
@given(histories, st.randoms(use_true_random=False))
def test_it_never_opens_without_five_failures_in_a_row_or_a_dead_token(
    history: list[tuple[Verdict | None, float]], rng: random.Random
) -> None:
    state, now, in_a_row = Breaker(), NOW, 0
    for verdict, later_s in history:
        now += timedelta(seconds=later_s)
        before = state
        if verdict is None:
            state = state if state.phase is Phase.CLOSED else probing(1, now=now)
            continue
        state = record(state, verdict, now=now, rng=rng)
        in_a_row = in_a_row + 1 if verdict is Verdict.FAILED else 0
        if before.phase is Phase.CLOSED and state.phase is not Phase.CLOSED:
            assert verdict is Verdict.LOCKED_OUT or in_a_row >= OPENS_AFTER
        if verdict is Verdict.ANSWERED:
            assert state == Breaker()


@patient
@given(histories, st.randoms(use_true_random=False))
def test_the_open_period_is_bounded(history: list[tuple[Verdict | None, float]], rng: random.Random) -> None:
    state, now = Breaker(), NOW
    for verdict, later_s in history:
        now += timedelta(seconds=later_s)
        if verdict is None:
            state = state if state.phase is Phase.CLOSED else probing(1, now=now)
            continue
        before, state = state, record(state, verdict, now=now, rng=rng)
        if state.phase is Phase.OPEN and state != before:
            longest_s = LOCKED_OUT_S if verdict is Verdict.LOCKED_OUT else LONGEST_OPEN_S
            assert 5 <= open_for_s(state, now=now) <= longest_s * 1.3


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.PROBING])
def test_a_breaker_that_is_not_closed_says_until_when(phase: Phase) -> None:
    with pytest.raises(ValueError, match="until when"):
        Breaker(phase)
    with pytest.raises(ValueError, match="until when"):
        Breaker(Phase.CLOSED, until=NOW)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Unavailable, Verdict.FAILED),
        (Failed, Verdict.FAILED),
        (AnswerLost, Verdict.FAILED),
        (Unauthorised, Verdict.LOCKED_OUT),
        (RateLimited, Verdict.ANSWERED),
        (Refused, Verdict.ANSWERED),
        (Forbidden, Verdict.ANSWERED),
        (Misused, Verdict.ANSWERED),
        (Gone, Verdict.ANSWERED),
    ],
)
def test_only_errors_of_the_destination_itself_count_against_it(error: type[RemoteError], verdict: Verdict) -> None:
    assert error.verdict is verdict
