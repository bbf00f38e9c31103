"""Notes, tasks and appointments of the simulated GHL."""

import httpx
import pytest

from simulators.ghl import GhlSimulator
from simulators.samples import DEMO_CALENDAR_ID, DEMO_LOCATION_ID
from simulators.shapes import JsonObject
from tests.simulators.clients import CALENDARS

TASK: JsonObject = {"title": "Call back", "body": "postroom:17/task", "dueDate": "2026-11-09T10:00:00Z", "completed": False}


@pytest.fixture
def contact_path(ghl: GhlSimulator) -> str:
    return f"/contacts/{ghl.put_contact(firstName='Ada')['id']}"


async def test_notes_are_listed_newest_first_and_counted_by_contact_and_marker(
    ghl: GhlSimulator, ghl_api: httpx.AsyncClient, contact_path: str
) -> None:
    for number in (1, 2):
        created = await ghl_api.post(f"{contact_path}/notes", json={"body": f"Visit confirmed\npostroom:{number}/note"})
        assert created.status_code == 201
    contact_id = contact_path.rpartition("/")[2]
    notes = (await ghl_api.get(f"{contact_path}/notes")).json()["notes"]
    assert [note["body"][-6] for note in notes] == ["2", "1"]
    assert {note["contactId"] for note in notes} == {contact_id}
    assert ghl.effects.count("note", contact_id=contact_id) == 2
    assert ghl.effects.count("note", containing="postroom:1/note") == 1
    assert ghl.effects.totals()["markers"] == {"postroom:1/note": 1, "postroom:2/note": 1}


async def test_a_note_can_be_read_changed_and_deleted(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, contact_path: str) -> None:
    note = (await ghl_api.post(f"{contact_path}/notes", json={"body": "postroom:1/note"})).json()["note"]
    path = f"{contact_path}/notes/{note['id']}"
    assert (await ghl_api.get(path)).json()["note"] == note
    assert (await ghl_api.put(path, json={"body": "postroom:1/note, edited"})).json()["note"]["body"] == "postroom:1/note, edited"
    assert (await ghl_api.delete(path)).json()["succeded"] is True
    assert (await ghl_api.get(path)).status_code == 400
    assert ghl.effects.totals()["kinds"] == {"note": 1, "note.update": 1, "note.delete": 1}
    assert ghl.effects.totals()["markers"] == {"postroom:1/note": 1}


@pytest.mark.parametrize("body", [{}, {"body": ""}, {"body": None}, {"body": 7}])
async def test_a_note_without_a_text_is_refused(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, contact_path: str, body: JsonObject) -> None:
    assert (await ghl_api.post(f"{contact_path}/notes", json=body)).status_code == 422
    assert ghl.effects.count("note") == 0


async def test_a_task_is_created_listed_changed_and_completed(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, contact_path: str) -> None:
    created = await ghl_api.post(f"{contact_path}/tasks", json=TASK)
    task = created.json()["task"]
    path = f"{contact_path}/tasks/{task['id']}"
    assert created.status_code == 201
    assert (await ghl_api.get(f"{contact_path}/tasks")).json()["tasks"] == [task]
    assert (await ghl_api.get(path)).json()["task"] == task
    assert (await ghl_api.put(path, json={"title": "Call today"})).json()["task"]["title"] == "Call today"
    assert (await ghl_api.put(f"{path}/completed", json={"completed": True})).json()["task"]["completed"] is True
    assert ghl.effects.totals()["kinds"] == {"task": 1, "task.update": 2}
    assert ghl.effects.totals()["markers"] == {"postroom:17/task": 1}


async def test_a_task_needs_title_due_date_and_completed(ghl_api: httpx.AsyncClient, contact_path: str) -> None:
    missing = (await ghl_api.post(f"{contact_path}/tasks", json={})).json()["message"]
    assert {text.split()[0] for text in missing} == {"title", "dueDate", "completed"}
    wrong = (await ghl_api.post(f"{contact_path}/tasks", json={**TASK, "dueDate": "soon"})).json()["message"]
    assert wrong == ["dueDate must be a valid ISO 8601 date string"]


async def test_completing_refuses_other_properties(ghl_api: httpx.AsyncClient, contact_path: str) -> None:
    task = (await ghl_api.post(f"{contact_path}/tasks", json=TASK)).json()["task"]
    response = await ghl_api.put(f"{contact_path}/tasks/{task['id']}/completed", json={"completed": True, "title": "x"})
    assert response.json()["message"] == ["property title should not exist"]


@pytest.mark.parametrize("kind", ["notes", "tasks"])
async def test_an_unknown_note_or_task_is_refused(ghl_api: httpx.AsyncClient, contact_path: str, kind: str) -> None:
    response = await ghl_api.get(f"{contact_path}/{kind}/nothing")
    assert response.status_code == 400
    assert response.json()["message"].endswith("with id nothing not found")


async def test_an_appointment_lives_from_booking_to_deletion(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, contact_path: str) -> None:
    contact_id = contact_path.rpartition("/")[2]
    booked = await ghl_api.post(
        "/calendars/events/appointments",
        headers=CALENDARS,
        json={
            "calendarId": DEMO_CALENDAR_ID,
            "locationId": DEMO_LOCATION_ID,
            "contactId": contact_id,
            "startTime": "2026-11-09T10:00:00+00:00",
            "ignoreFreeSlotValidation": True,
        },
    )
    appointment = booked.json()
    path = f"/calendars/events/appointments/{appointment['id']}"
    cancelled = await ghl_api.put(path, headers=CALENDARS, json={"appointmentStatus": "cancelled"})
    fetched = (await ghl_api.get(path, headers=CALENDARS)).json()["event"]
    deleted = await ghl_api.request("DELETE", f"/calendars/events/{appointment['id']}", headers=CALENDARS, json={})
    assert (booked.status_code, appointment["endTime"]) == (200, "2026-11-09T10:30:00+00:00")
    assert "ignoreFreeSlotValidation" not in appointment
    assert (cancelled.status_code, fetched["appointmentStatus"]) == (200, "cancelled")
    assert (deleted.status_code, deleted.json()["succeeded"]) == (201, True)
    assert (await ghl_api.get(path, headers=CALENDARS)).status_code == 404
    assert ghl.effects.totals()["kinds"] == {"appointment": 1, "appointment.update": 1, "appointment.delete": 1}
    assert ghl.effects.count("appointment", contact_id=contact_id) == 1


async def test_an_appointment_is_checked_before_it_is_booked(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    path, whole = (
        "/calendars/events/appointments",
        {"calendarId": "c", "locationId": DEMO_LOCATION_ID, "contactId": "nobody", "startTime": "2026-11-09"},
    )
    missing = await ghl_api.post(path, headers=CALENDARS, json={"appointmentStatus": "done"})
    unknown = await ghl_api.post(path, headers=CALENDARS, json=whole)
    assert missing.status_code == 422
    assert (
        "appointmentStatus must be one of the following values: new, confirmed, cancelled, showed, noshow, invalid"
        in missing.json()["message"]
    )
    assert (unknown.status_code, unknown.json()["message"]) == (400, "Contact with id nobody not found")
    assert ghl.effects.count() == 0
