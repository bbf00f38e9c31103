"""Near looks: claims among the newest events, under the same rules as a claim over all lanes, at a cost that dead rows do not raise."""

from collections.abc import Sequence
from typing import Any

import pytest

from outbox.event import Claimed
from outbox.store import fresh
from outbox.testing import Postroom
from tests.outbox.engine import Worker, check_invariants, put, worker
from tests.outbox.test_claim_cost import buffers, costliest, explain, explain_claim, rows_touched, scanned
from tests.storage.held import snapshot, stage, through

NEWEST = 50


async def near(me: Worker, *, limit: int = 100, above: int | None = None, urgency: int = 0, freed: Sequence[int] = ()) -> list[Claimed]:
    return (await fresh.claim(me.connection, worker=me.id, limit=limit, above=above, urgency=urgency, lanes=freed)).events


def ids(events: Sequence[Claimed]) -> list[int]:
    return sorted(event.id for event in events)


async def explain_near(me: Worker, *, above: int, limit: int = NEWEST) -> dict[str, Any]:
    types, values = "bigint, int, bigint, smallint, int, bigint[]", f"{me.id}, {limit}, {above}, 0, {fresh.LOOK_AT}, '{{}}'"
    return await explain(me, "fresh", "claim", types, values)


# ── what they take


async def test_a_near_look_takes_the_heads_of_free_lanes_and_no_follower(postroom: Postroom) -> None:
    first, _ = await put(postroom, "chair:1", 2)
    (other,) = await put(postroom, "chair:2")
    (alone,) = await put(postroom, None)
    async with worker(postroom) as me:
        assert ids(await near(me)) == [first, other, alone]
        assert await near(me) == []
        await check_invariants(postroom)


async def test_a_near_look_takes_nothing_of_a_lane_that_is_busy_and_such_lanes_do_not_use_up_its_limit(postroom: Postroom) -> None:
    for n in range(5):
        await put(postroom, f"held:{n}")
    async with worker(postroom) as me:
        await me.hold(*await me.claim())
        for n in range(5):
            await put(postroom, f"held:{n}")
        (free,) = await put(postroom, "free")
        assert ids(await near(me, limit=1)) == [free]


async def test_p5_a_near_look_finds_the_head_of_a_lane_also_when_that_is_older_than_what_it_looks_at(postroom: Postroom) -> None:
    old, young = await put(postroom, "chair:1", 2)
    async with worker(postroom) as me:
        assert ids(await near(me, above=young - 1)) == [old]


