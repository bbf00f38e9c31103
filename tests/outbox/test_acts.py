"""What a person does with an event that is not over, in every place where it can be; and what runs is left to its worker."""

from outbox.store import acts, dead
from outbox.testing import Postroom
from tests.outbox.engine import check_invariants, put, worker


async def said(postroom: Postroom, event_id: int) -> tuple[str, str]:
    (row,) = await postroom.rows("select state, mark from outbox.states(array[$1::bigint])", event_id)
    return row["state"], row["mark"]


async def test_a_wait_for_a_time_ends_now(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        await me.retry(*await me.claim(), delay_s=3600)
        assert await said(postroom, event_id) == ("pending", "retry")
        assert await acts.run_now(postroom.pool, event_id)
        assert [event.id for event in await me.take_due()] == [event_id]
        assert not await acts.run_now(postroom.pool, event_id), "it runs"


async def test_a_delayed_event_is_due_now(postroom: Postroom) -> None:
    event_id = await postroom.value("select outbox.stage('a', '{}', due_at => now() + interval '1 day')")
    assert await acts.run_now(postroom.pool, event_id)
    assert await postroom.value("select due_at <= now() from outbox.delayed")


async def test_what_waits_for_a_destination_is_not_run(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        await me.hold(*await me.claim())
        assert not await acts.run_now(postroom.pool, event_id)
        assert not await acts.release(postroom.pool, event_id, by="ana")
    assert await said(postroom, event_id) == ("pending", "held")


async def test_a_buried_head_is_a_dead_letter_and_its_lane_goes_on(postroom: Postroom) -> None:
    head, behind = await put(postroom, "chair:1", 2)
    async with worker(postroom) as me:
        assert await me.claim()
        assert not await acts.bury(postroom.pool, head, by="ana", reason="stuck"), "it runs"
    async with worker(postroom) as me:
        await postroom.pool.execute("update outbox.busy set owner = null, due_at = now() + interval '1 hour', why = 'it failed'")
        assert await acts.behind(postroom.pool, head) == 1
        assert await acts.bury(postroom.pool, head, by="ana", reason="stuck")
        assert [event.id for event in await me.claim()] == [behind]
        await check_invariants(postroom)
    letter = await dead.one(postroom.pool, head)
    assert letter is not None
    assert (letter["reason"], letter["attempt"]) == ("buried by ana: stuck", 1)


async def test_what_waits_its_turn_or_its_time_can_be_buried_and_retried(postroom: Postroom) -> None:
    _, second = await put(postroom, "chair:1", 2)
    later = await postroom.value("select outbox.stage('a', '{}', due_at => now() + interval '1 day')")
    for event_id in (second, later):
        assert await acts.bury(postroom.pool, event_id, by="ana", reason="not wanted")
        assert await said(postroom, event_id) == ("dead", "dead")
    assert await dead.retry(postroom.pool, [second, later], by="ana") == sorted([second, later])
    async with worker(postroom) as me:
        assert {(event.id, event.attempt) for event in await me.claim(urgency=1)} >= {(later, 1)}
        await check_invariants(postroom)
    assert await postroom.totals() == {"accepted": 3, "pending": 3, "done": 0, "skipped": 0, "dead": 0}


async def test_a_released_head_waits_aside_and_joins_its_lane_when_it_is_due(postroom: Postroom) -> None:
    head, behind = await put(postroom, "chair:1", 2)
    async with worker(postroom) as me:
        await me.retry(*await me.claim(), delay_s=3600)
        assert await acts.release(postroom.pool, head, by="ana")
        assert await said(postroom, head) == ("pending", "delayed")
        assert [event.id for event in await me.claim()] == [behind]
        await check_invariants(postroom)
        assert not await acts.release(postroom.pool, head, by="ana"), "it holds no lane any more"
    assert await postroom.value("select attempt from outbox.delayed") == 2


async def test_what_is_over_is_nobodys_to_act_on(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        await me.done(*await me.claim())
    assert not await acts.run_now(postroom.pool, event_id)
    assert not await acts.bury(postroom.pool, event_id, by="ana", reason="x")
    assert not await acts.release(postroom.pool, 12345, by="ana")
