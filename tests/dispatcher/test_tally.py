"""A dispatcher tells what it settled, whichever way that was; an outage delays the counts and loses none."""

from dispatcher.context import Context
from dispatcher.outcome import Dead, Done, Outcome, Retry, Settled, Skipped
from dispatcher.policy.retry import RetryPolicy
from dispatcher.routes import Route
from outbox import Event
from outbox.event import Claimed
from outbox.store import minutes
from outbox.store.minutes import Counts
from outbox.testing import Postroom
from tests.dispatcher.running import dispatching, eventually, stage_all


async def done(event: Claimed, ctx: Context) -> Outcome:
    return Done()


async def by_itself(event: Claimed, ctx: Context) -> Outcome | Settled:
    async with ctx.transaction() as tx:
        return await tx.settle(Skipped("seen") if event.json()["n"] else Done())


async def fails_once(event: Claimed, ctx: Context) -> Outcome:
    return Done() if event.attempt > 1 else Retry("not yet")


async def dies(event: Claimed, ctx: Context) -> Outcome:
    return Dead("never")


SOON = RetryPolicy(quick=3, base_s=0.01, cap_s=0.02)
ROUTES = {"t.done": Route(done), "t.own": Route(by_itself), "t.once": Route(fails_once, retry=SOON), "t.dies": Route(dies)}


async def test_what_counted_is_told_by_kind_whoever_settled_it(postroom: Postroom) -> None:
    async with dispatching(postroom.dsn, ROUTES):
        await stage_all(postroom, *(Event(kind, {"n": n}) for kind in ROUTES for n in range(2)))

        async def all_told() -> bool:
            found = await minutes.settled(postroom.pool, within_s=3600)
            return found.done + found.skipped + found.dead == 8

        await eventually(all_told)
    found = await minutes.settled(postroom.pool, within_s=3600)
    assert (found.done, found.skipped, found.dead, found.failures, found.late) == (5, 1, 2, 2, 0)
    assert found.latency_s is not None
    rows = await postroom.pool.fetch(
        "select kind, sum(done)::int d, sum(skipped)::int s, sum(dead)::int x from outbox.minutes group by 1 order by 1"
    )
    assert [tuple(row) for row in rows] == [("t.dies", 0, 0, 2), ("t.done", 2, 0, 0), ("t.once", 2, 0, 0), ("t.own", 1, 1, 0)]


async def test_a_dispatcher_that_stops_in_order_tells_the_rest(postroom: Postroom) -> None:
    async with dispatching(postroom.dsn, ROUTES):
        (event_id,) = await stage_all(postroom, Event("t.done", {}))

        async def settled() -> bool:
            return bool(await postroom.pool.fetchval("select exists (select from outbox.attempts where event_id = $1)", event_id))

        await eventually(settled)
    assert (await minutes.settled(postroom.pool, within_s=3600)).done == 1


async def test_counts_that_could_not_be_told_are_kept(postroom: Postroom) -> None:
    assert Counts(done=1).success_rate == 1.0
    first, second = Counts(done=1, settled_ms=5), Counts(done=2, dead=1, late=1)
    first.add(second)
    assert first == Counts(done=3, dead=1, settled_ms=5, late=1)
