"""The engine's statements: a lane is free or busy, and every settlement is fenced by owner and attempt."""

import asyncio

import asyncpg
import pytest

from outbox.store import lanes, workers
from outbox.store.lanes import LOWEST, End
from outbox.testing import Postroom
from tests.outbox.engine import STARTED, Worker, busy, check_invariants, outcomes, places, put, worker
from tests.outbox.waiting import until_it_waits_for_a_lock

# ── I2: one event of a lane at work, its lowest


async def test_a_claim_takes_the_lowest_event_of_each_free_lane(postroom: Postroom) -> None:
    first, _ = await put(postroom, "chair:1", 2)
    (other,) = await put(postroom, "chair:2")
    (alone,) = await put(postroom, None)
    async with worker(postroom) as me:
        events = await me.claim()
    assert {event.id for event in events} == {first, other, alone}
    assert {(event.lane, event.attempt, event.failures, event.crashes, event.urgency) for event in events} == {
        ("chair:1", 1, 0, 0, 0),
        ("chair:2", 1, 0, 0, 0),
        (None, 1, 0, 0, 0),
    }
    assert next(event for event in events if event.id == alone).lane_key == alone
    await check_invariants(postroom)


async def test_i2_a_second_claim_gets_nothing_of_a_busy_lane(postroom: Postroom) -> None:
    await put(postroom, "chair:1", 3)
    async with worker(postroom) as me, worker(postroom) as other:
        assert len(await me.claim()) == 1
        assert await me.claim() == []
        assert await other.claim() == []
    await check_invariants(postroom)


async def test_i2_the_database_itself_refuses_a_second_event_of_a_lane(postroom: Postroom) -> None:
    await put(postroom, "chair:1")
    async with worker(postroom) as me:
        (event,) = await me.claim()
        with pytest.raises(asyncpg.UniqueViolationError):
            await postroom.pool.execute("insert into outbox.busy (lane, event_id, urgency, owner) values ($1, 1, 0, 1)", event.lane_key)


async def test_a_busy_row_has_an_owner_or_a_due_time_and_never_both(postroom: Postroom) -> None:
    for owner, due_at in (("1", "now()"), ("null", "null")):
        with pytest.raises(asyncpg.CheckViolationError):
            await postroom.pool.execute(
                f"insert into outbox.busy (lane, event_id, urgency, owner, due_at) values (1, 1, 0, {owner}, {due_at})"
            )


async def test_four_workers_that_claim_at_once_share_the_lanes_without_a_double(postroom: Postroom) -> None:
    for lane in range(30):
        await put(postroom, f"chair:{lane}", 2)
    async with worker(postroom) as one, worker(postroom) as two, worker(postroom) as three, worker(postroom) as four:
        claims = await asyncio.gather(*(each.claim(limit=20) for each in (one, two, three, four)))
        rest = await one.claim()
    claimed = [event.lane for events in (*claims, rest) for event in events]
    assert len(claimed) == len(set(claimed)) == 30
    await check_invariants(postroom)


