"""Health is a judgement of numbers: limits make it unhealthy, targets and standstills degraded."""

from dataclasses import replace
from typing import Any

import pytest

from outbox.health import Health, Standing, Stopped, StoppedUsers, judge

FINE = Standing(success_rate=0.99, latency_s=0.4, dead=0, buried_last_hour=0, workers=2)


def but(**changed: Any) -> Standing:
    return replace(FINE, **changed)


def test_a_quiet_system_without_a_single_event_is_healthy() -> None:
    verdict = judge(Standing(success_rate=None, latency_s=None, dead=0, buried_last_hour=0, workers=1))
    assert verdict.status is Health.HEALTHY
    assert verdict.unmet == ()


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, Health.HEALTHY),
        ({"success_rate": 0.9501}, Health.HEALTHY),
        ({"success_rate": 0.95}, Health.DEGRADED),
        ({"success_rate": 0.9001}, Health.DEGRADED),
        ({"success_rate": 0.90}, Health.UNHEALTHY),
        ({"dead": 19}, Health.HEALTHY),
        ({"dead": 20}, Health.DEGRADED),
        ({"dead": 50}, Health.UNHEALTHY),
        ({"buried_last_hour": 9}, Health.HEALTHY),
        ({"buried_last_hour": 10}, Health.UNHEALTHY),
        ({"latency_s": 4.99}, Health.HEALTHY),
        ({"latency_s": 5.0}, Health.DEGRADED),
        ({"workers": 0}, Health.UNHEALTHY),
        ({"oldest_ready_s": 899}, Health.HEALTHY),
        ({"oldest_ready_s": 900}, Health.DEGRADED),
        ({"stopped": [Stopped("ghl", "paused", "paused by ana")]}, Health.DEGRADED),
        ({"red_syncs": ["ghl-contacts"]}, Health.DEGRADED),
        ({"red_syncs": ["ghl-contacts"], "workers": 0}, Health.UNHEALTHY),
    ],
)
def test_each_limit_is_where_it_is_said_to_be(changed: dict[str, object], status: Health) -> None:
    assert judge(but(**changed)).status is status


def test_the_worst_comes_first_and_each_says_what_to_do() -> None:
    verdict = judge(but(dead=60, stopped=[Stopped("ghl", "unauthorised", "the token is rejected")]))
    assert [check.name for check in verdict.unmet] == ["dead letters", "dead letters target", "destination ghl"]
    assert all(check.issue and check.advice for check in verdict.unmet)
    assert "the token is rejected" in verdict.unmet[-1].issue


def test_what_waits_for_a_consent_is_not_resumed_but_sent_a_link() -> None:
    lost = Stopped("ghl:Cork", "unauthorised", "Invalid refresh token.", "postroom connect ghl")
    [check] = judge(but(stopped=[lost])).unmet
    assert check.issue == "ghl:Cork needs consent: Invalid refresh token."
    assert "`postroom connect ghl`" in check.advice
    assert "resume" not in check.advice


@pytest.mark.parametrize(
    ("users", "state", "said"),
    [
        (StoppedUsers(), "flowing", ""),
        (StoppedUsers(need_consent=1), "unauthorised", "1 user needs consent"),
        (StoppedUsers(need_consent=212, failing=1), "unauthorised", "212 users need consent, 1 user fails"),
        (StoppedUsers(refused=2, paused=3), "unauthorised", "2 users are refused, 3 users are paused"),
        (StoppedUsers(failing=4, paused=1), "open", "4 users fail, 1 user is paused"),
        (StoppedUsers(paused=1), "paused", "1 user is paused"),
    ],
)
def test_single_users_are_told_in_numbers(users: StoppedUsers, state: str, said: str) -> None:
    assert (users.state, users.said) == (state, said)
    assert [check.issue for check in judge(but(stopped_users=users)).unmet] == ([f"google: {said}"] if said else [])
