"""A lane that moves on: to its next event with the settlement, with the followers that a head covered, in its turn among the lanes."""

import pytest

from outbox.store import lanes
from outbox.store.lanes import LOWEST, End
from outbox.testing import Postroom
from tests.outbox.engine import STARTED, check_invariants, outcomes, places, put, worker

# ── finish_and_take: the settlement takes the lane's next event along


async def test_a_finished_lane_moves_to_its_next_event_in_the_same_statement(postroom: Postroom) -> None:
    first, second, third = await put(postroom, "chair:1", 3)
    async with worker(postroom) as me, worker(postroom) as other:
        (event,) = await me.claim()
        counted, taken = await me.done_and_next(event)
        assert counted == {first}
        ((before, following),) = taken
        assert (before, following.id, following.attempt, following.failures, following.lane) == (first, second, 1, 0, "chair:1")
        assert following.json() == {"n": 1}
        assert await other.claim() == [], "the lane is still this worker's"
        assert await places(postroom, third) == ["pending"]
        await check_invariants(postroom)
        _, ((_, last),) = await me.done_and_next(following)
        assert await me.done_and_next(last) == ({third}, [])
    assert await postroom.value("select count(*) from outbox.busy") == 0
    assert await postroom.totals() == {"accepted": 3, "pending": 0, "dead": 0, "done": 3, "skipped": 0}


async def test_a_lane_is_given_free_where_it_is_not_wanted(postroom: Postroom) -> None:
    await put(postroom, "chair:1", 2)
    await put(postroom, "chair:2", 2)
    async with worker(postroom) as me, worker(postroom) as other:
        events = await me.claim()
        counted, taken = await me.done_and_next(*events, take=[True, False])
        assert counted == {event.id for event in events}
        assert [before for before, _ in taken] == [events[0].id]
        assert [event.lane for event in await other.claim()] == [events[1].lane]
    await check_invariants(postroom)


async def test_the_failures_of_one_event_are_not_those_of_the_next(postroom: Postroom) -> None:
    await put(postroom, "chair:1", 2)
    async with worker(postroom) as me:
        await me.retry(*await me.claim())
        (event,) = await me.take_due()
        assert (event.attempt, event.failures) == (2, 1)
        _, ((_, following),) = await me.done_and_next(event)
        assert (following.attempt, following.failures, following.crashes) == (1, 0, 0)
        await me.retry(following)
        (again,) = await me.take_due()
        assert (again.attempt, again.failures) == (2, 1)


async def test_a_lane_of_bulk_work_is_given_up_for_a_live_event(postroom: Postroom) -> None:
    await put(postroom, "chair:1", 2, urgency=1)
    async with worker(postroom) as me:
        (event,) = await me.claim(urgency=1)
        (live,) = await put(postroom, "chair:1")
        assert await me.done_and_next(event) == ({event.id}, [])
        assert [taken.id for taken in await me.claim(urgency=0)] == [live]


async def test_a_lane_does_not_pass_its_head_while_another_claim_has_it_locked(postroom: Postroom) -> None:
    """Taking the one behind a locked head would let it overtake (P5); the lane is given free instead."""
    first, second, third = await put(postroom, "chair:1", 3)
    async with worker(postroom) as me, postroom.pool.acquire() as other:
        (event,) = await me.claim()
        async with other.transaction():
            await other.execute("select from outbox.pending where event_id = $1 for update", second)
            assert await me.done_and_next(event) == ({first}, [])
        assert [taken.id for taken in await me.claim()] == [second]
        assert await places(postroom, third) == ["pending"]


async def test_a_settlement_that_takes_is_fenced_like_any_other(postroom: Postroom) -> None:
    first, second = await put(postroom, "chair:1", 2)
    async with worker(postroom) as me:
        (event,) = await me.claim()
        assert len((await me.done_and_next(event))[1]) == 1
        assert await me.done_and_next(event) == (set(), []), "the busy row is the next event's by now"
        assert await places(postroom, second) == ["busy"]
    assert await outcomes(postroom, first) == "d"


# ── followers: what a head covers


async def test_followers_are_told_in_order_with_their_kinds(postroom: Postroom) -> None:
    await put(postroom, "page:1", kind="page.updated")
    second, third = await put(postroom, "page:1", 2, kind="page.updated")
    (fourth,) = await put(postroom, "page:1", kind="page.deleted")
    await put(postroom, "page:1", kind="page.updated", urgency=1)
    (alone,) = await put(postroom, "page:2")
    async with worker(postroom) as me:
        events = await me.claim()
        found = await lanes.followers(me.connection, events)
        head = next(event for event in events if event.id != alone)
        assert found == {head.lane_key: [(second, "page.updated"), (third, "page.updated"), (fourth, "page.deleted")]}
        assert await lanes.followers(me.connection, [head], limit=1) == {head.lane_key: [(second, "page.updated")]}


