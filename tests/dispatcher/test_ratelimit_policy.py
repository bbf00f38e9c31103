"""Limits as answers report them, and the token bucket: pace, fairness between live and bulk, hostile headers, clocks."""

import math
from datetime import UTC, datetime, timedelta
from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.policy.ratelimit import (
    DAY_S,
    GHL_RATE,
    HOUR_S,
    NOTION_RATE,
    REST_UNTOLD_S,
    Bucket,
    Limits,
    Rate,
    Scope,
    ghl_limits,
    notion_limits,
    pause_s,
    retry_after_limits,
    take,
)
from tests.dispatcher import patient
from tests.dispatcher.buckets import full, rest

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
NAMES = (
    "retry-after",
    "date",
    "x-ratelimit-max",
    "x-ratelimit-remaining",
    "x-ratelimit-interval-milliseconds",
    "x-ratelimit-limit-daily",
    "x-ratelimit-daily-remaining",
    "x-ratelimit-daily-reset",
)

odd_values = (
    st.text(max_size=30)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(
        ["NaN", "-inf", "1e999", "٣", "1_000", "-1", "9" * 400, "Wed, 21 Oct 2099 07:28:00 GMT", "Wed, 99 Oct 2026 07:28:00 GMT"]
    )
)
hostile_headers = st.dictionaries(st.sampled_from(NAMES), odd_values)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["additional_data", "retry_after", "x"]), inner),
)
rates = st.builds(Rate, per_s=st.floats(0.1, 50), burst=st.integers(1, 50))
urgencies = st.integers(0, 1)


def ghl_headers(**changes: str) -> dict[str, str]:
    told = {
        "x-ratelimit-max": "100",
        "x-ratelimit-remaining": "60",
        "x-ratelimit-interval-milliseconds": "10000",
        "x-ratelimit-limit-daily": "200000",
        "x-ratelimit-daily-remaining": "150000",
    }
    return {**told, **{name.replace("_", "-"): value for name, value in changes.items()}}


def test_ghl_headers_are_read_in_seconds() -> None:
    limits = ghl_limits(ghl_headers(x_ratelimit_daily_reset="3600000"), now=NOW)
    assert limits == Limits(100, 60, 10.0, 200_000, 150_000, 3_600.0, None)
    assert pause_s(limits, 200) == 0


def test_the_last_tenth_of_a_window_is_stretched_over_the_window() -> None:
    pauses = [pause_s(ghl_limits(ghl_headers(x_ratelimit_remaining=str(left)), now=NOW), 200) for left in (11, 10, 4, 1, 0)]
    assert pauses == [0, pytest.approx(10 / 11), 2, 5, 10]


def test_a_refusal_rests_for_the_interval_at_most_thirty_seconds() -> None:
    assert pause_s(ghl_limits(ghl_headers(x_ratelimit_remaining="0"), now=NOW), 429) == 10
    assert pause_s(ghl_limits(ghl_headers(x_ratelimit_interval_milliseconds="3600000"), now=NOW), 429) == 30


def test_a_refusal_that_does_not_say_how_long_still_rests() -> None:
    assert pause_s(Limits(), 429) == REST_UNTOLD_S
    assert pause_s(Limits(retry_after_s=0), 429) == REST_UNTOLD_S


def test_a_used_up_day_rests_until_it_is_reset_or_an_hour_when_nobody_says_when() -> None:
    used_up = ghl_headers(x_ratelimit_daily_remaining="0")
    assert pause_s(ghl_limits(used_up, now=NOW), 200) == HOUR_S
    assert pause_s(ghl_limits({**used_up, "x-ratelimit-daily-reset": "7200000"}, now=NOW), 429) == 7_200
    assert ghl_limits(used_up, now=NOW).scope is Scope.DAY
    assert ghl_limits(ghl_headers(), now=NOW).scope is Scope.BURST


def test_notion_may_ask_for_longer_than_a_minute() -> None:
    limits = notion_limits({"retry-after": "300"}, {}, now=NOW)
    assert (pause_s(limits, 429), pause_s(limits, 529), pause_s(limits, 200)) == (300, 300, 0)


def test_notion_says_it_in_the_body_too() -> None:
    body = {"additional_data": {"rate_limit_reason": "public_api_request_rate_limit", "retry_after": "12"}}
    assert notion_limits({}, body, now=NOW).retry_after_s == 12
    assert notion_limits({"retry-after": "30"}, body, now=NOW).retry_after_s == 30


def test_a_retry_after_date_is_measured_by_the_answers_own_clock() -> None:
    later = {"retry-after": "Mon, 02 Nov 2026 09:02:00 GMT"}
    assert retry_after_limits(later, now=NOW).retry_after_s == 120
    assert retry_after_limits({**later, "date": "Mon, 02 Nov 2026 09:01:30 GMT"}, now=NOW).retry_after_s == 30
    assert retry_after_limits(later, now=NOW + timedelta(hours=1)).retry_after_s == 0


@patient
@given(hostile_headers, json_values, st.integers(100, 599))
def test_no_header_and_no_body_can_raise_or_ask_for_a_senseless_pause(headers: dict[str, str], body: object, status: int) -> None:
    for read in (ghl_limits, notion_limits, retry_after_limits):
        asked_s = pause_s(read(headers, body, now=NOW), status)
        assert 0 <= asked_s <= DAY_S


