"""Lanes that wait: retries, holds, delays, burials, what a stopping worker hands back, what a dead one leaves."""

from datetime import UTC, datetime, timedelta

import pytest

from outbox import Event, stage
from outbox.store import lanes, workers
from outbox.testing import Postroom
from tests.outbox.engine import Worker, busy, check_invariants, outcomes, places, put, worker


async def test_a_retry_keeps_the_lane_and_runs_again_with_the_next_attempt(postroom: Postroom) -> None:
    first, _ = await put(postroom, "chair:1", 2)
    async with worker(postroom) as me:
        (event,) = await me.claim()
        assert await me.retry(event, delay_s=0, why="the far side said 503") == {first}
        row = await busy(postroom, first)
        assert (row["owner"], row["failures"], row["why"]) == (None, 1, "the far side said 503")
        assert await me.claim() == [], "a failing head holds its lane back (P5)"
        (again,) = await me.take_due()
        assert (again.id, again.attempt, again.failures) == (first, 2, 1)
        assert (await busy(postroom, first))["why"] is None
        await check_invariants(postroom)
    assert await outcomes(postroom, first) == "r"


async def test_a_wait_ends_by_the_clock_of_the_database(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        await me.retry(*await me.claim(), delay_s=3600)
        assert await me.take_due() == []
        ready, due_s = await lanes.next_due(me.connection)
        assert not ready
        assert due_s is not None
        assert 3590 < due_s <= 3600
        assert await postroom.hurry() == 1
        assert [event.id for event in await me.take_due()] == [event_id]


async def test_what_is_due_longest_is_taken_first_and_no_more_than_asked(postroom: Postroom) -> None:
    for lane in range(4):
        await put(postroom, f"chair:{lane}")
    async with worker(postroom) as me:
        events = await me.claim()
        for event, ago in zip(events, (3.0, 1.0, 4.0, 2.0), strict=True):
            await me.retry(event, delay_s=-ago)
        taken = [event.id for event in await me.take_due(limit=2)]
        assert sorted(taken) == sorted([events[2].id, events[0].id])
        assert len(await me.take_due(limit=100)) == 2


async def test_two_workers_never_take_the_same_due_event(postroom: Postroom) -> None:
    await put(postroom, "chair:1")
    async with worker(postroom) as me, worker(postroom) as other:
        await me.retry(*await me.claim())
        async with me.connection.transaction():
            assert len(await me.take_due()) == 1
            assert await other.take_due() == []
        assert await other.take_due() == []


async def test_a_held_event_waits_for_its_destination_and_the_hold_costs_no_attempt(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        (event,) = await me.claim()
        assert await me.hold(event, destination="ghl") == {event_id}
        row = await busy(postroom, event_id)
        assert (row["is_held"], row["why"], row["attempt"], row["failures"]) == (True, "held for ghl", 0, 0)
        assert await me.take_due() == []
        assert await lanes.next_due(me.connection) == (False, None)
        assert await lanes.held(me.connection) == {"ghl": (1, event_id, False)}
        await check_invariants(postroom)
        assert await lanes.release_held(me.connection, "notion", limit=10) == 0
        assert await lanes.release_held(me.connection, "ghl", limit=10) == 1
        assert await lanes.release_held(me.connection, "ghl", limit=10) == 0
        (again,) = await me.take_due()
        assert (again.attempt, again.failures) == (1, 0)
    assert await outcomes(postroom, event_id) == ""


async def test_held_events_are_released_in_portions_the_oldest_first(postroom: Postroom) -> None:
    ids = [(await put(postroom, f"chair:{lane}"))[0] for lane in range(5)]
    async with worker(postroom) as me:
        await me.hold(*await me.claim())
        assert await lanes.release_held(me.connection, "ghl", limit=2) == 2
        assert {event.id for event in await me.take_due()} == set(ids[:2])
        assert await lanes.held(me.connection) == {"ghl": (3, ids[2], False)}


async def test_a_buried_event_frees_its_lane_and_says_why_it_died(postroom: Postroom) -> None:
    first, second = await put(postroom, "chair:1", 2)
    async with worker(postroom) as me:
        await me.retry(*await me.claim())
        (event,) = await me.take_due()
        assert await me.bury(event, reason="the far side refused it") == {first}
        assert await places(postroom, first) == ["dead"]
        assert [next_event.id for next_event in await me.claim()] == [second]
    (dead, _) = await postroom.staged()
    assert (dead["state"], dead["why"], dead["attempts"]) == ("dead", "the far side refused it", 2)
    rows = await postroom.rows("select lane, urgency, attempt, fingerprint from outbox.dead")
    assert rows == [{"lane": event.lane_key, "urgency": 0, "attempt": 2, "fingerprint": "cause"}]
    assert await outcomes(postroom, first) == "rx"
    await check_invariants(postroom)


async def test_a_delayed_event_joins_its_lane_when_it_is_due(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as app:
        later = await stage(app, Event("a", {}, lane="chair:1", due_at=datetime.now(UTC) + timedelta(hours=1)))
    (now,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        assert [event.id for event in await me.claim()] == [now]
        assert await lanes.promote_delayed(me.connection) == 0
        _, due_s = await lanes.next_due(me.connection)
        assert due_s is not None
        assert 3590 < due_s <= 3600
        await postroom.pool.execute("update outbox.delayed set due_at = now()")
        assert await lanes.promote_delayed(me.connection) == 1
        assert await places(postroom, later) == ["pending"]
        assert await me.claim() == [], "its lane is at work"
        await check_invariants(postroom)


async def test_delayed_events_are_promoted_in_portions_and_by_one_worker_each(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as app:
        for n in range(5):
            await stage(app, Event("a", {"n": n}, due_at=datetime.now(UTC) + timedelta(hours=1)))
    await postroom.pool.execute("update outbox.delayed set due_at = now() - event_id % 7 * interval '1 s'")
    async with worker(postroom) as me, worker(postroom) as other:
        async with me.connection.transaction():
            assert await lanes.promote_delayed(me.connection, limit=3) == 3
            assert await lanes.promote_delayed(other.connection, limit=3) == 2
        assert await lanes.promote_delayed(me.connection) == 0
        assert len(await me.claim()) == 5


async def test_a_stopping_worker_hands_its_events_back_with_the_attempt_as_it_was(postroom: Postroom) -> None:
    for lane in range(3):
        await put(postroom, f"chair:{lane}")
    async with worker(postroom) as me, worker(postroom) as other:
        mine = await me.claim(limit=2)
        theirs = await other.claim()
        assert await lanes.hand_back(me.connection, worker=me.id) == 2
        assert await lanes.hand_back(me.connection, worker=me.id) == 0
        again = await other.take_due()
        assert {(event.id, event.attempt, event.failures, event.crashes) for event in again} == {(event.id, 1, 0, 0) for event in mine}
        assert await me.done(*mine) == set()
        assert await other.done(*again, *theirs) == {event.id for event in (*mine, *theirs)}


# ── what a dead worker leaves


async def crash(me: Worker, postroom: Postroom) -> None:
    """A worker dies with what it holds; another finds that."""
    await me.die()
    async with worker(postroom, "rescuer") as other:
        await lanes.bury_poison(other.connection)
        await lanes.release_orphans(other.connection)


async def test_the_events_of_a_dead_worker_are_due_at_once_one_crash_more(postroom: Postroom) -> None:
    first, second = await put(postroom, "chair:1", 2)
    async with worker(postroom) as me, worker(postroom) as other:
        await me.claim()
        assert await lanes.release_orphans(other.connection) == [], "its worker lives"
        await me.die()
        assert await lanes.orphan_owners(other.connection) == [me.id]
        assert await lanes.bury_poison(other.connection) == []
        assert await lanes.release_orphans(other.connection) == [first]
        assert await lanes.release_orphans(other.connection) == []
        (again,) = await other.take_due()
        assert (again.id, again.attempt, again.crashes, again.failures) == (first, 2, 1, 0)
        assert await places(postroom, second) == ["pending"]
    assert await outcomes(postroom, first) == "c"
    assert await postroom.value("select owner from outbox.attempts") == me.id
    await check_invariants(postroom)


async def test_what_waits_for_a_retry_is_no_orphan_of_the_worker_that_tried_it(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me, worker(postroom) as other:
        await me.retry(*await me.claim(), delay_s=3600)
        await me.die()
        assert await lanes.release_orphans(other.connection) == []
        assert (await busy(postroom, event_id))["crashes"] == 0


async def test_an_event_is_buried_when_it_has_killed_its_process_three_times(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    for attempt in (1, 2):
        async with worker(postroom) as me:
            (event,) = await (me.claim() if attempt == 1 else me.take_due())
            assert event.crashes == attempt - 1
            await crash(me, postroom)
            assert await places(postroom, event_id) == ["busy"]
    async with worker(postroom) as me:
        (event,) = await me.take_due()
        assert event.crashes == 2
        await crash(me, postroom)
    (dead,) = await postroom.staged()
    assert (dead["state"], dead["why"]) == ("dead", "killed its process 3 times")
    assert await postroom.value("select fingerprint from outbox.dead") == "poison"
    assert await outcomes(postroom, event_id) == "ccx"
    assert await postroom.value("select count(*) from outbox.busy") == 0
    await check_invariants(postroom)


async def test_events_that_killed_their_process_twice_run_one_at_a_time(postroom: Postroom) -> None:
    for lane in range(3):
        await put(postroom, f"chair:{lane}")
    async with worker(postroom) as me:
        await me.retry(*await me.claim())
        await postroom.pool.execute("update outbox.busy set crashes = 2")
        (healthy,) = await put(postroom, "chair:9")
        await me.retry(*await me.claim())
        assert [event.id for event in await me.take_due(suspects=False)] == [healthy]
        assert len(await me.take_due()) == 1
        assert len(await me.take_due()) == 1


# ── incarnations and their leases


async def test_a_worker_id_is_never_used_again(postroom: Postroom) -> None:
    async with worker(postroom) as me, worker(postroom) as other:
        assert me.id < other.id
        assert await workers.end(me.connection, me.id)
        assert not await workers.end(me.connection, me.id)
        assert not await workers.renew(me.connection, me.id, lease_s=30, timeout_s=5), "ended is ended"
        assert await workers.renew(other.connection, other.id, lease_s=30, timeout_s=5)
        assert [row["id"] for row in await workers.alive(other.connection)] == [other.id]


@pytest.mark.parametrize("until", ["now() - interval '1 ms'", "now() + interval '1 hour'"])
async def test_a_lease_that_ran_out_or_lies_absurdly_far_ahead_is_ended(postroom: Postroom, until: str) -> None:
    async with worker(postroom) as me, worker(postroom) as other:
        assert await workers.end_lapsed(other.connection) == []
        assert not await workers.recently_ended(other.connection)
        await postroom.pool.execute(f"update outbox.workers set until = {until} where id = $1", me.id)
        assert await workers.end_lapsed(other.connection) == [me.id]
        assert await workers.end_lapsed(other.connection) == []
        assert await workers.recently_ended(other.connection)
        assert not await workers.renew(me.connection, me.id, lease_s=30, timeout_s=5)


async def test_living_workers_are_told_with_what_they_run(postroom: Postroom) -> None:
    await put(postroom, "chair:1")
    async with worker(postroom, "anna") as me, worker(postroom, "bert"):
        await me.claim()
        rows = await workers.alive(postroom.pool)
        assert [(row["name"], row["running"]) for row in rows] == [("anna", 1), ("bert", 0)]
        assert all(0 < row["lease_s"] <= 30 for row in rows)


async def test_workers_that_ended_long_ago_are_forgotten_unless_they_still_own_something(postroom: Postroom) -> None:
    await put(postroom, "chair:1")
    async with worker(postroom) as holds, worker(postroom) as gone, worker(postroom) as recent, worker(postroom) as alive:
        await holds.claim()
        await postroom.pool.execute(
            "update outbox.workers set ended_at = now() - interval '2 days' where id in ($1, $2)", holds.id, gone.id
        )
        await recent.die()
        await workers.prune(alive.connection)
        assert {row["id"] for row in await postroom.rows("select id from outbox.workers")} == {holds.id, recent.id, alive.id}


async def test_the_connections_of_a_frozen_worker_are_ended_and_no_others(postroom: Postroom, own: Postroom) -> None:
    """Ids repeat in another database of the same server, whose workers are none of ours."""
    async with worker(postroom) as frozen, worker(postroom) as other, worker(own) as neighbour:
        for connection in (frozen.connection, neighbour.connection):
            await connection.execute(f"set application_name = 'postroom:{frozen.id}'")
        assert await workers.terminate(other.connection, frozen.id + 7) == 0
        assert await workers.terminate(other.connection, frozen.id) == 1
        assert await other.connection.fetchval("select 1") == 1
        assert await neighbour.connection.fetchval("select 1") == 1
