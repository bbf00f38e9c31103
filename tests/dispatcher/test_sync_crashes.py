"""A run whose process dies (P9): it goes on behind its last page, each page counts once, and the watermark is that of its beginning."""

import asyncio
import signal

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.syncs.ghl_contacts import GHL_CONTACTS, PAGE
from outbox.testing import Postroom
from simulators.ghl import GhlSimulator
from tests.dispatcher.handling import has
from tests.dispatcher.running import WorkerProcess, eventually
from tests.dispatcher.syncing import asked, register, run_row

HEALS_WITHIN_S = 30.0


async def test_p9_a_run_whose_process_is_killed_goes_on_behind_its_last_page(
    postroom: Postroom, simulated: DispatcherSettings, ghl: tuple[GhlSimulator, str]
) -> None:
    simulator, pages = ghl[0], 4
    for n in range(pages * PAGE):
        simulator.put_contact(f"c{n:04}", firstName=f"Name {n}")
    await register(postroom, GHL_CONTACTS, settings=simulated)
    run_id = await asked(postroom, GHL_CONTACTS.name)
    simulator.faults.add("delay", "/contacts/search", times=2, delay_s=0)  # the first two pages pass
    caught = simulator.faults.add("hang", "/contacts/search")
    async with WorkerProcess(postroom.dsn, simulated) as first:
        await asyncio.wait_for(simulator.faults.wait_hanging(), 20)
        # The third was asked for while the second was written.
        await eventually(has(postroom, "select pages = 2 from outbox.runs where id = $1", run_id))
        before = await run_row(postroom, run_id)
        assert (before["state"], before["pages"], before["created"]) == ("running", 2, 2 * PAGE)
        assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    simulator.faults.release(caught)
    async with WorkerProcess(postroom.dsn, simulated):
        await eventually(has(postroom, "select ended_at is not null from outbox.runs where id = $1", run_id), within_s=HEALS_WITHIN_S)
    row = await run_row(postroom, run_id)
    assert (row["state"], row["pages"], row["created"], row["unchanged"]) == ("done", pages, pages * PAGE, 0)
    assert row["until"] == before["until"]
    assert await postroom.value("select watermark from outbox.syncs where name = 'ghl-contacts'") == before["until"]
    assert await postroom.value("select count(*) from crm.contacts") == pages * PAGE
    outcomes = await postroom.rows("select outcome::text from outbox.attempts where event_id = $1 order by attempt, outcome", run_id)
    assert [one["outcome"] for one in outcomes] == ["c", "d"]


@pytest.mark.long
async def test_a_dispatcher_that_stops_hands_its_run_back_behind_the_page_and_it_goes_on(
    postroom: Postroom, simulated: DispatcherSettings, ghl: tuple[GhlSimulator, str]
) -> None:
    simulator, pages = ghl[0], 3
    for n in range(pages * PAGE):
        simulator.put_contact(f"c{n:04}", firstName=f"Name {n}")
    await register(postroom, GHL_CONTACTS, settings=simulated)
    run_id = await asked(postroom, GHL_CONTACTS.name)
    caught = simulator.faults.add("hang", "/contacts/search")
    async with WorkerProcess(postroom.dsn, simulated) as first:
        await asyncio.wait_for(simulator.faults.wait_hanging(), 20)
        first.send(signal.SIGTERM)
        simulator.faults.release(caught)
        assert await first.wait() == 0
    between = await run_row(postroom, run_id)
    assert (between["pages"] in (1, 2), between["ended_at"]) == (True, None)
    async with WorkerProcess(postroom.dsn, simulated):
        await eventually(has(postroom, "select ended_at is not null from outbox.runs where id = $1", run_id), within_s=HEALS_WITHIN_S)
    row = await run_row(postroom, run_id)
    assert (row["state"], row["pages"], row["created"]) == ("done", pages, pages * PAGE)
    outcomes = await postroom.rows("select outcome::text from outbox.attempts where event_id = $1 order by attempt, outcome", run_id)
    assert [one["outcome"] for one in outcomes] == ["z", "d"]
