"""How often a dear look is made, and how far back the freshest events reach: pure, so told by numbers."""

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.policy.pace import (
    GIVEN_UP_S,
    IN_A_ROW,
    LONG_PER_FIND_S,
    LONG_S,
    SHARE,
    SPAN_S,
    STEPS,
    STEPS_PER_FIND,
    VERY_FAR,
    Length,
    Pace,
    Window,
    by_time,
    by_walk,
)

TIMES = st.floats(0, 1000, allow_nan=False)


def test_one_long_look_is_chance_and_three_in_a_row_are_dear() -> None:
    pace = Pace()
    for now in range(1, IN_A_ROW):
        pace.looked(now=now, took_s=0.1, length=Length.LONG)
        assert (pace.is_dear, pace.again_at) == (False, 0.0)
    pace.looked(now=10, took_s=0.1, length=Length.LONG)
    assert (pace.is_dear, pace.again_at) == (True, 10 + SHARE * 0.1)


def test_a_look_that_something_waits_for_rests_no_longer_than_that_may_wait() -> None:
    pace = Pace(longest_rest_s=3)
    pace.looked(now=10, took_s=2.7, length=Length.VERY_LONG)
    assert pace.again_at == 13


def test_a_look_that_is_short_again_is_made_each_time_again() -> None:
    pace = Pace()
    for now in range(IN_A_ROW):
        pace.looked(now=now, took_s=0.1, length=Length.LONG)
    pace.looked(now=20, took_s=0.1, length=Length.SHORT)
    assert (pace.is_dear, pace.again_at) == (False, 0.0)


def test_one_very_long_look_is_dear_at_once() -> None:
    pace = Pace()
    pace.looked(now=1, took_s=2.0, length=Length.VERY_LONG)
    assert (pace.is_dear, pace.again_at) == (True, 1 + SHARE * 2.0)


def test_a_look_is_long_only_for_what_it_found() -> None:
    assert by_walk(STEPS, found=0) is Length.SHORT
    assert by_walk(STEPS + 1, found=0) is Length.LONG
    assert by_walk(STEPS + 500 * STEPS_PER_FIND, found=500) is Length.SHORT
    assert by_walk(VERY_FAR, found=0) is Length.LONG
    assert by_walk(VERY_FAR + 1, found=0) is Length.VERY_LONG
    assert by_time(0.99 * LONG_S, found=0) is Length.SHORT
    assert by_time(1.01 * LONG_S, found=0) is Length.LONG
    assert by_time(LONG_S + 0.99 * 500 * LONG_PER_FIND_S, found=500) is Length.SHORT
    assert by_time(1.01 * GIVEN_UP_S, found=0) is Length.VERY_LONG


@given(st.lists(st.tuples(st.floats(0.001, 10), st.sampled_from(Length)), max_size=50))
def test_dear_looks_take_at_most_their_share_of_the_time(looks: list[tuple[float, Length]]) -> None:
    pace, now, dear_s = Pace(), 0.0, 0.0
    for took_s, length in looks:
        began = now = max(now, pace.again_at)
        was_dear = pace.is_dear
        now += took_s
        pace.looked(now=now, took_s=took_s, length=length)
        if was_dear and pace.is_dear:
            dear_s += took_s
            assert pace.again_at - began >= SHARE * took_s - 1e-6
    assert dear_s * SHARE <= max(now, pace.again_at) + 1e-6


def test_a_window_begins_with_the_newest_and_reaches_back_a_second() -> None:
    window = Window()
    assert window.above(0) is None
    for at, last in ((0.0, 100), (0.5, 110), (1.0, 120), (1.4, 130)):
        window.looked(now=at, last=last, is_full=False)
    assert window.above(1.4) == 100
    assert window.above(0.5 + SPAN_S) == 110
    assert window.above(1.2 + SPAN_S) == 120
    assert window.above(100) == 130


def test_a_full_look_is_followed_by_one_behind_it() -> None:
    window = Window()
    window.looked(now=0.0, last=100, is_full=False)
    window.looked(now=0.1, last=1100, is_full=True)
    assert window.above(0.1) == 1100


@given(st.lists(st.tuples(TIMES, st.integers(0, 50), st.booleans()), min_size=1, max_size=60))
def test_a_window_never_goes_back_and_forgets_nothing_that_is_younger_than_its_span(looks: list[tuple[float, int, bool]]) -> None:
    """What was first looked at less than a second ago is looked at again, unless one look cannot see it all."""
    window, last, seen, before = Window(), 0, list[tuple[float, int]](), -1
    for now, more, is_full in sorted(looks):
        last += more
        window.looked(now=now, last=last, is_full=is_full)
        seen = [(now, last)] if is_full else [*seen, (now, last)]
        above = window.above(now)
        assert above is not None
        assert above >= before
        before = above
        assert all(id_ >= above for at, id_ in seen if at > now - SPAN_S)
