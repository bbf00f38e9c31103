"""Dead letters: found, counted, retried or discarded, each once, and nothing of their history lost (P8)."""

import asyncio
from datetime import UTC, datetime, timedelta

from outbox.store import dead
from outbox.store.dead import Filter
from outbox.testing import Postroom
from tests.outbox.engine import check_invariants, outcomes, places, settled, worker
from tests.outbox.waiting import until_it_waits_for_a_lock


async def test_p8_a_retried_dead_letter_keeps_its_attempts_and_comes_back_as_bulk(postroom: Postroom) -> None:
    event_id = await settled(postroom, "bury")
    assert await dead.retry(postroom.pool, [event_id], by="ada") == [event_id]
    assert await places(postroom, event_id) == ["pending"]
    async with worker(postroom) as me:
        (event,) = await me.claim(urgency=1)
        assert (event.attempt, event.failures, event.crashes) == (2, 0, 0)
        await me.done(event)
    assert await outcomes(postroom, event_id) == "xpd"
    await check_invariants(postroom)


async def test_a_second_retry_or_discard_of_a_dead_letter_changes_nothing(postroom: Postroom) -> None:
    retried, discarded = await settled(postroom, "bury", "a"), await settled(postroom, "bury", "b")
    assert await dead.retry(postroom.pool, [retried], by="ada") == [retried]
    assert await dead.discard(postroom.pool, [discarded], by="ada", reason="a test") == [discarded]
    for event_id in (retried, discarded):
        assert await dead.retry(postroom.pool, [event_id], by="eve") == []
        assert await dead.discard(postroom.pool, [event_id], by="eve", reason="again") == []
    assert [(event["state"], event["why"]) for event in await postroom.staged()] == [
        ("pending", "ready"),
        ("skipped", "discarded by ada: a test"),
    ]
    assert [await outcomes(postroom, event_id) for event_id in (retried, discarded)] == ["xp", "xs"]
    await check_invariants(postroom)


async def test_of_a_list_those_that_are_still_dead_are_retried(postroom: Postroom) -> None:
    one, other = await settled(postroom, "bury", "a"), await settled(postroom, "bury", "b")
    alive = await settled(postroom, "done", "c")
    await dead.discard(postroom.pool, [other], by="ada", reason="a test")
    assert await dead.retry(postroom.pool, [other, one, alive, 1], by="ada") == [one]


async def test_two_people_who_retry_the_same_letters_at_once_retry_each_once(postroom: Postroom) -> None:
    ids = [await settled(postroom, "bury", f"chair:{n}") for n in range(6)]
    async with postroom.pool.acquire() as one, postroom.pool.acquire() as other:
        transaction = one.transaction()
        await transaction.start()
        first = await dead.retry(one, ids[:4], by="ada")
        waiting = asyncio.create_task(dead.retry(other, ids[::-1], by="eve"))
        await until_it_waits_for_a_lock(postroom, other.get_server_pid())
        await transaction.commit()
        second = await waiting
    assert (first, second) == (ids[:4], ids[4:])
    assert await postroom.value("select count(*) from outbox.pending") == 6
    await check_invariants(postroom)


async def test_dead_letters_are_found_by_any_filter_and_counted_the_same(postroom: Postroom) -> None:
    one = await settled(postroom, "bury", "chair:1", kind="a", reason="refused")
    other = await settled(postroom, "bury", "chair:2", kind="b", reason="refused")
    await postroom.pool.execute(
        "update outbox.dead set fingerprint = 'another', died_at = now() - interval '1 day' where event_id = $1", other
    )
    yesterday = datetime.now(UTC) - timedelta(hours=12)
    cases = {
        Filter(): [other, one],
        Filter(kind="a"): [one],
        Filter(source="app"): [other, one],
        Filter(source="ghl"): [],
        Filter(lane="chair:2"): [other],
        Filter(group="cause"): [one],
        Filter(since=yesterday): [one],
        Filter(until=yesterday): [other],
        Filter(kind="a", lane="chair:2"): [],
    }
    for which, expected in cases.items():
        assert [row["id"] for row in await dead.find(postroom.pool, which)] == expected, which
        counted = await dead.count(postroom.pool, which)
        assert (counted["dead"], counted["lanes"]) == (len(expected), len(expected))
        assert counted["ceiling"] == (max(expected) if expected else None)
        assert await dead.portion(postroom.pool, which, ceiling=2**62, above=0, limit=10) == sorted(expected)
    assert [row["id"] for row in await dead.find(postroom.pool, Filter(), before=other)] == [one]
    assert [row["id"] for row in await dead.find(postroom.pool, Filter(), limit=1)] == [other]
    assert await dead.portion(postroom.pool, Filter(), ceiling=one, above=0, limit=10) == [one]
    assert await dead.portion(postroom.pool, Filter(), ceiling=other, above=one, limit=10) == [other]
    assert (await dead.count(postroom.pool, Filter(), ceiling=one))["dead"] == 1


async def test_dead_letters_of_one_cause_are_a_group(postroom: Postroom) -> None:
    one, other = await settled(postroom, "bury", "a", reason="first"), await settled(postroom, "bury", "b", reason="second")
    (group,) = await dead.groups(postroom.pool)
    assert (group["fingerprint"], group["dead"], group["lanes"], group["example"], group["reason"], group["kind"]) == (
        "cause",
        2,
        2,
        other,
        "second",
        "a",
    )
    letter = await dead.one(postroom.pool, one)
    assert letter is not None
    assert (letter["id"], letter["lane"], letter["reason"], letter["attempt"]) == (one, "a", "first", 1)
    assert await dead.one(postroom.pool, 1) is None
