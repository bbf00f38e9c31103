"""Replays: a settled event that a person sets going again runs once more, with its history."""

import asyncio

from outbox.store import dead, events
from outbox.testing import Postroom
from tests.outbox.engine import check_invariants, outcomes, places, put, settled, worker
from tests.outbox.waiting import until_it_waits_for_a_lock


async def test_a_settled_event_is_replayed_as_bulk_with_the_next_attempt(postroom: Postroom) -> None:
    for how in ("done", "skip"):
        event_id = await settled(postroom, how, f"chair:{how}")
        async with postroom.pool.acquire() as person:
            assert await events.replay(person, event_id, by="ada")
        assert await places(postroom, event_id) == ["pending"]
        async with worker(postroom) as me:
            assert await me.claim(urgency=0) == []
            (event,) = await me.claim(urgency=1)
            assert (event.id, event.attempt, event.failures) == (event_id, 2, 0)
            await me.done(event)
        assert await outcomes(postroom, event_id) in ("dpd", "spd")
        assert await postroom.value("select note from outbox.attempts where event_id = $1 and outcome = 'p'", event_id) == "replayed by ada"
    await check_invariants(postroom)


async def test_what_is_undone_dead_or_unknown_is_not_replayed(postroom: Postroom) -> None:
    buried = await settled(postroom, "bury", "a")
    running, retrying = [(await put(postroom, lane))[0] for lane in ("b", "c")]
    async with worker(postroom) as me:
        await me.retry(*[event for event in await me.claim() if event.id == retrying], delay_s=3600)
        (waiting,) = await put(postroom, "d")
        async with postroom.pool.acquire() as person:
            for event_id in (waiting, running, retrying, buried, 1, 2**62):
                assert not await events.replay(person, event_id, by="ada")
    assert await postroom.value("select count(*) from outbox.attempts where outcome = 'p'") == 0
    await check_invariants(postroom)


async def test_two_people_who_replay_one_event_at_once_stage_it_once(postroom: Postroom) -> None:
    event_id = await settled(postroom, "done")
    async with postroom.pool.acquire() as one, postroom.pool.acquire() as other, postroom.pool.acquire() as third:
        transaction = third.transaction()
        await transaction.start()
        assert await events.replay(third, event_id, by="eve")
        tasks = [asyncio.create_task(events.replay(person, event_id, by="ada")) for person in (one, other)]
        for person in (one, other):
            await until_it_waits_for_a_lock(postroom, person.get_server_pid())
        await transaction.rollback()
        assert sorted(await asyncio.gather(*tasks)) == [False, True]
    assert await postroom.value("select count(*) from outbox.pending") == 1
    assert await outcomes(postroom, event_id) == "dp"


async def test_an_event_may_be_replayed_again_after_it_ran_again(postroom: Postroom) -> None:
    event_id = await settled(postroom, "done")
    async with worker(postroom) as me, postroom.pool.acquire() as person:
        for attempt in (2, 3):
            assert await events.replay(person, event_id, by="ada")
            (event,) = await me.claim(urgency=1)
            assert event.attempt == attempt
            await me.done(event)
    assert await outcomes(postroom, event_id) == "dpdpd"


async def test_a_replayed_event_waits_for_its_lane(postroom: Postroom) -> None:
    event_id = await settled(postroom, "done")
    (fresh,) = await put(postroom, "chair:1")
    async with worker(postroom) as me, postroom.pool.acquire() as person:
        (event,) = await me.claim()
        assert event.id == fresh
        assert await events.replay(person, event_id, by="ada")
        assert await me.claim(urgency=1) == []
        await me.done(event)
        assert [again.id for again in await me.claim(urgency=1)] == [event_id]


async def test_a_discarded_letter_can_be_replayed(postroom: Postroom) -> None:
    event_id = await settled(postroom, "bury")
    await dead.discard(postroom.pool, [event_id], by="ada", reason="a test")
    async with postroom.pool.acquire() as person:
        assert await events.replay(person, event_id, by="ada")
    async with worker(postroom) as me:
        (event,) = await me.claim(urgency=1)
        assert event.attempt == 2
