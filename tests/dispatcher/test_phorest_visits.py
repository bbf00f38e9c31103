"""Phorest's appointments → GHL's calendar, and what waits for a client: one repair, no attempt, woken by its commit."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest

from dispatcher import services
from dispatcher.config import DispatcherSettings
from dispatcher.policy.ratelimit import Rate
from outbox import db
from outbox.store import destinations
from outbox.store import phorest as store
from outbox.store.phorest import Kind, PhorestRecord, event_for
from outbox.testing import Drain, Postroom
from simulators.samples import DEMO_BRANCH_ID, DEMO_CALENDAR_ID
from tests.dispatcher.handling import everything_is_over, has
from tests.dispatcher.running import dispatching, eventually, stage_all
from tests.dispatcher.salon import ADA, Ghl, Phorest, booked, contacts, ends, import_appointments, import_clients


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GHL that lets us call as often as we like."""
    monkeypatch.setattr(services, "GHL_RATE", Rate(per_s=100_000, burst=100_000))


async def test_an_appointment_becomes_a_calendar_event_at_the_branchs_own_time(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    phorest[0].put_appointment("a1", clientId="p1", appointmentDate="2027-07-05", confirmed=True)
    await import_appointments(postroom, "a1")
    await drain(settings=salon, hurry=True)
    [contact], [event] = contacts(ghl[0]), booked(ghl[0])
    assert (event["contactId"], event["calendarId"], event["title"]) == (contact["id"], DEMO_CALENDAR_ID, "Cut & finish")
    assert datetime.fromisoformat(event["startTime"]) == datetime.fromisoformat(
        "2027-07-05T09:00:00+00:00"
    )  # ten o'clock in Dublin's summer
    assert datetime.fromisoformat(event["endTime"]) == datetime.fromisoformat("2027-07-05T09:45:00+00:00")
    assert event["appointmentStatus"] == "confirmed"
    [row] = await postroom.rows("select echo_of is not null echo, status, contact_id from crm.appointments")
    assert row == {"echo": True, "status": "confirmed", "contact_id": contact["id"]}


async def test_a_cancelled_appointment_is_cancelled_in_the_calendar_whatever_its_state_says(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    phorest[0].put_appointment("a1", clientId="p1")
    await import_clients(postroom, "p1")
    await import_appointments(postroom, "a1")
    await drain(settings=salon, hurry=True)
    phorest[0].put_appointment("a1", activationState="CANCELED")
    await import_appointments(postroom, "a1")
    await drain(settings=salon)
    assert [event["appointmentStatus"] for event in booked(ghl[0])] == ["cancelled"]


async def test_a_lost_answer_to_a_booking_books_once(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    phorest[0].put_appointment("a1", clientId="p1")
    ghl[0].faults.add("drop", "/calendars/events/appointments", method="POST", after_work=True)
    await import_appointments(postroom, "a1")
    await drain(settings=salon, hurry=True)
    assert (len(booked(ghl[0])), await postroom.value("select made from crm.links where kind = 'phorest-appointment'")) == (1, True)


async def test_a_branch_without_zone_or_calendar_is_named_and_nothing_is_booked(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_appointment("a1", clientId="p1")
    for missing, told in (("phorest_branches", "is not in PHOREST_BRANCHES"), ("ghl_default_calendar_id", "has no calendar")):
        await import_appointments(postroom, "a1")
        await drain(settings=salon.model_copy(update={missing: () if missing == "phorest_branches" else None}))
        state, why = (await ends(postroom, "phorest.appointment"))[-1]
        assert (state, (why or "").endswith(told)) == ("skipped", True)
    assert not booked(ghl[0])


async def test_an_appointment_of_a_merged_client_goes_to_the_contact_of_the_other(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    phorest[0].put_client("p2", firstName="Ada")
    phorest[0].merge_client("p2", "p1")
    phorest[0].put_appointment("a1", clientId="p2")
    await import_clients(postroom, "p2")
    await drain(settings=salon)
    await import_appointments(postroom, "a1")
    await drain(settings=salon, hurry=True)
    [contact] = contacts(ghl[0])
    assert [event["contactId"] for event in booked(ghl[0])] == [contact["id"]]


async def _as_a_sync_leaves_them(postroom: Postroom, number: int) -> None:
    """Appointments of a client that is not here: imported, with an event each. Phorest is paused, so that its repair has to wait."""
    said = {"appointmentDate": "2027-01-05", "startTime": "10:00:00.000", "endTime": "10:30:00.000", "serviceName": "Cut"}
    visits = [PhorestRecord(Kind.APPOINTMENT, f"a{n}", said, branch_id=DEMO_BRANCH_ID, client_id="p1") for n in range(number)]
    async with db.transaction(postroom.pool) as connection:
        await store.apply(connection, Kind.APPOINTMENT, visits)
        await destinations.pause(connection, "phorest", why="a test", by="ana", seconds=None)
    await stage_all(postroom, *(event_for(Kind.APPOINTMENT, visit.id) for visit in visits))


def _all_wait(postroom: Postroom, number: int) -> Callable[[], Awaitable[bool]]:
    return has(postroom, f"select count(distinct event_id) = {number} from outbox.attempts where outcome = 'z'")


async def _resume(postroom: Postroom) -> None:
    async with db.transaction(postroom.pool) as connection:
        await destinations.resume(connection, "phorest", by="ana")


@pytest.mark.usefixtures("quick")
async def test_five_hundred_appointments_of_an_unknown_client_stage_one_repair_burn_no_attempt_and_are_woken_by_it(
    postroom: Postroom, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    await _as_a_sync_leaves_them(postroom, 500)
    async with dispatching(postroom.dsn, settings=salon.model_copy(update={"destination_concurrency": 500})):
        await eventually(_all_wait(postroom, 500), within_s=120)
        assert await postroom.value("select max(failures) from outbox.busy") == 0
        await postroom.pool.execute("update outbox.busy set due_at = now() + interval '1 hour' where why like 'waits for its client%'")
        await _resume(postroom)
        await eventually(has(postroom, "select exists (select from crm.links where kind = 'phorest-client')"), within_s=60)
        await eventually(has(postroom, "select not exists (select from outbox.busy where due_at > now() + interval '10 minutes')"))
    [repair] = await postroom.rows(
        """select extract(epoch from l.created_at - a.started_at)::float8 took_s from outbox.events e
           join outbox.attempts a on a.event_id = e.id and a.outcome = 'd' cross join crm.links l
           where e.kind = 'phorest.client.import' and l.kind = 'phorest-client'"""
    )
    assert repair["took_s"] < 5  # under a second on a machine that does nothing else
    assert (phorest[0].requests.count("GET", "**/client/p1"), ghl[0].effects.count("contact")) == (1, 1)
    assert await postroom.value("select count(*)::int from outbox.attempts where outcome in ('r', 'x')") == 0
    assert await postroom.value("select count(*)::int from crm.phorest_repairs") == 0


@pytest.mark.usefixtures("quick")
async def test_all_that_waited_for_a_client_are_booked_once(
    postroom: Postroom, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    await _as_a_sync_leaves_them(postroom, 20)
    async with dispatching(postroom.dsn, settings=salon):
        await eventually(_all_wait(postroom, 20), within_s=60)
        await _resume(postroom)
        await eventually(everything_is_over(postroom), within_s=60)
    assert (ghl[0].effects.count("contact"), len(booked(ghl[0]))) == (1, 20)
    assert [len(await postroom.staged(kind)) for kind in ("phorest.client.import", "phorest.client")] == [1, 1]


async def test_what_waits_for_a_client_that_cannot_be_in_ghl_is_told_why_and_goes_on_when_it_can(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", firstName="Ada")
    phorest[0].put_appointment("a1", clientId="p1")
    await import_appointments(postroom, "a1")
    await drain(settings=salon, hurry=True)
    why = "its client is not in GHL: validation warning: missing phone and email"
    assert await ends(postroom, "phorest.appointment") == [("skipped", why)]
    phorest[0].put_client("p1", **ADA)
    await import_clients(postroom, "p1")
    await drain(settings=salon, hurry=True)
    assert len(booked(ghl[0])) == 1
    assert await postroom.value("select warning from crm.phorest_appointments") is None


async def test_a_client_that_phorest_does_not_have_ends_the_waiting_for_it(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest
) -> None:
    phorest[0].put_appointment("a1", clientId="p9")
    await import_appointments(postroom, "a1")
    await drain(settings=salon, hurry=True)
    assert await ends(postroom, "phorest.appointment") == [("skipped", "its client is not in GHL: Phorest has no such client")]


async def test_a_repair_that_a_person_discards_is_staged_anew(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    phorest[0].put_appointment("a1", clientId="p1")
    phorest[0].faults.add("answer", "**/client/p1", status=403, body={"message": "no"})
    await import_appointments(postroom, "a1")
    totals = await drain(settings=salon)
    assert totals["dead"] == 1
    await postroom.pool.execute(
        """with gone as (delete from outbox.dead returning event_id, attempt)
           insert into outbox.attempts select event_id, now(), 0, attempt, 0, 's', 'discarded by ana' from gone"""
    )
    await drain(settings=salon, hurry=True)
    assert (len(booked(ghl[0])), len(await postroom.staged("phorest.client.import"))) == (1, 2)
