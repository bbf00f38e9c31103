"""Stored plans: canary and brakes, whoever drives them, and results that add up to the plan."""

import asyncio
from collections.abc import Sequence

import pytest

from outbox.db import Connection
from outbox.errors import DatabaseUnavailable
from outbox.store import dead, plans
from outbox.store.dead import Filter
from outbox.store.plans import Act
from outbox.testing import Postroom
from tests.outbox.engine import Worker, put, worker

EVERY = Filter()


async def buried(postroom: Postroom, me: Worker, count: int, *, lane: str = "lane", per_lane: int = 1) -> list[int]:
    """Dead letters of one cause, oldest first, so many of each lane."""
    ids: list[int] = []
    for number in range(count):
        (event_id,) = await put(postroom, f"{lane}-{number // per_lane}")
        ids.append(event_id)
    while taken := await me.claim(limit=500):
        await me.bury(*taken)
    return ids


async def planned(postroom: Postroom, which: Filter = EVERY, *, ids: Sequence[int] | None = None, act: Act = Act.RETRY) -> int:
    async with postroom.pool.acquire() as person, person.transaction():
        plan_id = await plans.make(person, which, act=act, by="ana", ids=ids, reason="sent by hand" if act is Act.DISCARD else None)
    assert plan_id is not None
    return plan_id


async def started(postroom: Postroom, plan_id: int, *, canary: bool = True, alone: bool = False, leave_out: bool = False) -> None:
    async with postroom.pool.acquire() as person:
        assert await plans.start(person, plan_id, canary=canary, alone=alone, leave_out=leave_out)
    await moved(postroom, plan_id)


async def moved(postroom: Postroom, plan_id: int) -> str:
    while await plans.advance(postroom.pool, plan_id):
        pass
    return str(await postroom.value("select state from outbox.plans where id = $1", plan_id))


async def went_on(postroom: Postroom, plan_id: int, *, alone: bool = False) -> str:
    async with postroom.pool.acquire() as person:
        plan = await plans.one(person, plan_id)
        assert plan is not None
        assert await plans.go_on(person, plan, alone=alone)
    return await moved(postroom, plan_id)


async def bulk(me: Worker, *, dies: int = 0, reason: str = "refused") -> int:
    """Runs what was sent: so many die of the first cause again, the rest are done."""
    taken = await me.claim(limit=500, urgency=1)
    if taken[:dies]:
        await me.bury(*taken[:dies], reason=reason)
    await me.done(*taken[dies:])
    return len(taken)


