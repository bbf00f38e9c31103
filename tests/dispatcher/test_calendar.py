"""An app's appointments in GHL's calendar: booked once, kept in step, and known again when GHL tells us of them."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from dispatcher.config import DispatcherSettings
from outbox.store import dead, links
from outbox.testing import Drain, Postroom
from simulators import samples
from simulators.ghl import GhlSettings, GhlSimulator
from simulators.samples import DEMO_CALENDAR_ID, DEMO_LOCATION_ID
from simulators.serving import serve
from simulators.shapes import JsonObject
from simulators.signing import GhlSigner
from simulators.webhooks import WebhookSender
from tests.dispatcher.arriving import ghl_webhook
from tests.dispatcher.booking import BOOK, ENDS, ONE, STARTS, Ghl, booked, change, made_here, said, statuses
from tests.dispatcher.connecting import CORK, world
from tests.dispatcher.handling import everything_is_over, fate, is_over
from tests.dispatcher.locations import settle
from tests.dispatcher.openapi import OpenApi
from tests.dispatcher.running import dispatching, eventually, stage_all
from tests.specs import specs_path


async def test_a_new_appointment_is_booked_once_and_its_id_is_kept_in_our_row(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl
) -> None:
    number = await made_here(postroom, notes="by the window", resource="chair-1")
    [event_id] = await stage_all(postroom, change("created", number, notes="by the window"))
    await drain(settings=booking)
    assert await said(postroom, event_id) == "booked"
    [one] = booked(ghl[0])
    names = ("calendarId", "locationId", "contactId", "title", "appointmentStatus", "description")
    assert [one[name] for name in names] == [
        *(DEMO_CALENDAR_ID, DEMO_LOCATION_ID, "c1", "Cut", "new"),
        f"by the window\n\npostroom:appointment/{number}",
    ]
    assert [datetime.fromisoformat(one[name]).isoformat() for name in ("startTime", "endTime")] == [STARTS, ENDS]
    [row] = await postroom.rows("select * from crm.appointments")
    kept = ("ghl_appointment_id", "ghl_status", "calendar_id", "location_id", "echo_of", "notes", "resource", "status")
    assert [row[name] for name in kept] == [
        *(one["id"], "new", DEMO_CALENDAR_ID, DEMO_LOCATION_ID, event_id),
        *("by the window", "chair-1", "scheduled"),
    ]


async def test_the_booking_of_an_apps_own_appointment_is_linked_and_mirrored(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl
) -> None:
    created, confirmed = await stage_all(postroom, change("created", "17"), change("confirmed", "17"))
    await drain(settings=booking)
    [one] = booked(ghl[0])
    assert (await said(postroom, created), await said(postroom, confirmed)) == ("booked", "updated")
    assert await links.theirs(postroom.pool, "appointment", "17") == links.Link(one["id"], "ghl")
    [row] = await postroom.rows("select * from crm.appointments")
    assert (row["ghl_appointment_id"], row["ghl_status"], row["echo_of"]) == (one["id"], "confirmed", confirmed)


async def test_a_whole_life_is_one_booking_in_its_states(postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl) -> None:
    seen = []
    moved = {"starts_at": "2027-01-06T10:00:00", "ends_at": "2027-01-06T11:00:00+00:00"}
    for word, previous, now in (
        ("created", None, {}),
        ("confirmed", {}, {}),
        ("updated", {"status": "confirmed"}, {"status": "confirmed", **moved}),
        ("completed", {"status": "confirmed", **moved}, moved),
    ):
        await stage_all(postroom, change(word, previous=previous, **now))
        await drain(settings=booking)
        [one] = booked(ghl[0])
        seen.append((one["appointmentStatus"], datetime.fromisoformat(one["startTime"]).day))
    assert seen == [("new", 5), ("confirmed", 5), ("confirmed", 6), ("showed", 6)]
    assert ghl[0].effects.totals()["kinds"]["appointment"] == 1


async def test_a_cancellation_cancels_the_booking_and_tells_nothing_else(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl, sent: list[httpx.Request]
) -> None:
    await stage_all(postroom, change("created"))
    await drain(settings=booking)
    moved = "2027-01-07T09:00:00+00:00"  # by a person at GHL, and our app was not told
    ghl[0].put_appointment(booked(ghl[0])[0]["id"], startTime=moved)
    await stage_all(postroom, change("cancelled", previous={}))
    await drain(settings=booking)
    [one] = booked(ghl[0])
    assert (one["appointmentStatus"], one["startTime"]) == ("cancelled", moved)
    [put] = [request for request in sent if request.method == "PUT" and request.url.path.startswith(BOOK)]
    assert json.loads(put.content) == {"appointmentStatus": "cancelled"}


async def test_a_change_that_no_calendar_shows_is_not_told_to_it(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl
) -> None:
    _, updated = await stage_all(postroom, change("created"), change("updated", previous={"resource": "chair-1"}, resource="chair-2"))
    await drain(settings=booking)
    assert await said(postroom, updated) == "unchanged"
    assert ghl[0].requests.count("PUT", ONE) == 0


async def test_changed_notes_keep_our_mark(postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl) -> None:
    await stage_all(postroom, change("created"), change("updated", previous={}, notes="bring the dog", title="Cut and colour"))
    await drain(settings=booking)
    [one] = booked(ghl[0])
    assert (one["description"], one["title"]) == ("bring the dog\n\npostroom:appointment/a1", "Cut and colour")


async def test_without_a_calendar_nothing_is_booked(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    ghl[0].put_contact("c1")
    ids = await stage_all(postroom, change("created"), change("confirmed"))
    await drain(settings=simulated)
    assert [await said(postroom, event_id) for event_id in ids] == [None, None]
    assert ghl[0].requests.count("*", "/calendars/**") == 0


async def test_an_appointment_may_name_its_calendar(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    ghl[0].put_contact("c1")
    await stage_all(postroom, change("created", calendar_id="OtherCalendar0000001"))
    await drain(settings=simulated)
    assert [one["calendarId"] for one in booked(ghl[0])] == ["OtherCalendar0000001"]


@pytest.mark.parametrize("word", ["updated", "confirmed"])
async def test_one_whose_contact_became_known_only_later_is_booked_then(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl, word: str
) -> None:
    ids = await stage_all(postroom, change("created", contact_id=None), change(word, previous={"contact_id": None}))
    await drain(settings=booking)
    assert [(await fate(postroom, event_id)).state for event_id in ids] == ["skipped", "done"]
    assert statuses(ghl[0]) == ["new" if word == "updated" else "confirmed"]


@pytest.mark.parametrize("word", ["cancelled", "completed"])
async def test_what_has_ended_is_not_booked_afterwards(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl, word: str
) -> None:
    [event_id] = await stage_all(postroom, change(word))
    await drain(settings=booking)
    assert await said(postroom, event_id) is None
    assert booked(ghl[0]) == []


async def test_a_booking_that_was_deleted_in_ghl_is_left_alone(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl
) -> None:
    await stage_all(postroom, change("created"))
    await drain(settings=booking)
    ghl[0].remove_appointment(booked(ghl[0])[0]["id"])
    [event_id] = await stage_all(postroom, change("confirmed", previous={}))
    await drain(settings=booking)
    assert await said(postroom, event_id) == "gone"
    assert booked(ghl[0]) == []


async def test_a_calendar_that_ghl_does_not_have_buries_the_event_with_its_name_and_a_retry_repeats_nothing_else(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    answer = {"statusCode": 400, "message": "Calendar with id X not found"}
    simulator.faults.add("answer", BOOK, method="POST", status=400, body=answer)
    await stage_all(postroom, change("created"))
    await drain(settings=booking)
    [letter] = await dead.find(postroom.pool, dead.Filter())
    assert letter["reason"].startswith("ghl answered 400: Calendar with id X not found (calendar DemoCalendar")
    await dead.retry(postroom.pool, [letter["id"]], by="ana")
    await drain(settings=booking)
    kinds = simulator.effects.totals()["kinds"]
    assert (kinds["note"], kinds["task"], kinds["appointment"]) == (1, 1, 1)


# ── several locations


async def test_the_default_calendar_is_not_another_locations(postroom: Postroom) -> None:
    async with world(postroom) as there:
        await there.connect(CORK)
        there.ghl.put_contact("c2", locationId=CORK)
        elsewhere = change("created", contact_id="c2", location_id=CORK)
        named = change("created", "a2", contact_id="c2", location_id=CORK, calendar_id="CorkCalendar00000001")
        ids = await stage_all(postroom, elsewhere, named)
        await settle(there, *ids, settings=there.with_key(ghl_default_calendar_id=DEMO_CALENDAR_ID))
        assert [await said(postroom, event_id) for event_id in ids] == [None, "booked"]
        [one] = booked(there.ghl)
        assert (one["locationId"], one["calendarId"]) == (CORK, "CorkCalendar00000001")
        assert (await links.theirs(postroom.pool, "appointment", "a2")) == links.Link(one["id"], f"ghl:{CORK}")


async def test_an_appointment_of_a_location_that_is_not_connected_is_skipped_with_that_reason(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl
) -> None:
    [event_id] = await stage_all(postroom, change("created", location_id=CORK))
    await drain(settings=booking)
    found = await fate(postroom, event_id)
    assert (found.state, found.why) == ("skipped", f"location {CORK} is not connected")


# ── what we wrote ourselves comes back


async def test_our_own_writes_come_back_as_echoes_and_a_persons_change_does_not(postroom: Postroom) -> None:
    received: list[JsonObject] = []

    class Collecting(WebhookSender):
        def send(self, event: JsonObject) -> None:
            received.append(event)

    simulator = GhlSimulator(GhlSettings(echo=True), webhooks=Collecting("http://127.0.0.1:1/", GhlSigner.for_demo().headers))
    async with serve(simulator.app) as running:
        settings = DispatcherSettings.read(
            ghl_api_key=simulator.settings.token,
            ghl_location_id=simulator.settings.location_id,
            ghl_api_base_url=running.base_url,
            ghl_default_calendar_id=DEMO_CALENDAR_ID,
        )
        simulator.put_contact("c1", firstName="Ada")
        number = await made_here(postroom)
        async with dispatching(postroom.dsn, settings=settings):
            created, confirmed = await stage_all(postroom, change("created", number), change("confirmed", number, previous={}))
            await eventually(everything_is_over(postroom))
            written = simulator.effects.totals()["total"]
            told = [event for event in received if event["type"].startswith(("Contact", "Appointment"))]
            ids = []
            for event in told:
                ids.append(await ghl_webhook(postroom, event))
                await eventually(everything_is_over(postroom))
            echoes = [(await fate(postroom, event_id)).why for event_id in ids]
            changed = simulator.put_contact("c1", firstName="Augusta")
            foreign = await ghl_webhook(postroom, samples.ghl_contact_event("ContactUpdate", changed))
            shown = simulator.put_appointment(booked(simulator)[0]["id"], startTime="2027-01-05T09:00:00+00:00")
            moved = await ghl_webhook(postroom, samples.ghl_appointment_event("AppointmentUpdate", shown))
            await eventually(everything_is_over(postroom))
    assert {event["type"] for event in told} == {
        *("ContactCreate", "ContactTagUpdate", "ContactUpdate"),
        *("AppointmentCreate", "AppointmentUpdate"),
    }
    assert created < confirmed
    assert set(echoes) == {f"echo of #{confirmed}"}
    assert simulator.effects.totals()["total"] == written, "no echo is answered by a write"
    assert ((await fate(postroom, foreign)).why, (await fate(postroom, moved)).state) == ('{"contact": "updated"}', "done")
    [row] = await postroom.rows("select starts_at, echo_of from crm.appointments")
    assert (row["starts_at"], row["echo_of"]) == (datetime(2027, 1, 5, 9, tzinfo=UTC), None)
    assert await postroom.value("select echo_of from crm.contacts") is None


async def test_a_webhook_that_is_quicker_than_the_answer_makes_no_second_row(
    postroom: Postroom, booking: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    number = await made_here(postroom)
    hang = simulator.faults.add("hang", ONE, method="GET")
    async with dispatching(postroom.dsn, settings=booking):
        await stage_all(postroom, change("created", number))
        await simulator.faults.wait_hanging()
        quick = await ghl_webhook(postroom, samples.ghl_appointment_event("AppointmentCreate", booked(simulator)[0]))
        await eventually(is_over(postroom, quick))
        assert await postroom.value("select count(*) from crm.appointments") == 2
        simulator.faults.release(hang)
        await eventually(everything_is_over(postroom))
    [row] = await postroom.rows("select id, ghl_appointment_id from crm.appointments")
    assert (str(row["id"]), row["ghl_appointment_id"]) == (number, booked(simulator)[0]["id"])


# ── against the official specification


async def test_every_request_to_a_calendar_is_as_the_official_specification_wants_it(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl, sent: list[httpx.Request]
) -> None:
    calendars = OpenApi(specs_path("ghl/apps/calendars.json"))
    ghl[0].faults.add("drop", BOOK, method="POST", after_work=True)  # so that the look-up is among them
    later = {"starts_at": "2027-01-06T10:00:00+00:00", "ends_at": "2027-01-06T11:00:00+00:00", "notes": "n", "calendar_id": "C2"}
    for event in (
        change("created"),
        change("updated", previous={}, **later),
        change("confirmed", previous=later, **later),
        change("completed", previous=later, **later),
    ):
        await stage_all(postroom, event)
        await drain(settings=booking, hurry=True)
    found = booked(ghl[0])[0]
    await ghl_webhook(postroom, samples.ghl_appointment_event("AppointmentUpdate", found))
    await drain(settings=booking)
    seen = {calendars.check(request) for request in sent if request.url.path.startswith("/calendars")}
    assert seen == {
        "POST /calendars/events/appointments",
        "GET /calendars/events",
        "GET /calendars/events/appointments/{eventId}",
        "PUT /calendars/events/appointments/{eventId}",
    }
    assert (found["appointmentStatus"], found["calendarId"]) == ("showed", "C2")


# ── customers, and the next date


async def test_a_completed_appointment_makes_its_contact_a_customer_since_it_took_place(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings
) -> None:
    took_place = (datetime.now(UTC) - timedelta(days=3)).replace(microsecond=0)
    await stage_all(postroom, change("created", starts_at=took_place.isoformat()))
    await drain(settings=booking)
    assert await postroom.value("select count(*) from crm.leads where ghl_contact_id = 'c1'") == 1
    await stage_all(postroom, change("completed", previous={}, starts_at=took_place.isoformat()))
    await drain(settings=booking)
    assert await postroom.value("select customer_since from crm.contacts where ghl_contact_id = 'c1'") == took_place
    assert await postroom.value("select count(*) from crm.leads") == 0


async def test_a_cancellation_leaves_the_date_of_the_next_one_that_stands(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    ghl[0].put_contact("c1")
    soon = datetime.now(UTC) + timedelta(days=30)
    await made_here(postroom, starts_at=soon, ends_at=soon + timedelta(hours=1))
    await stage_all(postroom, change("cancelled"))
    await drain(settings=simulated)
    keys = {field["id"]: field["fieldKey"].removeprefix("contact.") for field in ghl[0].store.custom_fields}
    shown = {keys[field["id"]]: field["value"] for field in ghl[0].store.contacts["c1"]["customFields"]}
    assert shown == {"appointment_status": "cancelled", "next_appointment_date": soon.date().isoformat()}
