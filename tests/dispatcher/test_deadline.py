"""A handler that takes too long is cancelled and retried; one that will not be cancelled harms nobody else."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome
from dispatcher.routes import ROUTES, Route
from outbox import Claimed, Event
from outbox.testing import Drain, Postroom
from simulators.ghl import GhlSimulator
from tests.dispatcher.appointments import appointment
from tests.dispatcher.handling import fate, has, is_over, returning
from tests.dispatcher.running import dispatching, eventually, stage_all

Ghl = tuple[GhlSimulator, str]


class Stubborn:
    """A handler that swallows every cancellation until it is let go."""

    def __init__(self) -> None:
        self.begun, self.cancelled, self.let_go, self.ended = (asyncio.Event() for _ in range(4))

    async def __call__(self, event: Claimed, ctx: Context) -> Outcome:
        if self.begun.is_set():
            return Done()
        self.begun.set()
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
        self.ended.set()
        return Done()


@asynccontextmanager
async def stubborn() -> AsyncIterator[Stubborn]:
    """Let go at the end, so that nothing is left running."""
    handler = Stubborn()
    try:
        yield handler
    finally:
        handler.let_go.set()
        if handler.begun.is_set():
            await asyncio.wait_for(handler.ended.wait(), 5)
            await asyncio.sleep(0)  # its task ends


async def test_a_handler_over_its_deadline_is_cancelled_and_retried(postroom: Postroom, drain: Drain) -> None:
    runs, cancelled = 0, asyncio.Event()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal runs
        runs += 1
        if runs == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return Done()

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler, deadline_s=0.2)}, hurry=True)
    assert cancelled.is_set()
    found = await fate(postroom, event_id)
    assert (found.state, found.outcomes) == ("done", "rd")
    notes = await postroom.rows("select note, took_ms from outbox.attempts where outcome = 'r'")
    assert notes[0]["note"] == "its handler took longer than 0.2 s"
    assert 200 <= notes[0]["took_ms"] < 5000


async def test_a_handlers_own_timeout_is_its_failure_like_any_other(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()
        return Done()

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)})
    found = await fate(postroom, event_id)
    assert (found.outcomes, found.failures) == ("r", 1)
    assert found.why is not None
    assert found.why.startswith("TimeoutError")


async def test_a_handler_that_ends_well_after_its_deadline_is_done(postroom: Postroom, drain: Drain) -> None:
    """It was told to stop and finished instead: its work is as good as any."""

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Done({"in the end": True})
        return Done()

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler, deadline_s=0.1)})
    assert (await fate(postroom, event_id)).outcomes == "d"


async def test_the_deadline_of_one_event_cancels_no_other(postroom: Postroom) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def patient(event: Claimed, ctx: Context) -> Outcome:
        begun.set()
        await release.wait()
        return Done()

    async def endless(event: Claimed, ctx: Context) -> Outcome:
        await asyncio.Event().wait()
        return Done()

    late, other = await stage_all(postroom, Event("test.endless", {}), Event("test.patient", {}))
    routes = {"test.endless": Route(endless, deadline_s=0.1), "test.patient": Route(patient, deadline_s=60)}
    async with dispatching(postroom.dsn, routes):
        await begun.wait()
        await eventually(has(postroom, "select exists (select from outbox.attempts where event_id = $1 and outcome = 'r')", late))
        release.set()
        await eventually(is_over(postroom, other))
    assert (await fate(postroom, other)).outcomes == "d"


async def test_a_handler_that_swallows_its_cancellation_stops_no_other(postroom: Postroom) -> None:
    async with stubborn() as handler:
        routes = {"test.stubborn": Route(handler, deadline_s=0.1), "test.work": Route(returning(Done()))}
        [stuck] = await stage_all(postroom, Event("test.stubborn", {}, lane="stuck"))
        async with dispatching(postroom.dsn, routes):
            await asyncio.wait_for(handler.cancelled.wait(), 5)
            ids = await stage_all(postroom, *(Event("test.work", {}) for _ in range(20)))
            await eventually(is_over(postroom, *ids), within_s=5)
            assert (await fate(postroom, stuck)).why == "running"
            handler.let_go.set()
            await eventually(is_over(postroom, stuck), within_s=5)


async def test_a_handler_that_swallows_its_cancellation_does_not_block_the_shutdown(postroom: Postroom) -> None:
    async with stubborn() as handler:
        [event_id] = await stage_all(postroom, Event("test.stubborn", {}))
        async with dispatching(postroom.dsn, {"test.stubborn": Route(handler)}, settings=DispatcherSettings(grace_s=0)):
            await handler.begun.wait()
            began = time.monotonic()
        assert time.monotonic() - began < 8
        assert not handler.ended.is_set()
        assert (await fate(postroom, event_id)).attempt == 0  # handed back
        async with dispatching(postroom.dsn, {"test.stubborn": Route(handler)}):
            await eventually(is_over(postroom, event_id), within_s=5)
    assert (await fate(postroom, event_id)).outcomes == "d"


async def test_a_handler_that_swallows_its_cancellation_does_not_hold_up_the_next_incarnation(postroom: Postroom) -> None:
    async with stubborn() as handler:
        [stuck] = await stage_all(postroom, Event("test.stubborn", {}))
        routes = {"test.stubborn": Route(handler), "test.work": Route(returning(Done()))}
        async with dispatching(postroom.dsn, routes) as dispatcher:
            await handler.begun.wait()
            first = dispatcher.worker
            await postroom.pool.execute("update outbox.workers set ended_at = now()")
            await asyncio.wait_for(handler.cancelled.wait(), 8)
            ids = await stage_all(postroom, Event("test.work", {}))
            await eventually(is_over(postroom, stuck, *ids), within_s=12)
            assert dispatcher.worker != first
    assert (await fate(postroom, stuck)).outcomes == "cd"


async def test_a_step_that_was_under_way_at_the_deadline_is_looked_up_before_it_is_repeated(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    hang = simulator.faults.add("hang", "/contacts/*/notes", method="POST")
    [event_id] = await stage_all(postroom, appointment("confirmed"))
    route = ROUTES["appointment.confirmed"]
    short = {"appointment.confirmed": Route(route.handler, route.destination, deadline_s=0.3)}
    async with dispatching(postroom.dsn, short, settings=simulated):
        await asyncio.wait_for(simulator.faults.wait_hanging(), 10)
        await eventually(has(postroom, "select exists (select from outbox.attempts where outcome = 'r')"))
        simulator.faults.release(hang)  # the far side goes on with the request nobody waits for any more
        await eventually(lambda: has_note(simulator))
        await postroom.hurry()
        await eventually(is_over(postroom, event_id))
    assert simulator.effects.count("note") == 1
    entries = await postroom.rows("select entry::text from outbox.steps where name = 'note' order by at")
    assert [row["entry"] for row in entries] == ["i", "f"]


async def has_note(simulator: GhlSimulator) -> bool:
    return simulator.effects.count("note") == 1
