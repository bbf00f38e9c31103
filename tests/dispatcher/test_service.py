"""A dispatcher from its start to its end: it waits for its database, drains when it is asked to stop, and comes back as a new worker."""

import asyncio
import time

import pytest

from dispatcher import ending
from dispatcher import worker as worker_module
from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome
from dispatcher.plans import Plans
from dispatcher.routes import Route
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from outbox import Claimed, DatabaseUnavailable, Event, SchemaMismatch
from outbox.embedded import Embedded
from outbox.testing import Postroom
from tests.dispatcher.handling import Blocking, everything_is_over, fate, has, is_over, is_so, returning
from tests.dispatcher.running import dispatching, eventually, stage_all
from tests.receiver.running import UNUSED_DSN

ALIVE = "select count(*)::int from outbox.workers where ended_at is null"
CONNECTIONS = "select count(*)::int from pg_stat_activity where datname = current_database() and application_name ~ '^postroom:[0-9]'"


@pytest.fixture
def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lease in a fifth of the time."""
    for name in ("LEASE_S", "RENEW_S", "MARGIN_S", "LOOK_S", "STUCK_S"):
        monkeypatch.setattr(worker_module, name, getattr(worker_module, name) / 5)


# ── stopping


async def test_a_stopping_dispatcher_claims_nothing_more_and_lets_what_runs_finish(postroom: Postroom) -> None:
    handler = Blocking.new()
    running = await stage_all(postroom, *(Event("test.slow", {}) for _ in range(3)))
    [behind] = await stage_all(postroom, Event("test.slow", {}, lane="x"))
    async with services(postroom.dsn, DispatcherSettings()) as shared:
        stop = Stop()
        dispatcher = Dispatcher(postroom.dsn, shared, {"test.slow": Route(handler), "test.work": Route(returning(Done()))})
        task = asyncio.create_task(dispatcher.run(stop))
        await eventually(lambda: is_so(handler.runs == 4))
        stop.ask()
        [late, queued] = await stage_all(postroom, Event("test.work", {}), Event("test.slow", {}, lane="x"))
        await asyncio.sleep(0.5)  # it would have been claimed long since
        assert (await fate(postroom, late)).why == "ready"
        assert not task.done()
        handler.release.set()
        await asyncio.wait_for(task, 5)
    assert await is_over(postroom, *running, behind)()
    # Nor did the lane that became free go on with its next event.
    assert [(await fate(postroom, event_id)).state for event_id in (late, queued)] == ["pending", "pending"]
    assert (handler.runs, await postroom.value(ALIVE), await postroom.value("select count(*) from outbox.busy")) == (4, 0, 0)


async def test_what_does_not_finish_within_the_grace_is_cancelled_and_handed_back(postroom: Postroom) -> None:
    handler = Blocking.new()
    [event_id] = await stage_all(postroom, Event("test.slow", {}))
    began = 0.0
    async with dispatching(postroom.dsn, {"test.slow": Route(handler)}, settings=DispatcherSettings(grace_s=0.5)):
        await handler.begun.wait()
        began = time.monotonic()
    assert 0.4 < time.monotonic() - began < 4
    found = await fate(postroom, event_id)
    assert (found.why, found.attempt, found.failures, found.outcomes) == ("handed back by a stopping worker", 0, 0, "")
    handler.release.set()
    async with dispatching(postroom.dsn, {"test.slow": Route(handler)}):
        await eventually(is_over(postroom, event_id))
    assert await postroom.value("select attempt from outbox.attempts") == 1


async def test_a_second_request_to_stop_does_not_wait_for_the_grace(postroom: Postroom) -> None:
    handler = Blocking.new()
    [event_id] = await stage_all(postroom, Event("test.slow", {}))
    async with services(postroom.dsn, DispatcherSettings(grace_s=600)) as shared:
        stop = Stop()
        task = asyncio.create_task(Dispatcher(postroom.dsn, shared, {"test.slow": Route(handler)}).run(stop))
        await handler.begun.wait()
        stop.ask()
        await asyncio.sleep(0.2)
        assert not task.done()
        stop.ask()
        await asyncio.wait_for(task, 4)
    assert (await fate(postroom, event_id)).why == "handed back by a stopping worker"


@pytest.mark.usefixtures("quick_lease")
async def test_a_long_grace_keeps_the_lease_to_its_end(postroom: Postroom) -> None:
    """Draining makes no rounds, but it is no stuck loop: who finishes late still finishes."""
    handler = Blocking.new()
    [event_id] = await stage_all(postroom, Event("test.slow", {}))
    async with dispatching(postroom.dsn, {"test.slow": Route(handler)}, settings=DispatcherSettings(grace_s=30)):
        await handler.begun.wait()
        asyncio.get_running_loop().call_later(worker_module.LEASE_S + worker_module.STUCK_S + 1, handler.release.set)
    assert (await fate(postroom, event_id)).outcomes == "d"
    assert handler.runs == 1


async def test_outcomes_that_were_on_their_way_are_sent_before_it_ends(postroom: Postroom) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        await asyncio.sleep(0.001)
        return Done()

    await stage_all(postroom, *(Event("test.work", {}) for _ in range(300)))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}):
        await eventually(has(postroom, "select count(*) > 20 from outbox.attempts"))
    assert await postroom.value("select count(*) from outbox.busy") == 0
    totals = await postroom.totals()
    assert totals["done"] + totals["pending"] == 300


async def test_a_dispatcher_that_is_stopped_before_it_began_just_ends(postroom: Postroom) -> None:
    async with services(postroom.dsn, DispatcherSettings()) as shared:
        stop = Stop()
        stop.ask()
        await asyncio.wait_for(Dispatcher(postroom.dsn, shared, {}).run(stop), 5)
    assert await postroom.value("select count(*) from outbox.workers") == 0


async def test_nothing_is_left_behind(postroom: Postroom) -> None:
    before = asyncio.all_tasks()
    await stage_all(postroom, *(Event("test.work", {}) for _ in range(20)))
    async with dispatching(postroom.dsn, {"test.work": Route(returning(Done()))}):
        await eventually(everything_is_over(postroom))
        assert await postroom.value(CONNECTIONS) >= 3
    assert asyncio.all_tasks() - before == set()
    await eventually(has(postroom, f"select ({CONNECTIONS}) = 0"), within_s=5)
    assert await postroom.value(ALIVE) == 0


# ── losing the lease


@pytest.mark.usefixtures("quick_lease")
async def test_a_dispatcher_whose_lease_was_taken_goes_on_as_a_new_worker(postroom: Postroom) -> None:
    handler = Blocking.new()
    [event_id] = await stage_all(postroom, Event("test.slow", {}))
    async with dispatching(postroom.dsn, {"test.slow": Route(handler)}) as dispatcher:
        await handler.begun.wait()
        first = dispatcher.worker
        await postroom.pool.execute("update outbox.workers set ended_at = now()")
        await eventually(lambda: is_so(handler.runs == 2))
        assert dispatcher.worker != first
        handler.release.set()
        await eventually(is_over(postroom, event_id))
    # The ended worker may hand it back itself before anybody's look finds it and counts a loss.
    assert (await fate(postroom, event_id)).outcomes in ("d", "cd")


@pytest.mark.usefixtures("quick_lease")
async def test_a_cancellation_that_got_lost_does_not_keep_a_dispatcher_from_a_new_worker_nor_from_its_end(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = 0

    async def run(_: object) -> None:
        nonlocal lost
        try:
            await asyncio.Event().wait()
        finally:
            lost += 1
            await asyncio.Event().wait()

    monkeypatch.setattr(Plans, "run", run)
    monkeypatch.setattr(ending, "CANCEL_S", 0.05)
    async with dispatching(postroom.dsn, {}) as dispatcher:
        first = dispatcher.worker
        await postroom.pool.execute("update outbox.workers set ended_at = now()")
        await eventually(lambda: is_so(dispatcher.worker != first))
    assert lost == 2


@pytest.mark.usefixtures("quick_lease")
async def test_a_dispatcher_cut_off_from_its_database_cancels_its_handlers_before_others_may_start_them(
    own_server: Embedded, mortal: Postroom
) -> None:
    cancelled_at: list[float] = []
    begun = asyncio.Event()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        if begun.is_set():
            return Done()
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled_at.append(time.monotonic())
        return Done()

    [event_id] = await stage_all(mortal, Event("test.slow", {}))
    async with dispatching(mortal.dsn, {"test.slow": Route(handler)}):
        await begun.wait()
        own_server.kill()
        cut_off = time.monotonic()
        await eventually(lambda: is_so(bool(cancelled_at)), within_s=10)
        # It began to wait at most one renewal before the cut, and must be gone by the end of that lease.
        assert cancelled_at[0] - cut_off < worker_module.LEASE_S
        own_server.start()
        await eventually(everything_is_over(mortal), within_s=20)
    assert (await fate(mortal, event_id)).state == "done"


@pytest.mark.usefixtures("quick_lease")
async def test_a_worker_that_vanished_is_noticed_and_its_event_is_due_again(postroom: Postroom) -> None:
    """Its row is all that is left of it."""
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    ghost = await postroom.value("insert into outbox.workers (name, until) values ('ghost', now() + interval '1 s') returning id")
    await postroom.pool.execute(
        """with p as (delete from outbox.pending returning *)
           insert into outbox.busy (lane, event_id, urgency, owner) select lane, event_id, urgency, $1 from p""",
        ghost,
    )
    async with dispatching(postroom.dsn, {"test.work": Route(returning(Done()))}):
        await eventually(is_over(postroom, event_id), within_s=8)
    assert (await fate(postroom, event_id)).outcomes == "cd"


@pytest.mark.usefixtures("quick_lease")
async def test_a_lease_that_lies_absurdly_far_ahead_is_no_lease(postroom: Postroom) -> None:
    """The server's clock stepped back."""
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('from the future', now() + interval '1 year')")
    async with dispatching(postroom.dsn, {}):
        await eventually(has(postroom, "select ended_at is not null from outbox.workers where name = 'from the future'"))


