"""The light of a sync: by the age of its last success, in intervals of its schedule."""

from datetime import UTC, datetime, timedelta

import pytest

from outbox.cadence import Cron, Every
from outbox.light import Light, standing

MONDAY = datetime(2026, 7, 6, 8, 0, 20, tzinfo=UTC)
HOURLY, DAILY = Cron("0 * * * *"), Cron("0 2 * * *")


def after(hours: float, *cadences: Cron | Every, since: datetime = MONDAY) -> Light:
    found = standing(cadences, last_success_at=since, expected_since=since - timedelta(days=9), now=since + timedelta(hours=hours))
    return Light.GREY if found is None else found.light


@pytest.mark.parametrize(
    ("hours", "colour"),
    [(0, Light.GREEN), (1.99, Light.GREEN), (2.01, Light.YELLOW), (5.99, Light.YELLOW), (6.02, Light.RED), (400, Light.RED)],
)
def test_an_hourly_sync_is_green_for_two_hours_and_yellow_for_six(hours: float, colour: Light) -> None:
    assert after(hours, HOURLY, DAILY) is colour


def test_others_go_by_their_own_interval() -> None:
    assert after(47, DAILY) is Light.GREEN
    assert after(3 * 24, DAILY) is Light.YELLOW
    assert after(7 * 24, DAILY) is Light.RED
    assert after(0.5, Every(600)) is Light.YELLOW


def test_a_weekend_without_a_tick_makes_nothing_older() -> None:
    office = Cron("0 9-17/2 * * 1-5")
    friday = datetime(2026, 7, 3, 17, 0, 30, tzinfo=UTC)
    assert after(64, office, since=friday) is Light.GREEN
    assert after(78, office, since=friday) is Light.YELLOW  # Monday night, and nothing came all day
    assert after(89, office, since=friday) is Light.RED


def test_one_that_never_succeeded_ages_from_when_it_became_known() -> None:
    known = MONDAY
    one, nine = (standing([HOURLY], last_success_at=None, expected_since=known, now=known + timedelta(hours=hours)) for hours in (1, 9))
    assert one is not None
    assert nine is not None
    assert (one.light, nine.light) == (Light.GREEN, Light.RED)
    assert (one.since, one.interval_s, one.missed, nine.missed) == (known, 3600, 1, 6)


def test_one_of_which_nothing_is_expected_has_no_colour() -> None:
    assert after(99) is Light.GREY