async def test_an_event_that_commits_late_with_a_lower_id_waits_for_the_lane(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as late, worker(postroom) as me:
        transaction = late.transaction()
        await transaction.start()
        lower = await late.fetchval("select outbox.stage('a', '{}', lane => 'chair:1')")
        (higher,) = await put(postroom, "chair:1")
        (running,) = await me.claim()
        assert running.id == higher
        await transaction.commit()
        assert await me.claim() == []
        await me.done(running)
        assert [event.id for event in await me.claim()] == [lower]


async def test_a_claim_does_not_wait_for_the_claim_of_another(postroom: Postroom) -> None:
    """Its rows are locked, so they are skipped, and not their followers taken in their place."""
    await put(postroom, "chair:1", 2)
    (free,) = await put(postroom, "chair:2")
    async with postroom.pool.acquire() as slow, worker(postroom) as me:
        transaction = slow.transaction()
        await transaction.start()
        other = await workers.begin(slow, "slow", lease_s=30)
        taken = await lanes.claim(slow, worker=other, limit=100, cursor=LOWEST, urgency=0)
        assert len(taken.events) == 2
        await put(postroom, "chair:3")
        async with asyncio.timeout(10):
            events = await me.claim()
        assert [event.lane for event in events] == ["chair:3"]
        await transaction.rollback()
        assert {event.id for event in await me.claim()} >= {free}


async def test_live_and_bulk_are_claimed_apart_and_share_the_lane(postroom: Postroom) -> None:
    (bulk,) = await put(postroom, "chair:1", urgency=1)
    (live,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        (first,) = await me.claim(urgency=0)
        assert first.id == live
        assert await me.claim(urgency=1) == [], "the lane is busy, whatever the urgency"
        await me.done(first)
        (second,) = await me.claim(urgency=1)
        assert (second.id, second.urgency) == (bulk, 1)


# ── I3: only the settlement of the current owner and attempt counts, and only once


async def test_i3_a_stale_worker_cannot_finish_an_event(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me, worker(postroom) as other:
        (event,) = await me.claim()
        for settle in (other.done, other.skip, other.retry, other.hold, other.bury):
            assert await settle(event) == set()
        assert await other.done_and_next(event) == (set(), [])
        assert await places(postroom, event_id) == ["busy"]
        assert await outcomes(postroom, event_id) == ""
        assert await me.done(event) == {event_id}
    await check_invariants(postroom)


async def test_i3_a_settlement_of_an_earlier_attempt_does_not_count(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        (first,) = await me.claim()
        await me.retry(first)
        (second,) = await me.take_due()
        assert (second.attempt, second.failures) == (2, 1)
        for settle in (me.done, me.skip, me.retry, me.hold, me.bury):
            assert await settle(first) == set()
        assert await me.done_and_next(first) == (set(), [])
        assert await me.done(second) == {event_id}
    assert await outcomes(postroom, event_id) == "rd"


async def test_i3_a_settlement_sent_twice_changes_nothing_the_second_time(postroom: Postroom) -> None:
    ids = await put(postroom, "chair:1", 2)
    async with worker(postroom) as me:
        (event,) = await me.claim()
        assert await me.done(event) == {event.id}
        (following,) = await me.claim()
        assert await me.done(event) == set()
        assert await me.bury(event) == set()
        assert await me.bury(following) == {following.id}
        assert await me.bury(following) == set()
    assert [await outcomes(postroom, event_id) for event_id in ids] == ["d", "x"]
    await check_invariants(postroom)


async def test_a_batch_counts_those_that_are_ours_and_leaves_the_others(postroom: Postroom) -> None:
    await put(postroom, "chair:1")
    await put(postroom, "chair:2")
    async with worker(postroom) as me, worker(postroom) as other:
        (mine,) = await me.claim(limit=1)
        (theirs,) = await other.claim()
        assert await me.done(mine, theirs) == {mine.id}
        assert await other.done(theirs) == {theirs.id}


async def test_a_skipped_event_keeps_its_reason(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, None)
    async with worker(postroom) as me:
        assert await me.skip(*await me.claim(), note="no route") == {event_id}
    (event,) = await postroom.staged()
    assert (event["state"], event["why"], event["attempts"]) == ("skipped", "no route", 1)


async def test_of_two_settlements_at_one_moment_one_counts(postroom: Postroom) -> None:
    """The second waits for the first's commit, and then finds nothing."""
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me, postroom.pool.acquire() as slow:
        (event,) = await me.claim()
        transaction = slow.transaction()
        await transaction.start()
        assert await lanes.finish(slow, [End(event, STARTED, 5, "d")], worker=me.id) == {event_id}
        late = asyncio.create_task(me.retry(event))
        await until_it_waits_for_a_lock(postroom, me.connection.get_server_pid())
        await transaction.commit()
        assert await late == set()
    assert await outcomes(postroom, event_id) == "d"


# ── I4: a worker that has ended


async def test_i4_an_ended_worker_claims_nothing(postroom: Postroom) -> None:
    (_, retried, _) = (*await put(postroom, "chair:1"), *await put(postroom, "chair:2"), *await put(postroom, "chair:3"))
    async with worker(postroom) as me, worker(postroom) as other:
        events = await other.claim(limit=100)
        await other.retry(*[event for event in events if event.id == retried])
        await other.hold(*[event for event in events if event.id != retried])
        await put(postroom, "chair:4")
        await me.die()
        assert await me.claim() == []
        assert await me.take_due() == []
        assert [event.id for event in await other.take_due()] == [retried]


async def test_i4_an_ended_worker_does_not_keep_its_lane_for_the_next_event(postroom: Postroom) -> None:
    await put(postroom, "chair:1", 2)
    async with worker(postroom) as me, worker(postroom) as other:
        (event,) = await me.claim()
        await me.die()
        assert await me.done_and_next(event) == ({event.id}, [])
        assert len(await other.claim()) == 1
    await check_invariants(postroom)


async def test_i4_what_was_taken_from_a_dead_worker_it_cannot_settle(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as zombie, worker(postroom) as me:
        (event,) = await zombie.claim()
        await zombie.die()
        assert await lanes.release_orphans(me.connection) == [event_id]
        for settle in (zombie.done, zombie.skip, zombie.retry, zombie.hold, zombie.bury):
            assert await settle(event) == set()
        (again,) = await me.take_due()
        assert await zombie.done(event) == set()
        assert await me.done(again) == {event_id}
    assert await outcomes(postroom, event_id) == "cd"


async def test_a_worker_that_never_began_claims_nothing(postroom: Postroom) -> None:
    await put(postroom, "chair:1")
    async with worker(postroom) as me:
        assert await Worker(me.connection, me.id + 1000).claim() == []


async def test_holding_an_event_locks_it_until_the_transaction_ends(postroom: Postroom) -> None:
    await put(postroom, "chair:1")
    async with worker(postroom) as me, worker(postroom) as other:
        (event,) = await me.claim()
        async with me.connection.transaction():
            assert await lanes.holds(me.connection, event, worker=me.id)
            assert not await lanes.holds(other.connection, event, worker=other.id)
            assert await workers.end(other.connection, me.id)
            assert await lanes.release_orphans(other.connection) == [], "a locked row is left for the next look"
            assert await lanes.orphan_owners(other.connection) == [me.id]
        assert await lanes.release_orphans(other.connection) == [event.id]
        assert await lanes.orphan_owners(other.connection) == []
        assert not await lanes.holds(me.connection, event, worker=me.id)
        assert (await busy(postroom, event.id))["crashes"] == 1