# ── beginning


async def test_another_schema_is_refused_in_words(postroom: Postroom) -> None:
    async with services(postroom.dsn, DispatcherSettings()) as shared:
        await postroom.pool.execute("insert into outbox.migrations (version, name) values (9999, 'from the future')")
        try:
            with pytest.raises(SchemaMismatch, match="the database is at schema version 9999, this code knows only"):
                await asyncio.wait_for(Dispatcher(postroom.dsn, shared, {}).run(Stop()), 5)
        finally:
            await postroom.pool.execute("delete from outbox.migrations where version = 9999")
    assert await postroom.value("select count(*) from outbox.workers") == 0


async def test_a_database_that_was_never_migrated_is_refused_in_words(postroom_server: Embedded) -> None:
    dsn = postroom_server.dsn("postgres")
    async with services(dsn, DispatcherSettings()) as shared:
        with pytest.raises(SchemaMismatch, match="run `postroom migrate`"):
            await asyncio.wait_for(Dispatcher(dsn, shared, {}).run(Stop()), 5)


async def test_a_database_that_is_away_at_the_start_is_waited_for(own_server: Embedded, mortal: Postroom) -> None:
    dsn = mortal.dsn
    own_server.kill()
    async with services(dsn, DispatcherSettings()) as shared:
        stop, ready = Stop(), asyncio.Event()
        task = asyncio.create_task(Dispatcher(dsn, shared, {}).run(stop, ready=ready.set))
        await asyncio.sleep(0.7)  # some tries
        assert not task.done()
        assert not ready.is_set()
        own_server.start()
        await asyncio.wait_for(ready.wait(), 15)
        stop.ask()
        await asyncio.wait_for(task, 5)