async def test_p5_a_lower_id_that_is_committed_late_waits_for_its_lane(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as slow, worker(postroom) as me:
        transaction = slow.transaction()
        await transaction.start()
        late = await slow.fetchval("select outbox.stage('a', '{}', lane => 'chair:1')")
        (early,) = await put(postroom, "chair:1")
        taken = await near(me)
        assert ids(taken) == [early]
        await transaction.commit()
        assert await near(me) == []
        await me.done(*taken)
        assert ids(await near(me)) == [late]


async def test_a_lane_that_was_let_go_is_looked_at_however_old_its_head_is(postroom: Postroom) -> None:
    (old,) = await put(postroom, "chair:1")
    (young,) = await put(postroom, "chair:2")
    lane = await postroom.value("select lane from outbox.pending where event_id = $1", old)
    async with worker(postroom) as me:
        assert ids(await near(me, above=young)) == []
        assert ids(await near(me, above=young, freed=[lane])) == [old]


async def test_near_looks_tell_live_events_from_bulk_ones(postroom: Postroom) -> None:
    (live,) = await put(postroom, "chair:1")
    (bulk,) = await put(postroom, "chair:2", urgency=1)
    async with worker(postroom) as me:
        assert ids(await near(me, urgency=1)) == [bulk]
        assert ids(await near(me, urgency=0)) == [live]


async def test_p4_a_worker_that_ended_takes_nothing_by_near_looks(postroom: Postroom) -> None:
    (event,) = await put(postroom, "chair:1")
    async with worker(postroom) as gone, worker(postroom) as me:
        await gone.die()
        assert await near(gone) == []
        assert ids(await near(me)) == [event]


async def test_what_another_has_locked_is_left_to_it_and_its_follower_too(postroom: Postroom) -> None:
    await put(postroom, "chair:1", 2)
    (other,) = await put(postroom, "chair:2")
    async with postroom.pool.acquire() as rival, rival.transaction():
        await rival.execute("select from outbox.pending where lane = outbox.lane_of('chair:1', 0) order by event_id limit 1 for update")
        async with worker(postroom) as me:
            assert ids(await near(me)) == [other]


async def test_a_near_look_says_how_far_it_looked(postroom: Postroom) -> None:
    await stage(postroom, fresh.LOOK_AT + 10, lanes=7)
    first, last = await postroom.value("select array[min(id), max(id)] from outbox.events")
    async with worker(postroom) as me:
        looked = await fresh.claim(me.connection, worker=me.id, limit=100, above=first - 1, urgency=0)
        assert (len(looked.events), looked.seen, looked.last) == (7, fresh.LOOK_AT, last - 10)
        looked = await fresh.claim(me.connection, worker=me.id, limit=100, above=looked.last, urgency=0)
        assert (looked.seen, looked.last) == (10, last)
        looked = await fresh.claim(me.connection, worker=me.id, limit=100, above=looked.last, urgency=0)
        assert (looked.seen, looked.last) == (0, last)


async def test_a_first_near_look_at_an_empty_outbox_goes_on_from_where_ids_are(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        looked = await fresh.claim(me.connection, worker=me.id, limit=100, above=None, urgency=0)
        assert (looked.events, looked.seen) == ([], 0)
        assert looked.last == await postroom.value("select last_value - 1000 from outbox.event_ids")
        (event,) = await put(postroom, "chair:1")
        assert ids(await near(me, above=looked.last)) == [event]


# ── what they cost


async def costs(postroom: Postroom) -> tuple[int, int]:
    """Pages touched by a near look at the newest events, and by a look over all lanes, with one event pending."""
    (event,) = await put(postroom, "fresh")
    async with worker(postroom) as me:
        plan = await explain_near(me, above=event - NEWEST)
        assert {table for _, table in scanned(plan) if not table.startswith("events_")} <= {"pending", "busy", "workers", "event_ids"}
        assert rows_touched(plan) <= 2 * NEWEST, costliest(plan)
        far = buffers(await explain_claim(me))
        assert await me.done(*await near(me)) == {event}
    return buffers(plan), far


async def test_a_near_look_costs_the_same_however_many_dead_rows_a_snapshot_keeps(postroom: Postroom) -> None:
    async with snapshot(postroom.dsn):
        await through(postroom, 1000)
        before, _ = await costs(postroom)
        await through(postroom, 5000)
        after, far = await costs(postroom)
    assert far > 5000, "nothing was held back, so nothing was measured"
    # An index that is a level deeper costs each look at most one page more.
    assert after <= before + 2 * NEWEST
    assert after <= 8 * NEWEST


@pytest.mark.long
async def test_a_near_look_costs_the_same_after_twenty_and_after_a_hundred_thousand_events(postroom: Postroom) -> None:
    async with snapshot(postroom.dsn):
        passed = 0
        for target in (20_000, 100_000):
            await through(postroom, target - passed, lanes=20_000)
            passed = target
            close, far = await costs(postroom)
            assert far > target, "nothing was held back, so nothing was measured"
            assert close <= 8 * NEWEST, f"after {target}"


async def test_a_near_look_reads_by_key_when_statistics_say_that_pending_is_empty(postroom: Postroom) -> None:
    """As autovacuum leaves them behind: taken when everything was settled, while the table still had its pages."""
    await through(postroom, 3000)
    await postroom.pool.execute("vacuum (analyze, truncate off) outbox.pending, outbox.busy")
    await stage(postroom, 3000, lanes=1000)
    last = await postroom.value("select max(id) from outbox.events")
    async with worker(postroom) as me:
        await me.claim(limit=500)
        plan = await explain_near(me, above=last - NEWEST)
        assert rows_touched(plan) <= 2 * NEWEST, costliest(plan)
