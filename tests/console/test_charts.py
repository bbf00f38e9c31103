"""Bars: the tallest fills the chart, trouble is always to be seen, nothing is drawn where nothing was."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from outbox.store.minutes import Bar, Counts
from receiver.console.charts import HEIGHT, LEAST, STRIP, WIDTH, draw, latencies, runs, spark

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def bars(*numbers: tuple[int, int]) -> list[Bar]:
    return [Bar(BEGAN + timedelta(minutes=15 * n), 0, Counts(done=done, dead=dead)) for n, (done, dead) in enumerate(numbers)]


def test_one_dead_among_a_thousand_is_seen() -> None:
    chart = draw(bars((1000, 1), (0, 0), (10, 300)))
    assert [bar.usual for bar in chart.bars] == [HEIGHT, 0, LEAST]
    assert [bar.trouble for bar in chart.bars] == [LEAST, 0, STRIP - 4]
    assert [bar.is_open for bar in chart.bars] == [False, False, True]
    assert chart.said == "1,010 settled, 301 dead; at most 1,000 in one bar"


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=96))
def test_nothing_is_drawn_outside_and_something_wherever_something_was(numbers: list[tuple[int, int]]) -> None:
    for bar in draw(bars(*numbers)).bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= WIDTH
        assert (bar.usual > 0) is (bar.settled > 0)
        assert (bar.trouble > 0) is (bar.dead > 0)
        assert bar.usual <= HEIGHT
        assert bar.trouble <= STRIP - 4


def test_runs_stand_at_the_right_and_a_single_error_is_seen() -> None:
    chart = runs([(2_000, 0), (400, 500), (151_000, 1)], room=4)
    assert chart is not None
    assert [bar.x for bar in chart.bars] == [WIDTH / 4, WIDTH / 2, WIDTH * 3 / 4]
    assert [bar.trouble for bar in chart.bars] == [0, STRIP - 4, LEAST]
    assert chart.bars[2].worked == HEIGHT
    assert chart.said == "The last 3 runs worked 2 s in the middle, 2 m 31 s at most; 2 had errors"
    assert runs([], room=60) is None


def test_the_bar_of_now_is_marked_as_still_open_only_where_it_is_drawn() -> None:
    assert spark([0, 3, 1], each="hour").is_open
    assert not spark([4, 0, 0], each="hour").is_open
    assert not spark([], each="hour").is_open


def test_a_latency_is_drawn_only_where_something_was_done() -> None:
    counts = (Counts(done=2, settled_ms=3000), Counts(dead=4), Counts(done=1, settled_ms=0))
    chart = latencies([Bar(BEGAN, 0, each) for each in counts])
    assert [bar.usual for bar in chart.bars] == [HEIGHT, 0, LEAST]
    assert [bar.trouble for bar in chart.bars] == [0, 0, 0]
    assert (chart.top, chart.said) == (1500, "From staged to done: 1.5 s on the average of the slowest bar")
