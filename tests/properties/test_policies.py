"""The pure policies under simulated use, beyond what tests/dispatcher proves of each function by itself.

A failing event's whole way, live and bulk work on one credential, a far side that counts, a destination that breaks and heals.
"""

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.policy.breaker import OPENS_AFTER, Breaker, Phase, Verdict, probing, record
from dispatcher.policy.ratelimit import DAY_S, GHL_RATE, Bucket, Rate, ghl_limits, pause_s, take
from dispatcher.policy.retry import RetryPolicy
from tests.dispatcher import patient
from tests.dispatcher.buckets import full, rest
from tests.dispatcher.test_retry_policy import policies

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
LIVE, BULK = 0, 1

# ── retry


@patient
@given(policies, st.lists(st.none() | st.floats(0, 3 * DAY_S), max_size=60), st.randoms(use_true_random=False))
def test_an_event_that_fails_for_ever_is_tried_as_often_as_planned_never_too_early_and_then_buried(
    policy: RetryPolicy, asked: list[float | None], rng: random.Random
) -> None:
    """Whatever the far side asks for in between: it can put a retry off, for at most a day, and never adds or saves one."""
    planned_s, waited_s, failures = policy.schedule_s(), 0.0, 1
    while True:
        asked_s = asked[failures - 1] if failures <= len(asked) else None
        delay_s = policy.next_delay_s(failures, rng=rng, retry_after_s=asked_s)
        if delay_s is None:
            break
        own_s = planned_s[failures - 1]
        assert max(own_s, min(asked_s or 0, DAY_S)) <= delay_s <= max(own_s * (1 + policy.jitter) * (1 + 1e-12), min(asked_s or 0, DAY_S))
        waited_s, failures = waited_s + delay_s, failures + 1
    assert failures == len(planned_s) + 1
    assert sum(planned_s) <= waited_s * (1 + 1e-9)


@patient
@given(st.randoms(use_true_random=False))
def test_the_default_gives_up_after_about_a_day_whatever_the_dice_say(rng: random.Random) -> None:
    delays_s = [delay_s for n in range(1, 100) if (delay_s := RetryPolicy().next_delay_s(n, rng=rng)) is not None]
    assert 0.9 * DAY_S < sum(delays_s) < 1.3 * DAY_S


# ── rate limit


@patient
@given(
    st.builds(Rate, per_s=st.floats(0.5, 50), burst=st.integers(4, 50)),
    st.lists(st.tuples(st.floats(1, 3), st.lists(st.floats(0, 1), max_size=20).map(sorted)), max_size=30),
)
def test_live_work_at_the_pace_of_the_budget_never_waits_whatever_bulk_work_asks_for(
    rate: Rate, turns: list[tuple[float, list[float]]]
) -> None:
    """Between two live calls, as far apart as the pace allows or farther, bulk work asks as often as it likes."""
    bucket, now = full(rate, now=NOW), NOW
    for gap, greedy in turns:
        gap_s = gap / rate.per_s
        for share in greedy:
            bucket, _ = take(bucket, rate, now=now + timedelta(seconds=share * gap_s), urgency=BULK)
        now += timedelta(seconds=gap_s)
        bucket, wait_s = take(bucket, rate, now=now, urgency=LIVE)
        assert wait_s == 0


numbers = st.integers(0, 120).map(str)
answers = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": st.integers(0, 400).map(str),
        "x-ratelimit-max": numbers,
        "x-ratelimit-remaining": numbers,
        "x-ratelimit-interval-milliseconds": st.integers(0, 60_000).map(str),
        "x-ratelimit-daily-remaining": st.sampled_from(["0", "1", "150000"]),
        "x-ratelimit-daily-reset": st.integers(0, 90_000_000).map(str),
    },
)


@patient
@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 1), answers, st.sampled_from([200, 200, 429, 503, 529])), max_size=60))
def test_no_call_is_made_before_the_rest_that_any_answer_asked_for_is_over(turns: list[tuple[float, int, dict[str, str], int]]) -> None:
    bucket, now, closed_until, granted = full(GHL_RATE, now=NOW), NOW, NOW, []
    for later_s, urgency, headers, status in turns:
        now += timedelta(seconds=later_s)
        bucket, wait_s = take(bucket, GHL_RATE, now=now, urgency=urgency)
        if wait_s > 0:
            continue
        assert now >= closed_until
        granted.append(now)
        asked_s = pause_s(ghl_limits(headers, now=now), status)
        if status == 429:
            assert (
                asked_s >= max(1.0, min(float(headers.get("retry-after", 0)), DAY_S)) or headers.get("x-ratelimit-daily-remaining") == "0"
            )
        bucket = rest(bucket, now=now, for_s=asked_s)
        closed_until = max(closed_until, now + timedelta(seconds=asked_s))
    for n, first in enumerate(granted):  # and our own pace holds through all rests
        for m in range(n, len(granted)):
            assert m - n + 1 <= GHL_RATE.burst + GHL_RATE.per_s * (granted[m] - first).total_seconds() + 1e-3


