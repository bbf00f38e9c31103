"""When a sync is due: each tick once, none lost, whatever the clocks do."""

from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox.cadence import Cron, Every, InvalidCadence, decide, interval_s, upcoming

ZONES = ("UTC", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu", "Africa/Casablanca")
MINUTE = timedelta(minutes=1)
# Days on which the clocks of some of these zones jump, and some on which none do.
DAYS = [date(2026, 3, 8), date(2026, 3, 29), date(2026, 4, 5), date(2026, 10, 4), date(2026, 10, 25), date(2026, 11, 1), date(2026, 7, 1)]


def begin_of(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def between(cron: Cron, begin: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    for tick in cron.after(begin):
        if tick > end:
            return found
        found.append(tick)
    return found


def counted(zone: ZoneInfo, minutes: set[int], hours: set[int], begin: datetime, end: datetime) -> list[datetime]:
    """Every minute whose local time matches: what a schedule with a star means."""
    ticks, at = [], begin + MINUTE
    while at <= end:
        local = at.astimezone(zone)
        if local.minute in minutes and local.hour in hours:
            ticks.append(at)
        at += MINUTE
    return ticks


def listed(zone: ZoneInfo, minutes: set[int], hours: set[int], begin: datetime, end: datetime) -> list[datetime]:
    """Each local time of each day once: after a jump over it, or the first of two."""
    ticks = set()
    day = begin.astimezone(zone).date() - timedelta(days=1)
    while day <= end.astimezone(zone).date() + timedelta(days=1):
        for hour in hours:
            for minute in minutes:
                at = datetime.combine(day, time(hour, minute), tzinfo=zone)
                while (there := at.astimezone(UTC).astimezone(zone)).replace(tzinfo=None) != at.replace(tzinfo=None):
                    at = datetime.combine(at.date(), at.time(), tzinfo=zone) + MINUTE
                ticks.add(there.astimezone(UTC))
        day += timedelta(days=1)
    return sorted(tick for tick in ticks if begin < tick <= end)


@settings(max_examples=60, deadline=None)
@given(zone=st.sampled_from(ZONES), day=st.sampled_from(DAYS), minutes=st.sets(st.integers(0, 59), min_size=1, max_size=3))
def test_hourly_is_every_hour_of_the_clock_on_the_wall(zone: str, day: date, minutes: set[int]) -> None:
    begin, end = begin_of(day) - timedelta(hours=12), begin_of(day) + timedelta(hours=36)
    cron = Cron(f"{','.join(map(str, sorted(minutes)))} * * * *", zone)
    assert between(cron, begin, end) == counted(ZoneInfo(zone), minutes, set(range(24)), begin, end)


@settings(max_examples=120, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    day=st.sampled_from(DAYS),
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=3),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=4),
)
def test_a_fixed_time_comes_once_a_day_whatever_the_clocks_do(zone: str, day: date, minutes: set[int], hours: set[int]) -> None:
    begin, end = begin_of(day) - timedelta(hours=12), begin_of(day) + timedelta(hours=36)
    cron = Cron(f"{','.join(map(str, sorted(minutes)))} {','.join(map(str, sorted(hours)))} * * *", zone)
    assert between(cron, begin, end) == listed(ZoneInfo(zone), minutes, hours, begin, end)


@settings(max_examples=100, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    day=st.sampled_from(DAYS),
    offset_min=st.integers(0, 2 * 24 * 60),
    expression=st.sampled_from(["30 2 * * *", "0 2 * * *", "*/20 1-3 * * *", "15,45 * * * *", "0 9-18/2 * * 1-5", "5 1,2 * * *"]),
)
def test_ticks_do_not_depend_on_when_one_begins_to_count(zone: str, day: date, offset_min: int, expression: str) -> None:
    """A dispatcher that starts in the middle of a night of the clocks' change finds the ticks that the others find."""
    begin, cron = begin_of(day) - timedelta(hours=12), Cron(expression, zone)
    later = begin + timedelta(minutes=offset_min)
    end = begin + timedelta(days=4)
    assert between(cron, later, end) == [tick for tick in between(cron, begin, end) if tick > later]


def test_what_the_clocks_jump_over_comes_at_once_after_the_jump_and_what_they_repeat_the_first_time() -> None:
    vienna = Cron("30 2 * * *", "Europe/Vienna")
    spring = list(islice(vienna.after(datetime(2026, 3, 28, 12, tzinfo=UTC)), 2))
    assert spring == [datetime(2026, 3, 29, 1, 0, tzinfo=UTC), datetime(2026, 3, 30, 0, 30, tzinfo=UTC)]
    autumn = list(islice(vienna.after(datetime(2026, 10, 24, 12, tzinfo=UTC)), 2))
    assert autumn == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC)]


