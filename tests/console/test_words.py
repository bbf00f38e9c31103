"""How numbers, durations and times read."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.cadence import Cron
from receiver.console import words
from receiver.console.asked import Query

NOW = datetime(2026, 11, 28, 19, 2, 11, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0004, "0.4 ms"),
        (0.24, "240 ms"),
        (0.9996, "1 s"),
        (3.2, "3.2 s"),
        (41, "41 s"),
        (59.7, "1 m 00 s"),
        (125, "2 m 05 s"),
        (11_520, "3 h 12 m"),
        (352_800, "4 d 2 h"),
        (None, "–"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(991_999, 1_000_000, "99.1 %"), (999_999, 1_000_000, "99.9 %"), (7, 7, "100 %"), (0, 9, "0.0 %"), (0, 0, "–")],
)
def test_a_share_is_rounded_down_and_of_nothing_there_is_none(part: int, whole: int, said: str) -> None:
    assert words.share(part, whole) == said


@pytest.mark.parametrize(("number", "said"), [(512, "512 B"), (1229, "1.2 KiB"), (1_048_576, "1.0 MiB"), (None, "–")])
def test_sizes(number: int | None, said: str) -> None:
    assert words.size(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(41, "41 s ago"), (-82_800, "in 23 h"), (0.2, "now"), (190, "3 m ago"), (9 * 86_400, "19 Nov 2026")]
)
def test_times_are_relative_for_a_week(seconds: float, said: str) -> None:
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == said


def test_an_exact_time_names_its_zone() -> None:
    assert words.exact(NOW, ZoneInfo("America/New_York")) == "28 Nov 2026 14:02:11.123 EST"


def test_a_time_goes_through_a_form_and_comes_back_in_its_zone() -> None:
    zone = ZoneInfo("America/New_York")
    assert (words.field(NOW, zone), words.field(None, zone)) == ("2026-11-28T14:02:11", "")
    query = Query("since=2026-11-28T14:02:11&until=2026-11-29T00:00Z&from=soon", zone)
    assert (query.moment("since"), query.moment("from")) == (NOW.replace(microsecond=0), None)
    assert query.moment("until") == datetime(2026, 11, 29, tzinfo=UTC)
    assert query.pinned("/there") == "/there?since=2026-11-28T14%3A02%3A11-05%3A00&until=2026-11-29T00%3A00%3A00%2B00%3A00"
    assert query.ignored == ["from=soon"]


def test_a_reason_is_brief_in_a_list() -> None:
    assert words.brief("ghl answered 503. It is tried again.") == "ghl answered 503"
    assert words.brief("word " * 30, 12) == "word word w…"


def test_counts_rates_and_long_keys() -> None:
    assert (words.count(18431), words.counted(10_001), words.rate(12), words.rate(0.117)) == ("18,431", "10,000+", "12/s", "7/min")
    assert words.cut("a" * 20 + "b" * 20, 11) == "aaaaa…bbbbb"
    assert (words.mask("anna@example.com"), words.mask("abc")) == ("a…m (16)", "… (3)")
    assert (words.plural(1, "event"), words.plural(2, "event"), words.plural(2, "key", "keys of them")) == (
        "1 event",
        "2 events",
        "2 keys of them",
    )


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("5 * * * *", "at 5 minutes past the hour"),
        ("2 */2 * * *", "at 2 minutes past the hour, every 2 hours"),
        ("0 2 * * *", "at 02:00"),
        ("25 3 * * 0", "at 03:25, only on Sunday"),
        ("0 9-18/2 * * 1-5", "every 2 hours, between 09:00 and 18:59, Monday through Friday"),
        ("5-59/10 * * * *", "every 10 minutes, minutes 5 through 59 past the hour"),
        ("0 0 1 * 1", "at 00:00, on day 1 of the month, or on Monday"),
        ("0 0 */2 * 1", None),
        ("0 0 1 * */2", None),
    ],
)
def test_a_cron_expression_is_said_in_words(rule: str, said: str | None) -> None:
    assert words.cron(rule) == said


def part(low: int, high: int) -> st.SearchStrategy[str]:
    """A field of a cron expression."""
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}")
    step = st.tuples(st.one_of(st.just("*"), span), st.integers(1, high)).map(lambda two: f"{two[0]}/{two[1]}")
    return st.one_of(
        st.just("*"), number.map(str), span, step, st.lists(st.one_of(number.map(str), span), min_size=1, max_size=3).map(",".join)
    )


@given(st.tuples(part(0, 59), part(0, 23), part(1, 28), part(1, 12), part(0, 7)).map(" ".join))
def test_every_schedule_that_can_be_is_said_or_shown_as_it_is(rule: str) -> None:
    Cron(rule)
    said = words.cron(rule)
    assert said is None or len(said) > len("at 02:0")


@pytest.mark.parametrize("rule", ["0 2 L * *", "0 2 LW * *", "0 9 * * MON-FRI", "0 9 * JAN,JUL fri#2", "0 8 * * 5L", "59 23 31 12 *"])
def test_schedules_by_names_and_last_days_are_said_too(rule: str) -> None:
    Cron(rule)
    assert words.cron(rule)
