"""P4, P5, P6, P8 and P10, each with a test named after it. Processes that die are in test_crashes.py."""

import asyncio
from collections import defaultdict

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome, Retry, Settled
from dispatcher.routes import ROUTES, Route
from outbox import Claimed, Event
from outbox.store import dead, destinations, lanes
from outbox.testing import Drain, Postroom
from simulators.ghl import GhlSimulator
from tests.dispatcher.appointments import appointment
from tests.dispatcher.running import dispatching, eventually, stage_all

Ghl = tuple[GhlSimulator, str]


async def take_over(postroom: Postroom, worker: int) -> None:
    """What another worker does when `worker`'s lease has ended."""
    await postroom.pool.execute("update outbox.workers set ended_at = now() where id = $1", worker)
    async with postroom.pool.acquire() as connection:
        await lanes.release_orphans(connection)


async def test_p4_only_the_current_owners_settlement_counts(postroom: Postroom) -> None:
    begun, release = asyncio.Event(), asyncio.Event()
    ran_by: list[int] = []

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        ran_by.append(ctx.worker)
        if len(ran_by) == 1:
            begun.set()
            await release.wait()
        return Done()

    routes = {"test.work": Route(handler)}
    [event_id] = await stage_all(postroom, Event("test.work", {}, lane="one"))
    async with dispatching(postroom.dsn, routes) as first:
        await begun.wait()
        assert first.worker is not None
        await take_over(postroom, first.worker)
        async with dispatching(postroom.dsn, routes):
            await eventually(lambda: settled(postroom, event_id))
        release.set()
    rows = await postroom.rows("select owner, outcome::text from outbox.attempts where event_id = $1 and outcome = 'd'", event_id)
    assert rows == [{"owner": ran_by[1], "outcome": "d"}]
    assert ran_by[0] != ran_by[1]


async def test_p4_a_worker_that_lost_its_lease_has_its_handlers_cancelled(postroom: Postroom) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()
    runs = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal runs
        runs += 1
        if runs == 1:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return Done()

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}) as dispatcher:
        await begun.wait()
        assert dispatcher.worker is not None
        await take_over(postroom, dispatcher.worker)
        await asyncio.wait_for(cancelled.wait(), 6)
        await eventually(lambda: settled(postroom, event_id))  # by the next incarnation of the same process
    assert runs == 2


async def test_p4_a_handlers_own_writes_roll_back_with_a_settlement_that_does_not_count(postroom: Postroom) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        if not begun.is_set():
            begun.set()
            await release.wait()
        async with ctx.transaction() as tx:
            await tx.stage(Event("test.written", {"by": ctx.worker}))
            return await tx.settle(Done())

    routes = {"test.work": Route(handler)}
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, routes) as first:
        await begun.wait()
        assert first.worker is not None
        await take_over(postroom, first.worker)
        async with dispatching(postroom.dsn, routes):
            await eventually(lambda: settled(postroom, event_id))
        release.set()
    assert len(await postroom.staged("test.written")) == 1


async def test_p5_events_of_one_lane_run_one_at_a_time_in_staging_order(postroom: Postroom, drain: Drain) -> None:
    seen: dict[str | None, list[int]] = defaultdict(list)
    at_work: set[str | None] = set()
    failures = 2

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal failures
        assert event.lane not in at_work
        at_work.add(event.lane)
        await asyncio.sleep(0)
        at_work.discard(event.lane)
        if event.lane == "slow" and event.json()["n"] == 0 and failures:
            failures -= 1
            return Retry("not yet")
        seen[event.lane].append(event.json()["n"])
        return Done()

    staged = [Event("test.work", {"n": n}, lane=lane) for n in range(20) for lane in ("slow", "quick", "other")]
    await stage_all(postroom, *staged)
    totals = await drain({"test.work": Route(handler)}, hurry=True)
    assert totals["done"] == 60
    assert dict(seen) == {lane: list(range(20)) for lane in ("slow", "quick", "other")}