async def test_followers_that_a_head_covered_are_skipped_with_its_settlement(postroom: Postroom) -> None:
    first, second, third, fourth = await put(postroom, "page:1", 4)
    async with worker(postroom) as me:
        (head,) = await me.claim()
        end = End(head, STARTED, 5, "d", None, (second, third))
        assert await lanes.finish(me.connection, [end], worker=me.id) == {first}
        assert [event.id for event in await me.claim()] == [fourth]
    states = {event["id"]: (event["state"], event["why"]) for event in await postroom.staged()}
    assert states[second] == states[third] == ("skipped", f"coalesced into #{first}")
    assert states[first] == ("done", None)
    await check_invariants(postroom)


async def test_a_head_that_was_lost_covers_nothing(postroom: Postroom) -> None:
    first, second = await put(postroom, "page:1", 2)
    async with worker(postroom) as me, worker(postroom) as other:
        (head,) = await me.claim()
        stale = End(head, STARTED, 5, "d", None, (second,))
        assert await lanes.finish(other.connection, [stale], worker=other.id) == set()
        assert await places(postroom, second) == ["pending"]
        assert await places(postroom, first) == ["busy"]


async def test_a_head_covers_no_event_of_another_lane(postroom: Postroom) -> None:
    await put(postroom, "page:1")
    (stranger,) = await put(postroom, "page:2")
    async with worker(postroom) as me:
        (head,) = await me.claim(limit=1)
        wrong = stranger if head.id != stranger else head.id + 1
        await lanes.finish(me.connection, [End(head, STARTED, 5, "d", None, (wrong,))], worker=me.id)
    assert await postroom.value("select count(*) from outbox.pending") == 1


# ── fairness: a claim goes round over the lanes


async def test_claims_with_a_cursor_go_round_over_the_lanes(postroom: Postroom) -> None:
    """No lane is served twice before each was served once, though every lane always has more."""
    for lane in range(10):
        await put(postroom, f"chair:{lane}", 3)
    served: list[str | None] = []
    async with worker(postroom) as me:
        cursor = LOWEST
        while len(served) < 30:
            looked = await lanes.claim(me.connection, worker=me.id, limit=4, cursor=cursor, urgency=0)
            cursor = looked.last if looked.seen == 4 else LOWEST
            served += [event.lane for event in looked.events]
            await me.done(*looked.events)
    for turn in (served[:10], served[10:20], served[20:]):
        assert len(set(turn)) == 10


async def test_a_claim_says_how_far_it_looked(postroom: Postroom) -> None:
    for lane in range(3):
        await put(postroom, f"chair:{lane}")
    keys = sorted(row["lane"] for row in await postroom.rows("select lane from outbox.pending"))
    async with worker(postroom) as me:
        two = await lanes.claim(me.connection, worker=me.id, limit=2, cursor=LOWEST, urgency=0)
        assert (two.last, two.seen) == (keys[1], 2)
        one = await lanes.claim(me.connection, worker=me.id, limit=2, cursor=two.last, urgency=0)
        assert (one.last, one.seen, len(one.events)) == (keys[2], 1, 1)
        none = await lanes.claim(me.connection, worker=me.id, limit=2, cursor=one.last, urgency=0)
        assert (none.last, none.seen, none.events) == (LOWEST, 0, [])


@pytest.mark.parametrize("waiting", [50])
async def test_lanes_that_wait_for_a_retry_hide_no_lane_behind_them(postroom: Postroom, waiting: int) -> None:
    """A claim that finds nothing but blocked lanes says how far it looked, so that the next one finds what is behind."""
    for lane in range(waiting):
        await put(postroom, f"chair:{lane}", 2)
    async with worker(postroom) as me:
        await me.retry(*await me.claim(), delay_s=3600)
        (fresh,) = await put(postroom, "fresh")
        cursor, found = LOWEST, []
        for _ in range(waiting // 10 + 2):
            looked = await lanes.claim(me.connection, worker=me.id, limit=10, cursor=cursor, urgency=0)
            cursor = looked.last if looked.seen == 10 else LOWEST
            found += [event.id for event in looked.events]
        assert found == [fresh]