@dataclass
class FarSide:
    """Counts a window of `length_s` that begins with its first call; says what is left, and refuses what is over."""

    length_s: float = 10.0
    most: int = 100
    began: datetime = NOW
    used: int = 0
    refused: int = 0

    def call(self, now: datetime) -> tuple[dict[str, str], int]:
        if (now - self.began).total_seconds() >= self.length_s:
            self.began, self.used = now, 0
        is_over = self.used >= self.most
        self.used += not is_over
        self.refused += is_over
        headers = {
            "x-ratelimit-max": str(self.most),
            "x-ratelimit-remaining": str(self.most - self.used),
            "x-ratelimit-interval-milliseconds": str(int(self.length_s * 1000)),
        }
        return headers, 429 if is_over else 200


@patient
@given(st.lists(st.floats(0, 2) | st.just(0.0), min_size=1, max_size=40), st.lists(st.integers(0, 1), min_size=1, max_size=7))
def test_a_caller_that_obeys_headers_and_pace_is_never_refused(pauses_s: list[float], urgencies: list[int]) -> None:
    """However greedy: it asks again the moment it may. Our pace alone would allow 120 calls in a window of 100."""
    far_side, bucket, now = FarSide(), full(GHL_RATE, now=NOW), NOW
    for n in range(400):
        now += timedelta(seconds=pauses_s[n % len(pauses_s)] if n % 10 == 0 else 0)
        bucket, wait_s = take(bucket, GHL_RATE, now=now, urgency=urgencies[n % len(urgencies)])
        if wait_s:
            now += timedelta(seconds=wait_s)
            continue
        headers, status = far_side.call(now)
        bucket = rest(bucket, now=now, for_s=pause_s(ghl_limits(headers, now=now), status))
    assert far_side.refused == 0


@patient
@given(
    st.builds(Rate, per_s=st.floats(0.1, 50), burst=st.integers(1, 50)),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 1), st.floats(0, 20)), max_size=60),
)
def test_whoever_comes_back_when_it_was_told_to_is_served_in_the_end(rate: Rate, turns: list[tuple[float, int, float]]) -> None:
    """Nobody else asking meanwhile, one wait is enough, through rests and all: a budget delays, it never forgets."""
    bucket: Bucket = full(rate, now=NOW)
    now = NOW
    for later_s, urgency, rests_s in turns:
        now += timedelta(seconds=later_s)
        bucket = rest(bucket, now=now, for_s=rests_s)
        for _ in range(3):  # a rest, then the refill, then the token
            bucket, wait_s = take(bucket, rate, now=now, urgency=urgency)
            if wait_s == 0:
                break
            assert math.isfinite(wait_s)
            now += timedelta(seconds=wait_s) + timedelta(microseconds=1)
        assert wait_s == 0


# ── breaker

LEGAL = {
    (Phase.OPEN, "probes", Phase.PROBING),
    (Phase.PROBING, "probes", Phase.PROBING),
    (Phase.CLOSED, Verdict.ANSWERED, Phase.CLOSED),
    (Phase.OPEN, Verdict.ANSWERED, Phase.CLOSED),
    (Phase.PROBING, Verdict.ANSWERED, Phase.CLOSED),
    (Phase.CLOSED, Verdict.FAILED, Phase.CLOSED),
    (Phase.CLOSED, Verdict.FAILED, Phase.OPEN),
    (Phase.OPEN, Verdict.FAILED, Phase.OPEN),
    (Phase.PROBING, Verdict.FAILED, Phase.OPEN),
    (Phase.CLOSED, Verdict.LOCKED_OUT, Phase.OPEN),
    (Phase.OPEN, Verdict.LOCKED_OUT, Phase.OPEN),
    (Phase.PROBING, Verdict.LOCKED_OUT, Phase.OPEN),
}


@patient
@given(st.lists(st.tuples(st.sampled_from([*Verdict, "probes"]), st.floats(-400, 400)), max_size=80), st.randoms(use_true_random=False))
def test_whatever_happens_in_whatever_order_only_legal_moves_are_made(history: list[tuple[str, float]], rng: random.Random) -> None:
    """The clock may step back."""
    state, now = Breaker(), NOW
    for cause, later_s in history:
        now += timedelta(seconds=later_s)
        if cause == "probes" and state.phase is Phase.CLOSED:
            continue
        after = record(state, cause, now=now, rng=rng) if isinstance(cause, Verdict) else probing(1, now=now)
        assert (state.phase, cause, after.phase) in LEGAL
        assert (after.phase is Phase.CLOSED) is (after.until is None)
        assert after.phase is not Phase.CLOSED or after.failures < OPENS_AFTER
        state = after


@patient
@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_the_longer_it_is_down_the_rarer_it_is_asked_but_it_is_asked_for_ever(outages: int, rng: random.Random) -> None:
    state, now, waits_s = Breaker(), NOW, []
    for _ in range(OPENS_AFTER):
        state = record(state, Verdict.FAILED, now=now, rng=rng)
    for n in range(1, outages + 1):
        assert state.until is not None
        waits_s.append((state.until - now).total_seconds())
        now = state.until
        state = record(probing(n, now=now), Verdict.FAILED, now=now, rng=rng)
    assert all(later >= earlier / 1.3 - 1e-6 for earlier, later in pairwise(waits_s))
    assert max(waits_s) <= 60 * 1.3