async def test_p5_a_failing_head_holds_its_own_lane_and_no_other(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        return Retry("still broken", after_s=3600) if event.lane == "broken" else Done()

    await stage_all(postroom, *(Event("test.work", {}, lane=lane) for lane in ("broken", "fine", "broken", "fine")))
    await drain({"test.work": Route(handler)})
    states = [(row["lane"], row["state"]) for row in await postroom.staged()]
    assert states == [("broken", "pending"), ("fine", "done"), ("broken", "pending"), ("fine", "done")]
    assert (await postroom.staged())[2]["why"].startswith("behind #")


@pytest.mark.parametrize(("path", "kind"), [("/contacts/*/notes", "note"), ("/contacts/*/tasks", "task")])
async def test_p6_an_effect_whose_answer_was_lost_is_looked_up_not_repeated(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, path: str, kind: str
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    simulator.faults.add("drop", path, method="POST", after_work=True)
    [event_id] = await stage_all(postroom, appointment("created"))
    await drain(settings=simulated, hurry=True)
    assert (await postroom.staged())[0]["state"] == "done"
    assert simulator.effects.count(kind, contact_id="c1") == 1
    entries = await postroom.rows("select entry::text from outbox.steps where event_id = $1 and name = $2 order by at", event_id, kind)
    assert [row["entry"] for row in entries] == ["i", "f"]


async def test_p6_a_step_known_done_is_not_repeated(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    simulator.faults.add("answer", "/contacts/*/tasks", method="POST", status=500, times=2)
    await stage_all(postroom, appointment("created"))
    await drain(settings=simulated, hurry=True)
    assert (await postroom.staged())[0]["state"] == "done"
    assert {kind: simulator.effects.count(kind, contact_id="c1") for kind in ("note", "task")} == {"note": 1, "task": 1}


async def test_p6_a_request_that_never_arrived_is_made_again(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    simulator.faults.add("drop", "/contacts/*/notes", method="POST", after_work=False)
    await stage_all(postroom, appointment("confirmed"))
    await drain(settings=simulated, hurry=True)
    assert simulator.effects.count("note", contact_id="c1") == 1


async def test_p8_a_dead_letter_keeps_its_journal_and_a_retry_repeats_no_finished_step(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    refusal = simulator.faults.add("answer", "/contacts/*/tasks", method="POST", status=422, times=None)
    [event_id] = await stage_all(postroom, appointment("cancelled"))
    await drain(settings=simulated, hurry=True)
    [letter] = await dead.find(postroom.pool, dead.Filter())
    assert (letter["id"], letter["lane"], letter["kind"]) == (event_id, "appointment:a1", "appointment.cancelled")
    assert simulator.effects.count("note", contact_id="c1") == 1

    simulator.faults.clear(refusal)
    assert await dead.retry(postroom.pool, [event_id], by="ana") == [event_id]
    await drain(settings=simulated)
    row = (await postroom.staged())[0]
    assert (row["state"], row["attempts"]) == ("done", 2)
    assert {kind: simulator.effects.count(kind, contact_id="c1") for kind in ("note", "task")} == {"note": 1, "task": 1}


async def test_p10_a_destination_that_is_down_costs_no_failures_and_buries_nothing(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    outage = simulator.faults.add("answer", "**", status=503, times=None)
    flowing = asyncio.Event()

    async def local(event: Claimed, ctx: Context) -> Outcome:
        flowing.set()
        return Done()

    routes = {**ROUTES, "test.local": Route(local)}
    await stage_all(postroom, *(appointment("confirmed", number=f"a{n}") for n in range(7)))
    async with dispatching(postroom.dsn, routes, settings=simulated):
        await eventually(lambda: is_held(postroom, 7))
        assert await postroom.value("select state from outbox.destinations where name = 'ghl'") == "open"
        assert await postroom.value("select max(failures) from outbox.busy") == 0
        await stage_all(postroom, Event("test.local", {}))
        await asyncio.wait_for(flowing.wait(), 5)  # everything else flows

        simulator.faults.clear(outage)
        await postroom.pool.execute("update outbox.destinations set until = now()")
        await eventually(lambda: all_done(postroom))
    assert simulator.effects.count("note") == 7
    assert await postroom.value("select count(*) from outbox.dead") == 0


async def test_p10_a_rejected_token_pauses_the_connection_until_a_person_resumes_it(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    rejection = simulator.faults.add("answer", "**", status=401, times=None)
    await stage_all(postroom, *(appointment("confirmed", number=f"a{n}") for n in range(5)))
    async with dispatching(postroom.dsn, settings=simulated):
        await eventually(lambda: is_held(postroom, 5))
        row = (await postroom.rows("select state, why from outbox.destinations where name = 'ghl'"))[0]
        assert row["state"] == "unauthorised"
        assert "token" in row["why"].lower()
        simulator.faults.clear(rejection)
        assert await destinations.resume(postroom.pool, "ghl", by="ana")
        await eventually(lambda: all_done(postroom))
    assert simulator.effects.count("note") == 5


async def test_p10_a_rate_limit_costs_no_failures(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    simulator.faults.add("answer", "/contacts/*/notes", method="POST", status=429, headers={"retry-after": "1"}, times=3)
    await stage_all(postroom, *(appointment("confirmed", number=f"a{n}") for n in range(3)))
    await drain(settings=simulated, hurry=True)
    assert (await postroom.totals())["done"] == 3
    assert simulator.effects.count("note") == 3
    assert await postroom.value("select count(*) from outbox.attempts where outcome = 'r'") == 0


async def settled(postroom: Postroom, event_id: int) -> bool:
    return await postroom.value("select state from outbox.states(array[$1::bigint])", event_id) in ("done", "skipped")


async def is_held(postroom: Postroom, count: int) -> bool:
    return bool(await postroom.value("select count(*) from outbox.busy where due_at = 'infinity'") == count)


async def all_done(postroom: Postroom) -> bool:
    totals = await postroom.totals()
    return totals["accepted"] == totals["done"]
