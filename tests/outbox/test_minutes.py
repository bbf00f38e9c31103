"""Counters a minute: what was accepted is counted once each, whatever commits late; what was settled adds up."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from outbox import Event, stage
from outbox.store import minutes
from outbox.store.minutes import Counts
from outbox.testing import Postroom


async def counted(postroom: Postroom) -> int:
    return int(await postroom.pool.fetchval("select coalesce(sum(accepted), 0) from outbox.arrivals"))


async def look(postroom: Postroom, *, ahead: int = minutes.AHEAD) -> bool:
    """A call a second later, as far as the counting can tell. A horizon is of the whole server: others may hold it for a moment."""
    for _ in range(200):
        await postroom.pool.execute("update outbox.arrivals_counted set at = at - interval '2 s'")
        if await minutes.count_arrivals(postroom.pool, ahead=ahead):
            return True
        await asyncio.sleep(0.05)
    return False


async def look_once(postroom: Postroom) -> bool:
    """One call, which may find that it is too early."""
    await postroom.pool.execute("update outbox.arrivals_counted set at = at - interval '2 s'")
    return await minutes.count_arrivals(postroom.pool)


async def staged(postroom: Postroom, count: int, source: str = "app") -> None:
    async with postroom.pool.acquire() as connection:
        for n in range(count):
            await stage(connection, Event("counted.thing", {"n": n}, source=source))


async def test_each_accepted_event_is_counted_once_however_often_one_looks(postroom: Postroom) -> None:
    await staged(postroom, 3)
    await minutes.count_arrivals(postroom.pool)  # the row is new: everything so far is only seen
    for _ in range(3):
        await look(postroom)
    assert await counted(postroom) == 3
    await staged(postroom, 2, "ghl")
    assert await minutes.accepted(postroom.pool, within_s=3600) == 5  # also what nobody has counted yet
    for _ in range(3):
        await look(postroom)
    assert await counted(postroom) == 5
    assert await minutes.accepted(postroom.pool, within_s=3600) == 5
    rows = await postroom.pool.fetch("select source, sum(accepted)::int n from outbox.arrivals group by 1 order by 1")
    assert [(row["source"], row["n"]) for row in rows] == [("app", 3), ("ghl", 2)]


async def test_an_event_that_is_committed_after_later_ones_is_not_passed_over(postroom: Postroom) -> None:
    await minutes.count_arrivals(postroom.pool)
    async with postroom.pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await stage(slow, Event("counted.thing", {"late": True}))
        await staged(postroom, 2)
        await look(postroom)  # sees the two whose ids are higher
        assert not await look_once(postroom)
        assert await counted(postroom) == 0
        await transaction.commit()
    await look(postroom)
    await look(postroom)
    assert await counted(postroom) == 3


async def test_a_transaction_that_stays_open_does_not_stop_the_counting_for_ever(postroom: Postroom) -> None:
    await minutes.count_arrivals(postroom.pool)
    await staged(postroom, 2)
    async with postroom.pool.acquire() as slow, slow.transaction():
        await stage(slow, Event("counted.thing", {"late": True}))
        await look(postroom)
        assert not await look_once(postroom)
        await postroom.pool.execute("update outbox.arrivals_counted set at = at - interval '11 min'")
        assert await minutes.count_arrivals(postroom.pool)
    assert await counted(postroom) == 2


async def test_many_events_are_counted_in_portions(postroom: Postroom) -> None:
    await minutes.count_arrivals(postroom.pool, ahead=2)
    await staged(postroom, 5)
    for _ in range(4):
        await look(postroom, ahead=2)
    assert await counted(postroom) == 5


async def test_settlements_of_a_minute_and_a_kind_add_up_and_bars_hold_them(postroom: Postroom) -> None:
    now = datetime.now(UTC)
    this = now.replace(second=0, microsecond=0)
    await minutes.add(postroom.pool, [(this, "a", Counts(done=2, settled_ms=3000)), (this, "b", Counts(dead=1, failures=4))])
    await minutes.add(postroom.pool, [(this, "a", Counts(done=1, skipped=5, settled_ms=6000, late=1))])
    await minutes.add(postroom.pool, [(this - timedelta(days=2), "a", Counts(done=100))])
    found = await minutes.settled(postroom.pool, within_s=24 * 3600)
    assert found == Counts(done=3, skipped=5, dead=1, failures=4, settled_ms=9000, late=1)
    assert found.success_rate == 0.75
    assert found.latency_s == 3.0
    bars = await minutes.bars(postroom.pool, count=96, seconds=900)
    assert len(bars) == 96
    assert sum(bar.counts.done for bar in bars) == 3
    assert all(later.at - earlier.at == timedelta(minutes=15) for earlier, later in pairwise(bars))


async def test_nothing_has_no_rate() -> None:
    assert Counts(skipped=3).success_rate is None
    assert Counts().latency_s is None


async def test_old_minutes_are_forgotten(postroom: Postroom) -> None:
    old = datetime.now(UTC) - timedelta(days=91)
    await minutes.add(postroom.pool, [(old, "a", Counts(done=1)), (old + timedelta(days=2), "a", Counts(done=1))])
    async with postroom.pool.acquire() as connection:
        await minutes.prune(connection, keep_days=90)
    assert await postroom.pool.fetchval("select count(*) from outbox.minutes") == 1
