"""The retry schedule: what it promises, whatever the policy and the random numbers."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.policy.retry import DAY_S, RetryPolicy, spell
from tests.dispatcher import patient

policies = st.builds(
    RetryPolicy,
    quick=st.integers(0, 40),
    base_s=st.floats(0, 5),
    factor=st.floats(1, 10),
    cap_s=st.floats(0, 60),
    jitter=st.floats(0, 2),
    slow_s=st.lists(st.floats(60, 5 * 86_400), max_size=10).map(lambda delays: tuple(sorted(delays))),
)
hostile = st.floats() | st.none()


def delays_s(policy: RetryPolicy, rng: random.Random) -> list[float]:
    given_s = [policy.next_delay_s(n, rng=rng) for n in range(1, len(policy.schedule_s()) + 1)]
    return [delay_s for delay_s in given_s if delay_s is not None]


def test_the_default_is_the_booking_sites_three_quick_retries_then_slowly_to_about_a_day() -> None:
    policy = RetryPolicy(jitter=0)
    assert delays_s(policy, random.Random(1)) == [1, 2, 4, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 28800]
    assert 0.9 * DAY_S < sum(policy.schedule_s()) < 1.1 * DAY_S


def test_jitter_keeps_the_default_near_a_day() -> None:
    for seed in range(50):
        assert 0.9 * DAY_S < sum(delays_s(RetryPolicy(), random.Random(seed))) < 1.3 * DAY_S


def test_quick_retries_stop_growing_at_the_cap() -> None:
    assert RetryPolicy(quick=8, slow_s=()).schedule_s() == (1, 2, 4, 8, 16, 30, 30, 30)


@patient
@given(policies)
def test_without_jitter_delays_never_get_shorter(policy: RetryPolicy) -> None:
    plain = RetryPolicy(policy.quick, policy.base_s, policy.factor, policy.cap_s, 0, policy.slow_s)
    assert all(earlier <= later for earlier, later in pairwise(delays_s(plain, random.Random(0))))


@patient
@given(policies, st.randoms(use_true_random=False))
def test_jitter_only_lengthens_and_only_by_its_share(policy: RetryPolicy, rng: random.Random) -> None:
    for planned_s, delay_s in zip(policy.schedule_s(), delays_s(policy, rng), strict=True):
        assert planned_s <= delay_s <= planned_s * (1 + policy.jitter) * (1 + 1e-12)


@patient
@given(policies, st.integers(1, 60), st.randoms(use_true_random=False), hostile)
def test_a_delay_is_finite_and_never_negative_whatever_the_far_side_asks(
    policy: RetryPolicy, failures: int, rng: random.Random, asked_s: float | None
) -> None:
    delay_s = policy.next_delay_s(failures, rng=rng, retry_after_s=asked_s)
    assert delay_s is None or (delay_s >= 0 and math.isfinite(delay_s))


@patient
@given(policies, hostile)
def test_a_policy_is_exhausted_once_and_for_good(policy: RetryPolicy, asked_s: float | None) -> None:
    rng = random.Random(0)
    over = [policy.next_delay_s(n, rng=rng, retry_after_s=asked_s) is None for n in range(1, len(policy.schedule_s()) + 5)]
    assert over == sorted(over)
    assert over.index(True) == len(policy.schedule_s())


@patient
@given(st.floats(0, DAY_S), st.integers(1, 12), st.integers(0, 9))
def test_retry_after_wins_when_it_is_longer(asked_s: float, failures: int, seed: int) -> None:
    own_s = RetryPolicy().next_delay_s(failures, rng=random.Random(seed))
    assert own_s is not None
    assert RetryPolicy().next_delay_s(failures, rng=random.Random(seed), retry_after_s=asked_s) == max(own_s, asked_s)


def test_retry_after_cannot_put_an_event_to_sleep_for_longer_than_a_day() -> None:
    assert RetryPolicy().next_delay_s(1, rng=random.Random(0), retry_after_s=1e18) == DAY_S


def test_a_delay_without_a_failure_is_a_broken_rule() -> None:
    with pytest.raises(ValueError, match="count the first one as 1"):
        RetryPolicy().next_delay_s(0, rng=random.Random(0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"quick": -1},
        {"factor": 0.5},
        {"base_s": -1},
        {"jitter": math.nan},
        {"slow_s": (60, math.inf)},
        {"slow_s": (600, 60)},
        {"slow_s": (1,)},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="retry policy"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_the_schedule_describes_itself() -> None:
    assert RetryPolicy().describe() == (
        "3 quick retries after 1 s, 2 s, 4 s; then 9 slow retries after 1 min, 5 min, 15 min, 30 min, 1 h, 2 h, 4 h, 8 h, 8 h, "
        "each up to 30% later; 12 retries in all over about 23 h 51 min; then the event is buried"
    )
    assert RetryPolicy(quick=1, jitter=0, slow_s=()).describe() == (
        "1 quick retry after 1 s; 1 retry in all over about 1 s; then the event is buried"
    )
    assert RetryPolicy(quick=0, slow_s=()).describe() == "no retries: the first failure buries the event"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 s"), (59.6, "1 min"), (90, "1 min 30 s"), (3_600, "1 h"), (5_400, "1 h 30 min"), (85_867, "23 h 51 min"), (7_199.9, "2 h")],
)
def test_durations_are_spelt_as_people_say_them(seconds: float, words: str) -> None:
    assert spell(seconds) == words