async def test_a_dispatcher_that_waits_for_its_database_can_be_stopped() -> None:
    async with services(UNUSED_DSN, DispatcherSettings()) as shared:
        stop = Stop()
        task = asyncio.create_task(Dispatcher(UNUSED_DSN, shared, {}).run(stop))
        await asyncio.sleep(0.5)
        stop.ask()
        await asyncio.wait_for(task, 6)


async def test_an_outage_that_comes_and_goes_loses_nothing(own_server: Embedded, mortal: Postroom) -> None:
    ran: set[int] = set()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        ran.add(event.id)
        await asyncio.sleep(0.01)
        return Done()

    ids = await stage_all(mortal, *(Event("test.work", {}, lane=f"l{n % 5}") for n in range(150)))
    async with dispatching(mortal.dsn, {"test.work": Route(handler)}, settings=DispatcherSettings(concurrency=4)):
        for done in (10, 60):
            await eventually(lambda done=done: has_done(mortal, done))  # type: ignore[misc]
            own_server.kill()
            own_server.start()
        await eventually(everything_is_over(mortal), within_s=40)
    assert ran == set(ids)
    assert (await mortal.totals())["done"] == 150


async def has_done(postroom: Postroom, count: int) -> bool:
    try:
        return (await postroom.totals())["done"] >= count
    except DatabaseUnavailable:
        return False
