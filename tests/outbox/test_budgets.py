"""Token buckets: shared by all processes under the row's lock, counted by the day, slowed by what the far side says."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from outbox.store import budgets
from outbox.store.budgets import Budget
from outbox.testing import Postroom


def spend(seen: Budget, now: datetime) -> tuple[Budget, float]:
    """One token, no refill."""
    return replace(seen, tokens=seen.tokens - 1, at=now, used=seen.used + 1), 0.0


async def bucket(postroom: Postroom) -> dict[str, Any]:
    (row,) = await budgets.every(postroom.pool)
    return dict(row)


async def test_a_bucket_is_full_on_first_use_and_kept_from_then_on(postroom: Postroom) -> None:
    seen: list[Budget] = []

    def look(budget: Budget, now: datetime) -> tuple[Budget, float]:
        seen.append(budget)
        return spend(budget, now)[0], 2.5

    assert await budgets.take(postroom.pool, "ghl:loc", burst=10, per_s=1, decide=look) == 2.5
    await budgets.take(postroom.pool, "ghl:loc", burst=99, per_s=1, decide=look)
    assert [(budget.tokens, budget.used, budget.paused_until, budget.daily_left) for budget in seen] == [
        (10, 0, None, None),
        (9, 1, None, None),
    ]
    assert (await bucket(postroom))["used"] == 2


async def test_processes_that_take_at_once_never_take_one_token_twice(postroom: Postroom) -> None:
    await asyncio.gather(*(budgets.take(postroom.pool, "ghl:loc", burst=100, per_s=1, decide=spend) for _ in range(40)))
    row = await bucket(postroom)
    assert row["used"] == 40
    assert await postroom.value("select tokens from outbox.budgets") == 60


async def test_a_decision_that_raises_takes_nothing(postroom: Postroom) -> None:
    def refuse(_: Budget, __: datetime) -> tuple[Budget, float]:
        raise RuntimeError("no")

    await budgets.take(postroom.pool, "ghl:loc", burst=10, per_s=1, decide=spend)
    with pytest.raises(RuntimeError):
        await budgets.take(postroom.pool, "ghl:loc", burst=10, per_s=1, decide=refuse)
    assert await postroom.value("select tokens from outbox.budgets") == 9


async def test_the_far_side_can_lengthen_a_rest_but_not_shorten_it(postroom: Postroom) -> None:
    await budgets.learn(postroom.pool, "ghl:loc", pause_s=60, daily_left=500)
    await budgets.learn(postroom.pool, "ghl:loc", pause_s=0, daily_left=None)
    row = await bucket(postroom)
    assert 50 < row["paused_s"] <= 60
    assert row["daily_left"] == 500, "what was not said stays"
    await budgets.learn(postroom.pool, "ghl:loc", pause_s=120, daily_left=499)
    assert (await bucket(postroom))["paused_s"] > 60


async def test_yesterdays_calls_and_what_was_left_of_them_do_not_count_today(postroom: Postroom) -> None:
    for _ in range(3):
        await budgets.take(postroom.pool, "ghl:loc", burst=10, per_s=1, decide=spend)
    await budgets.learn(postroom.pool, "ghl:loc", pause_s=0, daily_left=0)
    await postroom.pool.execute("update outbox.budgets set day = day - 1")
    row = await bucket(postroom)
    assert (row["used"], row["daily_left"]) == (0, None)
    seen: list[Budget] = []

    def look(budget: Budget, now: datetime) -> tuple[Budget, float]:
        seen.append(budget)
        return spend(budget, now)

    for _ in range(2):
        await budgets.take(postroom.pool, "ghl:loc", burst=10, per_s=1, decide=look)
    assert [(budget.used, budget.daily_left) for budget in seen] == [(0, None), (1, None)]
    await postroom.pool.execute("update outbox.budgets set day = day - 1")
    await budgets.learn(postroom.pool, "ghl:loc", pause_s=0, daily_left=200_000)
    row = await bucket(postroom)
    assert (row["used"], row["daily_left"]) == (0, 200_000)