async def test_a_plan_counts_what_is_dead_now_and_nothing_that_dies_later(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        ids = await buried(postroom, me, 3, per_lane=2)
        plan_id = await planned(postroom, Filter(group="cause"))
        await buried(postroom, me, 1, lane="later")
    plan = await plans.one(postroom.pool, plan_id)
    assert plan is not None
    assert (plan["events"], plan["lanes"], plan["ceiling"], plan["state"], plan["newer"]) == (3, 2, ids[-1], "made", 0)
    assert await plans.tally(postroom.pool, plan_id) == {"waits": 3}


async def test_a_filter_that_finds_nothing_makes_no_plan(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as person:
        assert await plans.make(person, Filter(kind="unheard"), act=Act.RETRY, by="ana") is None
    assert await plans.find(postroom.pool) == []


async def test_the_oldest_come_first_and_one_of_each_lane_before_the_seconds(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        ids = await buried(postroom, me, 4, per_lane=2)
        plan_id = await planned(postroom)
    assert [row["event_id"] for row in await plans.events(postroom.pool, plan_id)] == [ids[0], ids[2], ids[1], ids[3]]


async def test_a_canary_is_one_then_ten_then_portions_and_a_person_goes_on(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        await buried(postroom, me, 130)
        plan_id = await planned(postroom)
        await started(postroom, plan_id)
        assert await moved(postroom, plan_id) == "running", "the canary is not over"
        assert await bulk(me) == 1
        assert await moved(postroom, plan_id) == "resting"
        assert await went_on(postroom, plan_id) == "running"
        assert await bulk(me) == 10
        assert await moved(postroom, plan_id) == "resting"
        assert await went_on(postroom, plan_id) == "running"
        assert await bulk(me) == 100
        assert await moved(postroom, plan_id) == "running", "after the canary it needs nobody"
        assert await bulk(me) == 19
        assert await moved(postroom, plan_id) == "done"
    assert await plans.tally(postroom.pool, plan_id) == {"done": 130}
    assert await postroom.totals() == {"accepted": 130, "pending": 0, "done": 130, "skipped": 0, "dead": 0}


async def test_a_plan_that_goes_on_by_itself_needs_nobody(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        await buried(postroom, me, 12)
        plan_id = await planned(postroom)
        await started(postroom, plan_id, alone=True)
        sent = []
        while await moved(postroom, plan_id) == "running":
            sent.append(await bulk(me))
    assert sent == [1, 10, 1]


async def test_the_canary_stops_when_the_same_cause_comes_back_once(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        await buried(postroom, me, 5)
        plan_id = await planned(postroom)
        await started(postroom, plan_id, alone=True)
        await bulk(me, dies=1)
        assert await moved(postroom, plan_id) == "stopped"
    plan = await plans.one(postroom.pool, plan_id)
    assert plan is not None
    assert plan["why"] == "1 of 1 came back dead by the same cause"
    assert await plans.tally(postroom.pool, plan_id) == {"dead again by the same cause": 1, "waits": 4}
    assert (await postroom.totals())["dead"] == 5


@pytest.mark.parametrize(("dies", "state"), [(5, "running"), (6, "stopping")])
async def test_after_the_canary_it_stops_when_more_than_one_in_twenty_comes_back(postroom: Postroom, dies: int, state: str) -> None:
    async with worker(postroom) as me:
        await buried(postroom, me, 101)
        plan_id = await planned(postroom)
        await started(postroom, plan_id, canary=False)
        taken = await me.claim(limit=500, urgency=1)
        await me.bury(*taken[:dies])
        assert await moved(postroom, plan_id) == state, "some are still under way"
        await me.done(*taken[dies:])
        await moved(postroom, plan_id)
        tally = await plans.tally(postroom.pool, plan_id)
    assert tally == {"done": 100 - dies, "dead again by the same cause": dies, "under way" if state == "running" else "waits": 1}


async def test_another_cause_is_told_apart_and_is_no_brake(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        await buried(postroom, me, 2)
        plan_id = await planned(postroom)
        await postroom.pool.execute("update outbox.plan_events set fingerprint = 'was another'")
        await started(postroom, plan_id)
        await bulk(me, dies=1)
        assert await moved(postroom, plan_id) == "resting"
    assert await plans.tally(postroom.pool, plan_id) == {"dead again by another cause": 1, "waits": 1}


async def test_a_letter_that_somebody_else_retried_is_not_the_canary(postroom: Postroom) -> None:
    """It is told as such, also when it has died again meanwhile, and the next one is sent in its place."""
    async with worker(postroom) as me:
        first, second, third = await buried(postroom, me, 3)
        plan_id = await planned(postroom)
        await dead.retry(postroom.pool, [first], by="ben")
        await bulk(me, dies=1)
        await dead.discard(postroom.pool, [second], by="ben", reason="known")
        await started(postroom, plan_id)
        assert [event.id for event in await me.claim(urgency=1)] == [third]
    assert await plans.tally(postroom.pool, plan_id) == {"already retried": 2, "under way": 1}


async def test_what_retention_dropped_is_gone_and_the_sum_still_is_the_plan(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        gone, _ = await buried(postroom, me, 2)
        plan_id = await planned(postroom)
        await postroom.pool.execute("delete from outbox.dead where event_id = $1", gone)
        await postroom.pool.execute("delete from outbox.events where id = $1", gone)
        await started(postroom, plan_id, canary=False)
        await bulk(me)
        assert await moved(postroom, plan_id) == "done"
    assert await plans.tally(postroom.pool, plan_id) == {"gone": 1, "done": 1}


async def test_a_stop_sends_nothing_more_and_waits_for_what_was_sent(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        await buried(postroom, me, 3)
        plan_id = await planned(postroom)
        await started(postroom, plan_id)
        async with postroom.pool.acquire() as person:
            assert await plans.stop(person, plan_id, why="stopped by ben")
        assert await moved(postroom, plan_id) == "stopping"
        assert await bulk(me) == 1
        assert await moved(postroom, plan_id) == "stopped"
        async with postroom.pool.acquire() as person:
            assert not await plans.stop(person, plan_id, why="again")
    assert await plans.tally(postroom.pool, plan_id) == {"done": 1, "waits": 2}


async def test_events_with_newer_ones_of_their_lane_done_are_known_and_can_be_left_out(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        late, alone = await buried(postroom, me, 2)
        await put(postroom, "lane-0")
        await me.done(*await me.claim())
        plan_id = await planned(postroom)
        plan = await plans.one(postroom.pool, plan_id)
        assert plan is not None
        assert plan["newer"] == 1
        await started(postroom, plan_id, leave_out=True)
        assert [event.id for event in await me.claim(urgency=1)] == [alone]
    assert await plans.tally(postroom.pool, plan_id) == {"left out": 1, "under way": 1}
    assert await dead.one(postroom.pool, late) is not None


async def test_a_discard_by_plan_settles_all_of_it_with_the_reason(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        ids = await buried(postroom, me, 3)
        plan_id = await planned(postroom, ids=ids[:2], act=Act.DISCARD)
        await started(postroom, plan_id, canary=False)
    assert await moved(postroom, plan_id) == "done"
    assert await plans.tally(postroom.pool, plan_id) == {"skipped": 2}
    why = await postroom.value("select why from outbox.states(array[$1::bigint])", ids[0])
    assert why == f"discarded by ana, plan {plan_id}: sent by hand"
    assert (await postroom.totals())["dead"] == 1


async def test_workers_that_drive_one_plan_at_once_send_each_portion_once(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        await buried(postroom, me, 30)
        plan_id = await planned(postroom)
        async with postroom.pool.acquire() as person:
            await plans.start(person, plan_id, canary=True, alone=True, leave_out=False)
        sent = 0
        while await postroom.value("select state from outbox.plans") == "running":
            await asyncio.gather(*(plans.advance(postroom.pool, plan_id) for _ in range(4)))
            sent += await bulk(me)
    assert sent == 30
    assert await postroom.value("select max(attempt) from outbox.attempts where outcome = 'd'") == 2
    assert [row["events"] for row in await plans.portions(postroom.pool, plan_id)] == [1, 10, 19]


async def test_old_plans_are_dropped_and_those_under_way_are_kept(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        await buried(postroom, me, 2)
        kept, dropped = await planned(postroom), await planned(postroom)
        await started(postroom, kept)
    await postroom.pool.execute("update outbox.plans set made_at = now() - interval '91 days'")
    async with postroom.pool.acquire() as upkeep:
        await plans.prune(upkeep, older_than_days=90)
    assert [row["id"] for row in await plans.find(postroom.pool)] == [kept]
    assert dropped != kept


async def test_a_portion_is_sent_and_written_down_together_or_neither(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies between the two leaves the plan as it was, for the next."""
    retry = dead.retry

    async def die(connection: Connection, ids: Sequence[int], *, by: str) -> list[int]:
        await retry(connection, ids, by=by)
        raise DatabaseUnavailable("the line was cut")

    async with worker(postroom) as me:
        await buried(postroom, me, 3)
        plan_id = await planned(postroom)
        async with postroom.pool.acquire() as person:
            await plans.start(person, plan_id, canary=True, alone=False, leave_out=False)
        with monkeypatch.context() as patched:
            patched.setattr(dead, "retry", die)
            with pytest.raises(DatabaseUnavailable):
                await plans.advance(postroom.pool, plan_id)
        assert (await postroom.totals())["dead"] == 3
        assert await plans.tally(postroom.pool, plan_id) == {"waits": 3}
        assert await plans.advance(postroom.pool, plan_id)
        assert await bulk(me) == 1
        assert await moved(postroom, plan_id) == "resting"
