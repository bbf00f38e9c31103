"""A range of appointments, told to GHL once more: what differs is put right, nothing is told twice, and a rehearsal tells nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.syncs import appointments as sync
from dispatcher.syncs.appointments import APPOINTMENTS
from outbox.store import runs
from outbox.store.runs import WrongRange
from outbox.testing import Drain, Postroom
from tests.dispatcher.booking import Ghl, booked, made_here
from tests.dispatcher.handling import fate
from tests.dispatcher.syncing import asked, carried_out, register, run_row

SPAN = (datetime(2027, 1, 5, tzinfo=UTC), datetime(2027, 1, 6, tzinfo=UTC))


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "PAGE", 2)


async def ran(postroom: Postroom, settings: DispatcherSettings, **more: Any) -> dict[str, Any]:
    await register(postroom, APPOINTMENTS, settings=settings)
    run_id = await asked(postroom, APPOINTMENTS.name, "range", **{"span": SPAN, **more})
    await carried_out(postroom, APPOINTMENTS, settings=settings)
    return await run_row(postroom, run_id)


async def told(postroom: Postroom, drain: Drain, settings: DispatcherSettings) -> None:
    """A run, and what it staged, to their ends."""
    await register(postroom, APPOINTMENTS, settings=settings)
    await asked(postroom, APPOINTMENTS.name, "range", span=SPAN)
    await drain(settings=settings)


async def resyncs(postroom: Postroom) -> list[dict[str, Any]]:
    return await postroom.rows("select id, lane, key from outbox.events where kind = 'appointment.resync' order by id")


async def many(postroom: Postroom, count: int) -> list[str]:
    return [await made_here(postroom, title=f"Cut {n}") for n in range(count)]


async def test_each_appointment_of_the_range_is_staged_once_behind_live_work(postroom: Postroom, booking: DispatcherSettings) -> None:
    numbers = await many(postroom, 5)
    await made_here(postroom, contact_id=None)
    await made_here(postroom, starts_at=SPAN[1], ends_at=datetime(2027, 1, 6, 1, tzinfo=UTC))  # behind the range
    row = await ran(postroom, booking)
    assert (row["state"], row["updated"], row["skipped"], row["progress"], row["expected"]) == ("done", 5, 1, 6, 6)
    assert (row["since"], row["until"]) == SPAN
    staged = await resyncs(postroom)
    assert {one["lane"] for one in staged} == {f"appointment:{number}" for number in numbers}
    assert {one["key"] for one in staged} == {f"resync:{row['id']}:{number}" for number in numbers}
    assert await postroom.value("select watermark from outbox.syncs where name = 'appointments'") is None


async def test_a_rehearsal_counts_and_stages_nothing(postroom: Postroom, booking: DispatcherSettings) -> None:
    await many(postroom, 3)
    row = await ran(postroom, booking, dry_run=True)
    assert (row["state"], row["updated"]) == ("done", 3)
    assert await resyncs(postroom) == []


async def test_ghl_is_brought_in_line_without_a_note_or_a_task_and_the_next_time_finds_it_so(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1", tags=["vip", "appointment-cancelled"])
    number = await made_here(postroom, status="confirmed")
    await told(postroom, drain, booking)
    contact = simulator.store.contacts["c1"]
    assert sorted(contact["tags"]) == ["appointment-confirmed", "vip"]
    assert [(one["appointmentStatus"], one["contactId"]) for one in booked(simulator)] == [("confirmed", "c1")]
    assert not [one for one in simulator.effects.list() if one.kind in ("note", "task")]
    [first] = await resyncs(postroom)
    assert (await fate(postroom, first["id"])).state == "done"
    assert await postroom.value("select echo_of from crm.contacts where ghl_contact_id = 'c1'") == first["id"]
    assert await postroom.value("select ghl_appointment_id from crm.appointments where id::text = $1", number) == booked(simulator)[0]["id"]

    effects = len(simulator.effects.list())
    await told(postroom, drain, booking)
    second = (await resyncs(postroom))[-1]
    found = await fate(postroom, second["id"])
    assert (found.state, found.why, len(simulator.effects.list())) == ("skipped", "GHL is in line", effects)


async def test_whoever_changed_a_booking_last_is_right(postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    await made_here(postroom)
    await told(postroom, drain, booking)
    [one] = booked(simulator)
    # Ours changed last, and nobody told GHL.
    await postroom.pool.execute("update crm.appointments set title = 'Colour', updated_at = now() + interval '1 minute'")
    await told(postroom, drain, booking)
    assert booked(simulator)[0]["title"] == "Colour"
    # GHL's changed last, and nobody told us.
    await postroom.pool.execute("update crm.appointments set updated_at = now() - interval '1 hour'")
    simulator.put_appointment(one["id"], title="Beard")
    await told(postroom, drain, booking)
    assert await postroom.value("select title from crm.appointments") == "Beard"
    assert booked(simulator)[0]["title"] == "Beard"


async def test_what_is_over_is_not_booked_and_the_mirror_of_an_apps_own_table_is_left_out(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl
) -> None:
    await made_here(postroom, status="cancelled")
    mirror = await made_here(postroom)
    await postroom.pool.execute("update crm.appointments set ghl_appointment_id = 'g9' where id::text = $1", mirror)
    await postroom.pool.execute("insert into crm.links (kind, ours, theirs, destination) values ('appointment', 'app-7', 'g9', 'ghl')")
    await told(postroom, drain, booking)
    [row] = await postroom.rows("select updated, skipped from outbox.runs")
    assert (row["updated"], row["skipped"]) == (1, 1)
    assert booked(ghl[0]) == []


async def test_a_run_that_is_done_again_keeps_its_range(postroom: Postroom, booking: DispatcherSettings) -> None:
    await many(postroom, 1)
    row = await ran(postroom, booking)
    async with postroom.pool.acquire() as connection, connection.transaction():
        again = await runs.begin(connection, row["id"])
    assert again is not None
    assert (again.since, again.until, again.numbers.checkpoint, again.numbers.updated) == (*SPAN, None, 0)


@pytest.mark.parametrize(
    "more", [{"span": None}, {"span": (SPAN[1], SPAN[0])}, {"hours_back": 3}, {"span": (datetime(1990, 1, 1, tzinfo=UTC), SPAN[1])}]
)
async def test_a_range_that_cannot_be_is_refused(postroom: Postroom, booking: DispatcherSettings, more: dict[str, Any]) -> None:
    await register(postroom, APPOINTMENTS, settings=booking)
    with pytest.raises(WrongRange):
        await asked(postroom, APPOINTMENTS.name, "range", **{"span": SPAN, **more})