@pytest.mark.parametrize("value", ["NaN", "inf", "-inf", "soon", "", "1e3", "1_0", "٣", "9" * 16])
def test_what_is_no_plain_number_counts_as_not_said(value: str) -> None:
    assert ghl_limits(ghl_headers(x_ratelimit_remaining=value), now=NOW).burst_remaining is None


def test_a_negative_remainder_counts_as_nothing_left() -> None:
    assert ghl_limits(ghl_headers(x_ratelimit_remaining="-3"), now=NOW).burst_remaining == 0


def test_the_published_paces() -> None:
    assert (GHL_RATE.per_s, GHL_RATE.burst, GHL_RATE.per_day) == (10, 20, 200_000)
    assert NOTION_RATE.per_s == 3


@patient
@given(rates, st.lists(st.tuples(st.floats(0, 5), urgencies), max_size=60))
def test_no_window_sees_more_than_the_burst_and_the_rate(rate: Rate, asked: list[tuple[float, int]]) -> None:
    bucket, now, granted = full(rate, now=NOW), NOW, []
    for later_s, urgency in asked:
        now += timedelta(seconds=later_s)
        bucket, wait_s = take(bucket, rate, now=now, urgency=urgency)
        if wait_s == 0:
            granted.append(now)
    for (i, first), (j, last) in combinations_with_replacement(enumerate(granted), 2):
        assert j - i + 1 <= rate.burst + rate.per_s * (last - first).total_seconds() + 1e-3


@patient
@given(rates, st.floats(0, 50), st.floats(-100, 100))
def test_live_work_never_waits_longer_than_bulk_work(rate: Rate, tokens: float, elapsed_s: float) -> None:
    bucket = Bucket(min(tokens, rate.burst), NOW)
    now = NOW + timedelta(seconds=elapsed_s)
    assert take(bucket, rate, now=now, urgency=0)[1] <= take(bucket, rate, now=now, urgency=1)[1]


@patient
@given(rates, st.floats(0, 50), urgencies)
def test_asking_again_after_the_wait_is_not_in_vain(rate: Rate, tokens: float, urgency: int) -> None:
    bucket, wait_s = take(Bucket(min(tokens, rate.burst), NOW), rate, now=NOW, urgency=urgency)
    _, again_s = take(bucket, rate, now=NOW + timedelta(seconds=wait_s), urgency=urgency) if wait_s else (bucket, 0.0)
    assert again_s == 0


def test_bulk_leaves_three_tenths_of_the_bucket_to_live_work() -> None:
    bucket, taken = full(GHL_RATE, now=NOW), {0: 0, 1: 0}
    for urgency in (1, 0):
        while True:
            bucket, wait_s = take(bucket, GHL_RATE, now=NOW, urgency=urgency)
            if wait_s:
                break
            taken[urgency] += 1
    assert taken == {1: 14, 0: 6}


def test_a_bucket_of_one_token_still_serves_bulk_work() -> None:
    rate = Rate(per_s=1, burst=1)
    assert take(full(rate, now=NOW), rate, now=NOW, urgency=1)[1] == 0


@patient
@given(rates, st.lists(st.tuples(st.floats(-1e6, 1e6), urgencies), max_size=40))
def test_a_clock_that_jumps_freezes_nothing(rate: Rate, asked: list[tuple[float, int]]) -> None:
    bucket = full(rate, now=NOW)
    longest_s = 2 * rate.burst / rate.per_s + 1e-5  # the time to fill it, and once more while a small step back is waited for
    for at_s, urgency in asked:
        now = NOW + timedelta(seconds=at_s)
        bucket, wait_s = take(bucket, rate, now=now, urgency=urgency)
        assert 0 <= bucket.tokens <= rate.burst
        assert 0 <= wait_s <= longest_s
        assert math.isfinite(wait_s)


@patient
@given(st.lists(st.floats(0, 1.9), min_size=1, max_size=80))
def test_clocks_a_little_apart_do_not_fill_the_bucket_twice(behind_s: list[float]) -> None:
    bucket, granted = full(GHL_RATE, now=NOW), 0
    for late_s in behind_s:  # every reader within the time a bucket takes to fill, so no time passes twice
        bucket, wait_s = take(bucket, GHL_RATE, now=NOW - timedelta(seconds=late_s), urgency=0)
        granted += wait_s == 0
    assert granted <= GHL_RATE.burst


def test_a_rest_closes_the_bucket_for_everyone_until_it_is_over() -> None:
    bucket = rest(full(GHL_RATE, now=NOW), now=NOW, for_s=30)
    assert take(bucket, GHL_RATE, now=NOW, urgency=0) == (bucket, 30)
    after, wait_s = take(bucket, GHL_RATE, now=NOW + timedelta(seconds=30), urgency=0)
    assert (after.paused_until, wait_s) == (None, 0)


def test_a_rest_ordered_before_the_clock_was_turned_back_does_not_last_for_ever() -> None:
    bucket = rest(full(GHL_RATE, now=NOW), now=NOW, for_s=60)
    assert take(bucket, GHL_RATE, now=NOW - timedelta(days=30), urgency=0)[1] == 0


@patient
@given(st.floats(0, allow_nan=False), st.sampled_from([200, 429, 503, 529]))
def test_no_rest_is_longer_than_a_day(asked_s: float, status: int) -> None:
    assert 0 <= pause_s(Limits(retry_after_s=asked_s), status) <= DAY_S
