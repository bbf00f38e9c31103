"""P9, and P6 and P7 where a process dies: `kill -9` of a dispatcher or of Postgres heals without a person, within 15 seconds."""

import asyncio
import signal

from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome
from dispatcher.routes import Route
from outbox import Claimed, DatabaseUnavailable, Event
from outbox.embedded import Embedded
from outbox.testing import Postroom
from simulators.ghl import GhlSimulator
from tests.crashes.patience import Patience, family
from tests.dispatcher.appointments import appointment
from tests.dispatcher.running import WorkerProcess, dispatching, eventually, stage_all

Ghl = tuple[GhlSimulator, str]
HEALS_WITHIN_S = 15.0


async def test_p9_a_killed_dispatcher_is_replaced_and_its_note_is_written_once(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    hang = simulator.faults.add("hang", "/contacts/*/notes", method="POST")
    [event_id, behind] = await stage_all(postroom, appointment("created"), appointment("confirmed"))
    async with WorkerProcess(postroom.dsn, simulated) as first:
        await asyncio.wait_for(simulator.faults.wait_hanging(), 10)
        assert await first.end(signal.SIGKILL) == -signal.SIGKILL
        simulator.faults.release(hang)  # the request goes on after its sender died: the note is written
        async with WorkerProcess(postroom.dsn, simulated):
            await eventually(lambda: is_running_or_over(postroom, event_id), within_s=HEALS_WITHIN_S)
            await eventually(lambda: all_done(postroom))
    assert simulator.effects.count("note", contact_id="c1") == 2  # one for each event
    outcomes = await postroom.rows("select outcome::text from outbox.attempts where event_id = $1 order by attempt, outcome", event_id)
    assert [row["outcome"] for row in outcomes] == ["c", "d"]
    assert (await postroom.totals()) == {"accepted": 2, "pending": 0, "dead": 0, "done": 2, "skipped": 0}
    assert behind > event_id


async def test_p9_postgres_killed_under_a_dispatcher_heals_and_loses_nothing(own_server: Embedded, mortal: Postroom) -> None:
    ran: list[int] = []
    begun, release = asyncio.Event(), asyncio.Event()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        ran.append(event.id)
        if event.lane == "slow":
            begun.set()
            await release.wait()
        return Done()

    routes = {"test.work": Route(handler)}
    ids = await stage_all(mortal, *(Event("test.work", {"n": n}, lane=f"l{n % 7}") for n in range(200)))
    ids += await stage_all(mortal, Event("test.work", {}, lane="slow"))
    async with dispatching(mortal.dsn, routes):
        await begun.wait()
        own_server.kill()
        release.set()  # the handler ends while there is no database: its outcome is kept and sent afterwards
        own_server.start()
        await eventually(lambda: all_done(mortal), within_s=HEALS_WITHIN_S)
    assert set(ran) == set(ids)
    assert await mortal.totals() == {"accepted": 201, "pending": 0, "dead": 0, "done": 201, "skipped": 0}


async def test_p9_a_dispatcher_frozen_past_its_lease_changes_nothing_when_it_wakes(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    hang = simulator.faults.add("hang", "/contacts/*/notes", method="POST")
    [event_id] = await stage_all(postroom, appointment("confirmed"))
    async with WorkerProcess(postroom.dsn, simulated) as frozen:
        await asyncio.wait_for(simulator.faults.wait_hanging(), 10)
        frozen.send(signal.SIGSTOP)
        simulator.faults.release(hang)
        async with WorkerProcess(postroom.dsn, simulated):
            await eventually(lambda: all_done(postroom), within_s=HEALS_WITHIN_S + 5)
            before = await postroom.rows("select * from outbox.attempts order by attempt, outcome")
            frozen.send(signal.SIGCONT)
            [last] = await stage_all(postroom, appointment("completed"))
            await eventually(lambda: all_done(postroom))
        assert await frozen.end(signal.SIGTERM) == 0  # it came back as a new incarnation and stops in order
    assert simulator.effects.count("note", contact_id="c1") == 2
    assert await postroom.rows("select * from outbox.attempts where event_id = $1 order by attempt, outcome", event_id) == before
    assert last > event_id


async def test_p9_a_stopped_dispatcher_hands_its_work_back_with_the_attempt_restored(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    simulator.faults.add("hang", "/contacts/*/notes", method="POST")
    [event_id] = await stage_all(postroom, appointment("confirmed"))
    async with WorkerProcess(postroom.dsn, simulated) as worker:
        await asyncio.wait_for(simulator.faults.wait_hanging(), 10)
        worker.send(signal.SIGTERM)
        await eventually(lambda: is_draining(postroom), within_s=5)
        patience = Patience(family())
        assert await worker.end(signal.SIGTERM) == 0  # the second signal forces
        assert not patience.is_over(10, family)
    row = (
        await postroom.rows(
            "select owner, attempt, failures, crashes, due_at <= now() is_due from outbox.busy where event_id = $1", event_id
        )
    )[0]
    assert row == {"owner": None, "attempt": 0, "failures": 0, "crashes": 0, "is_due": True}
    assert await postroom.value("select count(*) from outbox.workers where ended_at is null") == 0


async def is_draining(postroom: Postroom) -> bool:
    """A dispatcher that drains claims nothing more: an event staged now stays pending."""
    await stage_all(postroom, Event("test.unclaimed", {}))
    await asyncio.sleep(0.3)
    return bool(await postroom.value("select count(*) from outbox.pending") > 0)


async def is_running_or_over(postroom: Postroom, event_id: int) -> bool:
    row = (await postroom.rows("select state, why from outbox.states(array[$1::bigint])", event_id))[0]
    crashed = await postroom.value("select count(*) from outbox.attempts where event_id = $1 and outcome = 'c'", event_id)
    return bool(crashed and (row["why"] == "running" or row["state"] == "done"))


async def all_done(postroom: Postroom) -> bool:
    try:
        totals = await postroom.totals()
    except DatabaseUnavailable:
        return False
    return totals["accepted"] == totals["done"]
