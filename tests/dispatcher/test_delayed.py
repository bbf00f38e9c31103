"""What is not due yet: it starts when it is due and not before, joins its lane then, and costs nothing while it waits."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome, Snooze
from dispatcher.policy.retry import RetryPolicy
from dispatcher.routes import Route
from outbox import Claimed, Event
from outbox.testing import Drain, Postroom
from tests.dispatcher.handling import everything_is_over, fate, is_over, raising, returning
from tests.dispatcher.running import dispatching, eventually, stage_all

LATE_S = 2.5  # the longest pause between looks, and a shared machine


async def due_in(postroom: Postroom, seconds: float) -> datetime:
    """By the database's clock, the only one that counts."""
    now = await postroom.value("select clock_timestamp()")
    assert isinstance(now, datetime)
    return now + timedelta(seconds=seconds)


async def test_a_delayed_event_starts_when_it_is_due_and_not_before(postroom: Postroom) -> None:
    async with dispatching(postroom.dsn, {"test.work": Route(returning(Done()))}):
        due = await due_in(postroom, 0.7)
        ids = await stage_all(postroom, *(Event("test.work", {}, due_at=due) for _ in range(3)))
        assert {(await fate(postroom, event_id)).why for event_id in ids} == {"delayed"}
        await eventually(is_over(postroom, *ids))
    for row in await postroom.rows("select started_at from outbox.attempts"):
        assert -0.05 <= (row["started_at"] - due).total_seconds() < LATE_S


async def test_events_that_are_due_long_hence_wait_and_disturb_nobody(postroom: Postroom, drain: Drain) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await stage_all(postroom, *(Event("test.work", {}, due_at=tomorrow, lane=f"l{n % 5}") for n in range(200)))
    now = await stage_all(postroom, *(Event("test.work", {}, lane=f"l{n}") for n in range(5)))
    totals = await drain({"test.work": Route(returning(Done()))})
    assert (totals["done"], totals["pending"]) == (5, 200)
    assert await is_over(postroom, *now)()


async def test_many_that_are_due_at_once_all_start_each_lane_in_its_order(postroom: Postroom) -> None:
    ran: list[Claimed] = []

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        ran.append(event)
        return Done()

    due = await due_in(postroom, 0.4)
    ids = await stage_all(postroom, *(Event("test.work", {}, due_at=due, lane=f"l{n % 7}") for n in range(1200)))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}):
        await eventually(everything_is_over(postroom))
    assert sorted(event.id for event in ran) == ids
    for lane in range(7):
        in_lane = [event.id for event in ran if event.lane == f"l{lane}"]
        assert in_lane == sorted(in_lane)


async def test_a_delayed_event_joins_its_lane_behind_what_was_staged_before_it_was_due(postroom: Postroom) -> None:
    order: list[str] = []

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        order.append(event.json()["word"])
        return Done()

    async with dispatching(postroom.dsn, {"test.work": Route(handler)}):  # before: its start may take longer than the delay
        due = await due_in(postroom, 0.5)
        delayed, *_ = await stage_all(
            postroom, Event("test.work", {"word": "delayed"}, lane="one", due_at=due), Event("test.work", {"word": "at once"}, lane="one")
        )
        await eventually(is_over(postroom, delayed))
    assert order == ["at once", "delayed"]


async def test_a_delayed_event_does_not_hold_its_lane_before_it_is_due(postroom: Postroom, drain: Drain) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    delayed, free = await stage_all(postroom, Event("test.work", {}, lane="one", due_at=tomorrow), Event("test.work", {}, lane="one"))
    await drain({"test.work": Route(returning(Done()))})
    assert ((await fate(postroom, delayed)).state, (await fate(postroom, free)).state) == ("pending", "done")


async def test_a_snoozed_event_comes_back_when_its_time_is_over_at_no_cost(postroom: Postroom) -> None:
    runs = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal runs
        runs += 1
        return Done() if runs == 4 else Snooze(0.3, "not yet")

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, {"test.work": Route(handler, retry=RetryPolicy(quick=0, slow_s=()))}):
        await eventually(is_over(postroom, event_id))
    assert (await fate(postroom, event_id)).outcomes == "zzzd"
    starts = [row["started_at"] for row in await postroom.rows("select started_at from outbox.attempts order by attempt")]
    for before, after in pairwise(starts):
        assert 0.3 <= (after - before).total_seconds() < 0.3 + LATE_S


async def test_a_retry_starts_after_its_delay_and_soon_after_it(postroom: Postroom) -> None:
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    handler = raising(lambda: ValueError("not yet"), times=2)
    async with dispatching(postroom.dsn, {"test.work": Route(handler, retry=RetryPolicy(base_s=0.4, factor=1, jitter=0))}):
        await eventually(is_over(postroom, event_id))
    starts = [row["started_at"] for row in await postroom.rows("select started_at from outbox.attempts order by attempt")]
    assert len(starts) == 3
    for before, after in pairwise(starts):
        assert 0.4 <= (after - before).total_seconds() < 0.4 + LATE_S


@pytest.mark.parametrize("waiting", [2000])
async def test_thousands_of_waiting_retries_slow_no_fresh_event(postroom: Postroom, waiting: int) -> None:
    ids = await stage_all(postroom, *(Event("test.work", {}) for _ in range(waiting)))
    await postroom.pool.execute(
        """with p as (delete from outbox.pending returning *)
           insert into outbox.busy (lane, event_id, urgency, due_at, attempt, failures, why)
           select lane, event_id, urgency, now() + interval '1 hour', 2, 1, 'it failed' from p"""
    )
    started: asyncio.Queue[int] = asyncio.Queue()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        started.put_nowait(event.id)
        return Done()

    async with dispatching(postroom.dsn, {"test.work": Route(handler)}):
        for _ in range(5):
            [fresh] = await stage_all(postroom, Event("test.work", {}))
            assert await asyncio.wait_for(started.get(), 3) == fresh
        await postroom.hurry()
        await eventually(is_over(postroom, *ids), within_s=20)
