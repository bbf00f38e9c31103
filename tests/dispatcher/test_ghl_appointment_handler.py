"""GHL appointment events → crm.appointments: the webhook is a hint, what GHL answers counts, and older never replaces newer."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.clients import ghl_models
from dispatcher.config import DispatcherSettings
from dispatcher.handlers.ghl_appointments import state_of, without_mark
from outbox import Event
from outbox.kinds import AppointmentStatus
from outbox.store import appointments, contacts
from outbox.testing import Drain, Postroom
from simulators import samples
from simulators.ghl import GhlSimulator
from simulators.shapes import JsonObject
from tests.dispatcher.arriving import ghl_webhook
from tests.dispatcher.connecting import CORK, DUBLIN, world
from tests.dispatcher.handling import fate
from tests.dispatcher.locations import settle
from tests.dispatcher.running import stage_all

Ghl = tuple[GhlSimulator, str]
STARTS, ENDS = "2026-11-09T10:00:00+00:00", "2026-11-09T10:30:00+00:00"


async def webhook(postroom: Postroom, kind: str, appointment: JsonObject) -> int:
    return await ghl_webhook(postroom, samples.ghl_appointment_event(f"Appointment{kind}", appointment, app_id=samples.DEMO_APP_ID))


async def row_of(postroom: Postroom, ghl_id: str = "g1") -> dict[str, Any]:
    [row] = await postroom.rows("select * from crm.appointments where ghl_appointment_id = $1", ghl_id)
    return row


async def result(postroom: Postroom, event_id: int) -> dict[str, Any]:
    found = await fate(postroom, event_id)
    assert (found.state, found.why is not None) == ("done", True), found
    made: dict[str, Any] = json.loads(found.why or "")
    return made


async def test_an_appointment_made_in_ghl_comes_to_stand_here(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    event_id = await webhook(postroom, "Create", ghl[0].put_appointment("g1", contactId="c1", notes="window seat"))
    await drain(settings=simulated)
    row = await row_of(postroom)
    assert await result(postroom, event_id) == {"appointment": "created", "id": str(row["id"])}
    seen = {name: row[name] for name in ("status", "ghl_status", "contact_id", "title", "notes", "calendar_id", "location_id", "resource")}
    assert seen == {
        "status": "confirmed",
        "ghl_status": "confirmed",
        "contact_id": "c1",
        "title": "Colour and cut",
        "notes": "window seat",
        "calendar_id": samples.DEMO_CALENDAR_ID,
        "location_id": samples.DEMO_LOCATION_ID,
        "resource": None,
    }
    assert (row["starts_at"].isoformat(), row["ends_at"].isoformat()) == (STARTS, ENDS)
    assert row["changed_at"] == datetime.fromisoformat(ghl[0].store.appointments["g1"]["dateUpdated"])
    assert len(await postroom.staged()) == 1, "nothing is said back to GHL"


async def test_what_is_changed_in_ghl_changes_here_and_a_second_hint_finds_nothing_new(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    await webhook(postroom, "Create", ghl[0].put_appointment("g1", appointmentStatus="new"))
    await drain(settings=simulated)
    moved = ghl[0].put_appointment("g1", startTime="2026-11-10T12:00:00+01:00", endTime="2026-11-10T13:00:00+01:00")
    first, second = await webhook(postroom, "Update", moved), await webhook(postroom, "Update", {**moved, "title": "Not this"})
    await drain(settings=simulated)
    assert (await result(postroom, first))["appointment"] == "updated"
    assert (await fate(postroom, second)).state == "skipped"
    third = await webhook(postroom, "Update", moved)
    await drain(settings=simulated)
    assert (await fate(postroom, third)).why == "the appointment is as new as GHL's"
    row = await row_of(postroom)
    assert (row["starts_at"], row["title"]) == (datetime(2026, 11, 10, 11, tzinfo=UTC), "Colour and cut")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("new", "scheduled"),
        ("confirmed", "confirmed"),
        ("active", "confirmed"),
        ("cancelled", "cancelled"),
        ("noshow", "cancelled"),
        ("invalid", "cancelled"),
        ("showed", "completed"),
        ("completed", "completed"),
        ("rescheduled-by-a-robot", "scheduled"),
    ],
)
async def test_ghls_statuses_have_their_meaning_here_and_its_own_word_is_kept(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, said: str, status: str
) -> None:
    await webhook(postroom, "Create", ghl[0].put_appointment("g1", appointmentStatus=said))
    await drain(settings=simulated)
    row = await row_of(postroom)
    assert (row["status"], row["ghl_status"]) == (status, said)


async def test_a_status_that_our_life_forbids_stays_ours_and_the_timeline_says_so(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    await webhook(postroom, "Create", ghl[0].put_appointment("g1", appointmentStatus="cancelled"))
    await drain(settings=simulated)
    event_id = await webhook(postroom, "Update", ghl[0].put_appointment("g1", appointmentStatus="confirmed"))
    await drain(settings=simulated)
    assert (await result(postroom, event_id))["keptStatus"] == "cancelled"
    row = await row_of(postroom)
    assert (row["status"], row["ghl_status"]) == ("cancelled", "confirmed")


async def test_a_double_booking_in_ghl_stands_and_the_timeline_names_what_is_in_its_way(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    await webhook(postroom, "Create", ghl[0].put_appointment("g1"))
    await drain(settings=simulated)
    await postroom.pool.execute("update crm.appointments set resource = 'chair-1'")
    later = {"starts_at": datetime(2026, 11, 9, 14, tzinfo=UTC), "ends_at": datetime(2026, 11, 9, 15, tzinfo=UTC)}
    fields: dict[str, Any] = {"status": "scheduled", "contact_id": None, "title": "Cut", "notes": None, "resource": "chair-1", **later}
    async with postroom.pool.acquire() as connection:
        other = await appointments.create(connection, **fields)
    moved = ghl[0].put_appointment("g1", startTime="2026-11-09T14:30:00Z", endTime="2026-11-09T15:30:00Z")
    event_id = await webhook(postroom, "Update", moved)
    await drain(settings=simulated)
    assert (await result(postroom, event_id))["inTheWay"] == str(other["id"])
    assert (await row_of(postroom))["resource"] is None


@pytest.mark.parametrize("is_still_shown", [False, True])
async def test_a_deletion_in_ghl_cancels_whatever_a_replica_still_shows(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, is_still_shown: bool
) -> None:
    shown = ghl[0].put_appointment("g1")
    await webhook(postroom, "Create", shown)
    await drain(settings=simulated)
    if not is_still_shown:
        ghl[0].remove_appointment("g1")
    event_id = await webhook(postroom, "Delete", shown)
    await drain(settings=simulated)
    assert await result(postroom, event_id) == {"appointment": "deleted", "status": "cancelled"}
    row = await row_of(postroom)
    assert (row["status"], row["ghl_status"]) == ("cancelled", "deleted")


async def test_an_update_of_what_is_gone_is_a_deletion_and_one_never_seen_is_skipped(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    shown = ghl[0].put_appointment("g1")
    ghl[0].remove_appointment("g1")
    first = await webhook(postroom, "Create", shown)
    await drain(settings=simulated)
    assert (await fate(postroom, first)).why == "the appointment is gone from GHL and was not known here"
    again = ghl[0].put_appointment("g1")
    await webhook(postroom, "Create", {**again, "title": "again"})
    await drain(settings=simulated)
    ghl[0].remove_appointment("g1")
    await webhook(postroom, "Update", again)
    await drain(settings=simulated)
    assert (await row_of(postroom))["status"] == "cancelled"


async def test_an_appointment_that_took_place_makes_its_contact_a_customer(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    async with postroom.pool.acquire() as connection:
        await contacts.apply(connection, contacts.Contact("c1", datetime(2026, 1, 1, tzinfo=UTC)))
    await webhook(postroom, "Create", ghl[0].put_appointment("g1", contactId="c1"))
    await drain(settings=simulated)
    assert await postroom.value("select customer_since from crm.contacts") is None
    await webhook(postroom, "Update", ghl[0].put_appointment("g1", appointmentStatus="showed"))
    await drain(settings=simulated)
    assert await postroom.value("select customer_since from crm.contacts") == datetime.fromisoformat(STARTS)


async def test_an_event_of_a_location_that_is_not_connected_is_skipped_with_that_reason(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    kinds = ("Create", "Update", "Delete")
    elsewhere = samples.ghl_appointment("g1", locationId="ElsewhereLocation001")
    ids = [await webhook(postroom, kind, {**elsewhere, "id": f"g-{kind}"}) for kind in kinds]
    await drain(settings=simulated)
    assert {(await fate(postroom, event_id)).why for event_id in ids} == {"location ElsewhereLocation001 is not connected"}
    assert ghl[0].requests.total == 0


async def test_an_appointment_of_a_connected_location_is_fetched_with_that_locations_token(postroom: Postroom) -> None:
    async with world(postroom) as there:
        await there.connect(CORK)
        shown = there.ghl.put_appointment("g1", locationId=CORK)
        cork = await webhook(postroom, "Create", shown)
        dublin = await webhook(postroom, "Create", there.ghl.put_appointment("g2", locationId=DUBLIN))
        await settle(there, cork, dublin)
        assert (await result(postroom, cork))["appointment"] == "created"
        assert (await fate(postroom, dublin)).why == f"location {DUBLIN} is not connected"
        assert (await row_of(postroom))["location_id"] == CORK


async def test_an_event_that_names_no_appointment_or_one_without_a_time_is_skipped(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    [nameless] = await stage_all(postroom, Event("ghl.AppointmentUpdate", {}, source="ghl"))
    ghl[0].faults.add("answer", "/calendars/events/appointments/g1", status=200, body={"event": {"id": "g1", "title": "Cut"}})
    timeless = await webhook(postroom, "Create", ghl[0].put_appointment("g1"))
    await drain(settings=simulated)
    assert (await fate(postroom, nameless)).why == "the event names no appointment"
    assert (await fate(postroom, timeless)).why == "GHL does not say when the appointment is"


def test_an_end_that_is_its_beginning_and_a_time_of_change_that_is_missing_do_no_harm() -> None:
    at = datetime(2026, 11, 9, 10, tzinfo=UTC)
    shown = ghl_models.GhlAppointment(id="g1", starts_at=at, ends_at=at, status="new", title="", contact_id="")
    state = state_of(shown, fallback_at=at)
    assert state is not None
    assert (state.ends_at - at, state.changed_at, state.title, state.contact_id) == (timedelta(minutes=30), at, None, None)
    assert state.status is AppointmentStatus.SCHEDULED


def test_our_mark_is_no_part_of_what_people_wrote() -> None:
    assert without_mark("by the window\n\npostroom:appointment/a1") == "by the window"
    assert without_mark("postroom:appointment/a1") == ""
    assert without_mark(None) == ""