def test_an_hourly_tick_in_the_repeated_hour_comes_twice_because_two_hours_pass() -> None:
    ticks = list(islice(Cron("0 * * * *", "Europe/Vienna").after(datetime(2026, 10, 24, 22, 30, tzinfo=UTC)), 5))
    assert {later - earlier for earlier, later in pairwise(ticks)} == {timedelta(hours=1)}


@pytest.mark.parametrize(
    ("expression", "zone", "complaint"),
    [
        ("* * * *", "UTC", "five fields"),
        ("* * * * * *", "UTC", "five fields"),
        ("61 * * * *", "UTC", "no cron expression"),
        ("0 0 31 2 *", "UTC", "no cron expression"),
        ("٣ * * * *", "UTC", "five fields"),
        ("0 * * * *", "Europe/Atlantis", "no time zone"),
        ("0 * * * *", "../etc/passwd", "no time zone"),
        ("0 * * * *", "", "no time zone"),
        ("0 * * * * " + " " * 200, "UTC", "five fields"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_is_wrong(expression: str, zone: str, complaint: str) -> None:
    with pytest.raises(InvalidCadence, match=complaint):
        Cron(expression, zone)


@settings(max_examples=300, deadline=None)
@given(expression=st.text(max_size=40), zone=st.text(max_size=20))
def test_no_text_raises_anything_but_that_it_is_invalid(expression: str, zone: str) -> None:
    with suppress(InvalidCadence):
        next(Cron(expression, zone).after(datetime(2026, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize("seconds", [0, -5, 9, 40_000_000])
def test_an_interval_has_its_bounds(seconds: int) -> None:
    with pytest.raises(InvalidCadence):
        Every(seconds)


NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOURLY = Cron("0 * * * *")


def test_a_tick_that_is_on_time_fires_and_the_next_is_due() -> None:
    due = decide(HOURLY, due_at=NOON, now=NOON + timedelta(seconds=90), makes_good=False)
    assert (due.fire, due.due_at) == (NOON, NOON + timedelta(hours=1))


def test_missed_ticks_are_made_good_by_one_or_forgotten() -> None:
    now = NOON + timedelta(hours=5, minutes=30)
    assert decide(HOURLY, due_at=NOON, now=now, makes_good=True).fire == NOON
    assert decide(HOURLY, due_at=NOON, now=now, makes_good=False).fire is None
    assert decide(HOURLY, due_at=NOON, now=now, makes_good=False).due_at == NOON + timedelta(hours=6)


def test_after_missed_ticks_one_that_is_on_time_fires_even_where_missed_ones_are_forgotten() -> None:
    now = NOON + timedelta(hours=5, seconds=30)
    assert decide(HOURLY, due_at=NOON, now=now, makes_good=False).fire == NOON + timedelta(hours=5)
    every = decide(Every(600), due_at=NOON, now=NOON + timedelta(seconds=6_030), makes_good=False)
    assert (every.fire, every.due_at) == (NOON + timedelta(seconds=6_000), NOON + timedelta(seconds=6_600))


def test_the_next_times_begin_with_the_one_that_is_due() -> None:
    assert upcoming(HOURLY, due_at=NOON) == [NOON + timedelta(hours=n) for n in range(5)]
    assert upcoming(Every(600), due_at=NOON, count=2) == [NOON, NOON + timedelta(minutes=10)]


def test_the_usual_interval_leaves_out_nights_and_weekends() -> None:
    assert interval_s(Cron("0 9-17/2 * * 1-5", "America/New_York"), around=NOON) == 7_200
    assert interval_s(Every(900), around=NOON) == 900
