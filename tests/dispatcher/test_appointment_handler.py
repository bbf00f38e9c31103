"""Appointment changes → the GHL contact's timeline: note, tags, custom fields, task, each exactly once, in the order of the changes."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from dispatcher.config import DispatcherSettings
from outbox import Event
from outbox.store import dead
from outbox.testing import Drain, Postroom
from simulators.ghl import GhlSimulator
from simulators.shapes import JsonObject
from tests.dispatcher.appointments import appointment
from tests.dispatcher.handling import everything_is_over, fate, has
from tests.dispatcher.openapi import OpenApi
from tests.dispatcher.running import dispatching, eventually, stage_all
from tests.specs import specs_path

Ghl = tuple[GhlSimulator, str]
STARTS = "2027-01-05T10:00:00+00:00"
WORDS = ("created", "updated", "confirmed", "cancelled", "completed")

# What each kind leaves: the note's first words, the tag, the two custom fields, the task's title.
LEFT: dict[str, tuple[str, str | None, dict[str, str], str | None]] = {
    "created": (
        "Appointment booked: Cut and colour, starts 2027-01-05 10:00 UTC",
        "appointment-scheduled",
        {"appointment_status": "scheduled", "next_appointment_date": "2027-01-05"},
        "Remind of the appointment",
    ),
    "updated": (
        "Appointment changed: Cut and colour, starts 2027-01-05 10:00 UTC",
        None,
        {"appointment_status": "scheduled", "next_appointment_date": "2027-01-05"},
        None,
    ),
    "confirmed": (
        "Appointment confirmed: Cut and colour, starts 2027-01-05 10:00 UTC",
        "appointment-confirmed",
        {"appointment_status": "confirmed", "next_appointment_date": "2027-01-05"},
        None,
    ),
    "cancelled": (
        "Appointment cancelled: Cut and colour, starts 2027-01-05 10:00 UTC",
        "appointment-cancelled",
        {"appointment_status": "cancelled"},
        "Follow up on the cancelled appointment",
    ),
    "completed": (
        "Appointment completed: Cut and colour, starts 2027-01-05 10:00 UTC",
        "appointment-completed",
        {"appointment_status": "completed"},
        "Ask how satisfied the customer is",
    ),
}


def notes(simulator: GhlSimulator, contact_id: str = "c1") -> list[JsonObject]:
    """Oldest first."""
    return list(simulator.store.notes.get(contact_id, {}).values())


def tasks(simulator: GhlSimulator, contact_id: str = "c1") -> list[JsonObject]:
    return list(simulator.store.tasks.get(contact_id, {}).values())


def fields(simulator: GhlSimulator, contact_id: str = "c1") -> dict[str, Any]:
    """Custom fields by key."""
    keys = {field["id"]: field["fieldKey"].removeprefix("contact.") for field in simulator.store.custom_fields}
    return {keys[field["id"]]: field["value"] for field in simulator.store.contacts[contact_id]["customFields"]}


def change(word: str, *, previous: Mapping[str, object] | None = None, **now: object) -> Event:
    """A change with the state before it."""
    made = appointment(word)
    return Event(made.kind, {"appointment": {**made.payload["appointment"], **now}, "previous": previous}, lane=made.lane)


@pytest.mark.parametrize("word", WORDS)
async def test_each_kind_leaves_exactly_one_of_each_thing(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, word: str
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1", tags=["vip"])
    [event_id] = await stage_all(postroom, appointment(word))
    await drain(settings=simulated)
    sentence, tag, wanted, title = LEFT[word]
    [note] = notes(simulator)
    staged_at = await postroom.value("select staged_at from outbox.events")
    marker = f"postroom:{event_id}.{int(staged_at.timestamp() * 1000):x}"
    assert note["body"] == f"{sentence}\n\n{marker}/note"
    assert simulator.store.contacts["c1"]["tags"] == ["vip", *([tag] if tag else [])]
    assert fields(simulator) == wanted
    assert [(task["title"], task["body"], task["completed"]) for task in tasks(simulator)] == (
        [(title, f"Cut and colour\n\n{marker}/task", False)] if title else []
    )
    expected = {"note": 1, "contact.update": 1, **({"tags.add": 1} if tag else {}), **({"task": 1} if title else {})}
    assert simulator.effects.totals()["kinds"] == expected


@pytest.mark.parametrize("word", WORDS)
async def test_the_timeline_keeps_what_was_done(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, word: str
) -> None:
    ghl[0].put_contact("c1")
    [event_id] = await stage_all(postroom, appointment(word))
    await drain(settings=simulated)
    found = await fate(postroom, event_id)
    assert found.why is not None
    result = json.loads(found.why)
    _, tag, _, title = LEFT[word]
    took_ms = result.pop("processingTime")
    assert result == {
        "notesCreated": 1,
        "contactUpdated": True,
        "taskCreated": title is not None,
        "tagsApplied": [tag] if tag else [],
        "customFieldsUpdated": ["appointment_status", "next_appointment_date"],
    }
    assert 0 < took_ms < 20_000


@pytest.mark.parametrize(("word", "due_in"), [("cancelled", timedelta(days=1)), ("completed", timedelta(days=1))])
async def test_a_follow_up_is_due_a_day_after_the_change(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, word: str, due_in: timedelta
) -> None:
    ghl[0].put_contact("c1")
    await stage_all(postroom, appointment(word))
    await drain(settings=simulated)
    staged_at = await postroom.value("select staged_at from outbox.events")
    due = datetime.fromisoformat(tasks(ghl[0])[0]["dueDate"])
    assert abs(due - staged_at - due_in) < timedelta(milliseconds=2)


@pytest.mark.parametrize(
    ("starts_at", "due"),
    [
        (STARTS, "2027-01-04T10:00:00.000Z"),
        ("2027-01-05T10:00:00", "2027-01-04T10:00:00.000Z"),
        ("2020-01-05T10:00:00Z", None),
        (None, None),
    ],
    ids=["a day before", "a time without a zone is UTC", "in the past: at once", "no time: a day after"],
)
async def test_the_reminder_is_due_a_day_before_the_appointment_and_never_in_the_past(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, starts_at: str | None, due: str | None
) -> None:
    ghl[0].put_contact("c1")
    [event_id] = await stage_all(postroom, change("created", starts_at=starts_at))
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).state == "done"
    [task] = tasks(ghl[0])
    if due is not None:
        assert task["dueDate"] == due
    else:
        staged_at = await postroom.value("select staged_at from outbox.events")
        later = datetime.fromisoformat(task["dueDate"]) - staged_at
        assert abs(later - (timedelta(0) if starts_at else timedelta(days=1))) < timedelta(milliseconds=2)


async def test_a_reschedule_tells_the_old_time(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    ghl[0].put_contact("c1")
    before = {"id": "a1", "status": "scheduled", "starts_at": "2027-01-04T09:30:00+01:00"}
    await stage_all(postroom, change("updated", previous=before))
    await drain(settings=simulated)
    [note] = notes(ghl[0])
    assert note["body"].startswith("Appointment changed: Cut and colour, starts 2027-01-05 10:00 UTC, was 2027-01-04 09:30 +01:00\n\n")
    assert fields(ghl[0])["next_appointment_date"] == "2027-01-05"


async def test_a_change_that_did_not_move_it_tells_no_old_time(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    ghl[0].put_contact("c1")
    await stage_all(postroom, change("updated", previous={"id": "a1", "status": "scheduled", "starts_at": "2027-01-05T10:00:00"}))
    await drain(settings=simulated)
    assert "was" not in notes(ghl[0])[0]["body"]


async def test_the_tag_of_the_status_before_is_taken_away(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1", tags=["vip", "appointment-scheduled"])
    await stage_all(postroom, change("confirmed", previous={"id": "a1", "status": "scheduled"}))
    await drain(settings=simulated)
    assert simulator.store.contacts["c1"]["tags"] == ["vip", "appointment-confirmed"]


async def test_a_cancellation_clears_the_next_date(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    ghl[0].put_contact("c1")
    await stage_all(postroom, appointment("created"), appointment("cancelled"))
    await drain(settings=simulated)
    assert fields(ghl[0]) == {"appointment_status": "cancelled"}


async def test_a_whole_life_is_told_in_its_order(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    before: dict[str, object] = {"id": "a1", "status": "scheduled"}
    confirmed: dict[str, object] = {"id": "a1", "status": "confirmed"}
    await stage_all(postroom, appointment("created"), change("confirmed", previous=before), change("completed", previous=confirmed))
    await drain(settings=simulated)
    assert [note["body"].partition(":")[0] for note in notes(simulator)] == [
        "Appointment booked",
        "Appointment confirmed",
        "Appointment completed",
    ]
    assert simulator.store.contacts["c1"]["tags"] == ["appointment-completed"]
    assert [task["title"] for task in tasks(simulator)] == ["Remind of the appointment", "Ask how satisfied the customer is"]


async def test_a_confirmation_never_overtakes_the_creation_that_fails(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    broken = simulator.faults.add("answer", "/contacts/*/notes", method="POST", status=500, times=3)
    created, confirmed = await stage_all(postroom, appointment("created"), appointment("confirmed"))
    async with dispatching(postroom.dsn, settings=simulated):
        await eventually(has(postroom, "select exists (select from outbox.attempts where outcome = 'r')"))
        assert (await fate(postroom, confirmed)).why == f"behind #{created} in its lane"
        assert notes(simulator) == []
        simulator.faults.clear(broken)
        await postroom.hurry()
        await eventually(everything_is_over(postroom))
    assert [note["body"].partition(":")[0] for note in notes(simulator)] == ["Appointment booked", "Appointment confirmed"]
    assert fields(simulator)["appointment_status"] == "confirmed"


@pytest.mark.parametrize("contact", [None, ""])
@pytest.mark.parametrize("word", WORDS)
async def test_without_a_contact_there_is_nobody_to_tell(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, word: str, contact: str | None
) -> None:
    [event_id] = await stage_all(postroom, appointment(word, contact=contact))
    await drain(settings=simulated)
    found = await fate(postroom, event_id)
    assert (found.state, found.why) == ("skipped", "no GHL contact is linked to the appointment")
    assert ghl[0].requests.total == 0


async def test_a_contact_that_is_gone_is_skipped_with_the_far_sides_words(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    [event_id] = await stage_all(postroom, appointment("created", contact="gone1"))
    await drain(settings=simulated)
    found = await fate(postroom, event_id)
    assert found.state == "skipped"
    assert found.why is not None
    assert found.why.startswith("ghl answered 400: Contact with id gone1 not found.")
    assert ghl[0].effects.totals()["total"] == 0


async def test_a_contact_that_goes_half_way_leaves_what_was_done_and_ends(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    gone = {"statusCode": 400, "message": "Contact with id c1 not found", "error": "Bad Request"}
    simulator.faults.add("answer", "/contacts/c1", method="PUT", status=400, body=gone)
    [event_id] = await stage_all(postroom, appointment("created"))
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).state == "skipped"
    assert simulator.effects.totals()["kinds"] == {"note": 1, "tags.add": 1}


@pytest.mark.parametrize(
    ("there", "updated"),
    [((), []), (("appointment_status",), ["appointment_status"]), (("next_appointment_date",), ["next_appointment_date"])],
)
async def test_a_location_without_the_custom_fields_is_told_of_the_rest(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, there: tuple[str, ...], updated: list[str]
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    simulator.store.custom_fields = [field for field in simulator.store.custom_fields if field["fieldKey"].rpartition(".")[2] in there]
    [event_id] = await stage_all(postroom, appointment("created"))
    await drain(settings=simulated)
    found = await fate(postroom, event_id)
    assert found.why is not None
    result = json.loads(found.why)
    assert (result["customFieldsUpdated"], result["contactUpdated"]) == (updated, bool(updated))
    assert (len(notes(simulator)), len(tasks(simulator)), sorted(fields(simulator))) == (1, 1, updated)


async def test_the_custom_fields_are_asked_for_once_however_many_events(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    for n in range(5):
        ghl[0].put_contact(f"c{n}")
    await stage_all(postroom, *(appointment("updated", number=f"a{n}", contact=f"c{n}") for n in range(5)))
    await drain(settings=simulated)
    assert ghl[0].requests.count("GET", "/locations/*/customFields") == 1


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "appointment: Field required"),
        ({"appointment": {"status": "scheduled"}}, "appointment.id: Field required"),
        ({"appointment": {"id": "a1", "starts_at": "tomorrow, ask ada@example.com"}}, "appointment.starts_at: "),
        ({"appointment": {"id": ["a1"]}}, "appointment.id: "),
        ([], "payload: "),
    ],
)
async def test_a_payload_that_is_no_appointment_is_dead_and_names_the_field(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, payload: Any, field: str
) -> None:
    await stage_all(postroom, Event("appointment.created", payload))
    await drain(settings=simulated)
    [letter] = await dead.find(postroom.pool, dead.Filter())
    assert letter["reason"].startswith(f"the payload is not as expected: {field}")
    assert "ada" not in letter["reason"]


async def test_what_an_app_adds_to_its_appointments_does_no_harm(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    """A number as id, a status of its own, members nobody knows, no title."""
    ghl[0].put_contact("c1")
    payload = {"appointment": {"id": 17, "status": "waiting-list", "contact_id": "c1", "chair": {"n": 3}}, "previous": None, "by": "ana"}
    [event_id] = await stage_all(postroom, Event("appointment.updated", payload, lane="appointment:17"))
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).state == "done"
    assert notes(ghl[0])[0]["body"].startswith("Appointment changed: appointment 17\n\n")
    assert fields(ghl[0]) == {"appointment_status": "waiting-list"}


@pytest.mark.parametrize("step", ["/contacts/*/notes", "/contacts/*/tags", "/contacts/c1", "/contacts/*/tasks"])
@pytest.mark.parametrize("happened", [True, False], ids=["it had happened", "it had not"])
async def test_whichever_answer_is_lost_each_effect_happens_once(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, step: str, happened: bool
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    method = "PUT" if step == "/contacts/c1" else "POST"
    simulator.faults.add("drop", step, method=method, after_work=happened)
    [event_id] = await stage_all(postroom, appointment("created"))
    await drain(settings=simulated, hurry=True)
    assert (await fate(postroom, event_id)).outcomes == "rd"
    kinds = simulator.effects.totals()["kinds"]
    assert (kinds["note"], kinds["task"]) == (1, 1)
    assert simulator.store.contacts["c1"]["tags"] == ["appointment-scheduled"]
    assert fields(simulator) == LEFT["created"][2]


# ── against the official specification


@pytest.mark.parametrize("word", WORDS)
async def test_every_request_is_as_the_official_specification_wants_it(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, sent: list[httpx.Request], word: str
) -> None:
    contacts, locations = OpenApi(specs_path("ghl/apps/contacts.json")), OpenApi(specs_path("ghl/apps/locations.json"))
    simulator = ghl[0]
    simulator.put_contact("c1")
    simulator.faults.add("drop", "/contacts/*/notes", method="POST", after_work=True)  # so that the look-up is among them
    await stage_all(postroom, change(word, previous={"id": "a1", "status": "scheduled"}))
    await drain(settings=simulated, hurry=True)
    seen = {(locations if request.url.path.startswith("/locations/") else contacts).check(request) for request in sent}
    _, tag, _, title = LEFT[word]
    assert seen == {
        "POST /contacts/{contactId}/notes",
        "GET /contacts/{contactId}/notes",
        "GET /locations/{locationId}/customFields",
        "PUT /contacts/{contactId}",
        "GET /contacts/{contactId}",
        *(["POST /contacts/{contactId}/tags"] if tag else []),
        *(["DELETE /contacts/{contactId}/tags"] if tag not in (None, "appointment-scheduled") else []),
        *(["POST /contacts/{contactId}/tasks"] if title else []),
    }
