"""Sample documents and events: the shapes of the real ones, and nothing real in them."""

import inspect
import json
import re
from datetime import UTC, datetime

import pytest

from simulators import samples
from tests.specs import specs_path

AT = datetime(2026, 11, 2, 9, 0, 30, 250_999, tzinfo=UTC)


def test_an_event_is_pure_when_its_id_and_time_are_given() -> None:
    once, again = (samples.ghl_contact_event(webhook_id="w", at=AT) for _ in range(2))
    assert once == again
    assert (once["webhookId"], once["timestamp"]) == ("w", "2026-11-02T09:00:30.250Z")


def test_each_event_without_a_given_id_is_a_new_one() -> None:
    assert len({samples.ghl_contact_event()["webhookId"] for _ in range(3)} | {samples.notion_page_event()["id"] for _ in range(3)}) == 6


def test_a_contact_event_is_flat_sparse_and_lacks_date_updated() -> None:
    event = samples.ghl_contact_event("ContactUpdate", samples.ghl_contact(phone=None))
    assert event["type"] == "ContactUpdate"
    assert event["id"] == samples.DEMO_CONTACT_ID
    assert "phone" not in event
    assert "dateUpdated" not in event
    assert "appId" not in event


def test_a_dnd_event_carries_its_settings() -> None:
    settings = {"SMS": {"status": "active"}}
    assert samples.ghl_contact_event("ContactDndUpdate", samples.ghl_contact(dndSettings=settings))["dndSettings"] == settings
    assert "dndSettings" not in samples.ghl_contact_event("ContactUpdate", samples.ghl_contact(dndSettings=settings))


def test_an_appointment_event_nests_the_appointment() -> None:
    event = samples.ghl_appointment_event("AppointmentUpdate", samples.ghl_appointment(appointmentStatus="cancelled"), app_id="app")
    assert set(event) == {"type", "locationId", "appointment", "timestamp", "webhookId", "appId"}
    assert event["appointment"]["appointmentStatus"] == "cancelled"
    assert event["appointment"]["dateUpdated"]


def test_a_task_create_event_lacks_contact_and_body_as_the_real_one_does() -> None:
    task = {"id": "t", "title": "call", "body": "x", "contactId": "c", "dueDate": "2026-11-09"}
    assert {"contactId", "body"} & set(samples.ghl_task_event("TaskCreate", task)) == set()
    assert {"contactId", "body"} <= set(samples.ghl_task_event("TaskComplete", task))


def test_a_note_event_carries_its_four_fields_only() -> None:
    note = {"id": "n", "body": "hello", "contactId": "c", "dateAdded": "2026-11-02", "userId": "u", "title": "t"}
    assert set(samples.ghl_note_event("NoteCreate", note)) == {
        "type",
        "locationId",
        "id",
        "body",
        "contactId",
        "dateAdded",
        "timestamp",
        "webhookId",
    }


def test_an_install_event_names_app_and_location() -> None:
    event = samples.ghl_app_event("INSTALL")
    assert (event["appId"], event["locationId"]) == (samples.DEMO_APP_ID, samples.DEMO_LOCATION_ID)
    assert "companyId" not in samples.ghl_app_event("UNINSTALL")


def test_a_workflow_body_has_no_id_and_no_time() -> None:
    body = samples.ghl_workflow_body(visit="confirmed")
    assert body["contact_id"] == samples.DEMO_CONTACT_ID
    assert body["customData"] == {"visit": "confirmed"}
    assert {"webhookId", "timestamp", "locationId"} & set(body) == set()


@pytest.mark.parametrize(
    "event_type", ["page.created", "page.content_updated", "page.properties_updated", "page.deleted", "page.undeleted", "page.moved"]
)
def test_notion_events_have_the_members_of_the_documented_ones(event_type: str) -> None:
    cases = json.loads(specs_path("notion/webhook-event-examples.json").read_text())["cases"]
    documented = next(case["event"] for case in cases if case["event"]["type"] == event_type)
    event = samples.notion_page_event(event_type)
    assert set(event) == set(documented)
    assert set(event["data"]) == set(documented["data"])
    assert set(event["entity"]) == set(documented["entity"])
    assert set(event["data"]["parent"]) <= {"id", "type", "data_source_id"}


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        ({"type": "page_id", "page_id": "p"}, {"id": "p", "type": "page"}),
        ({"type": "block_id", "block_id": "b"}, {"id": "b", "type": "block"}),
        ({"type": "workspace", "workspace": True}, {"id": samples.DEMO_WORKSPACE_ID, "type": "space"}),
        ({"type": "data_source_id", "data_source_id": "s", "database_id": "d"}, {"id": "d", "type": "database", "data_source_id": "s"}),
    ],
)
def test_a_parent_is_named_as_webhooks_name_it(parent: dict[str, object], expected: dict[str, str]) -> None:
    assert samples.notion_page_event(page={"id": samples.DEMO_PAGE_ID, "parent": parent})["data"]["parent"] == expected


def test_an_undashed_page_id_is_dashed_in_the_event() -> None:
    page = {"id": samples.DEMO_PAGE_ID.replace("-", ""), "parent": {"type": "workspace", "workspace": True}}
    assert samples.notion_page_event(page=page)["entity"]["id"] == samples.DEMO_PAGE_ID


def test_an_appointment_change_of_an_app_names_what_was_before() -> None:
    before, after = samples.app_appointment(status="scheduled"), samples.app_appointment(status="confirmed")
    assert samples.app_appointment_change(after, before) == {"appointment": after, "previous": before}
    assert samples.app_appointment_change()["previous"] is None


def test_all_e_mail_addresses_and_phone_numbers_are_invented() -> None:
    text = inspect.getsource(samples)
    assert set(re.findall(r"\w@([\w.]+)", text)) == {"example.com"}
    assert set(re.findall(r"\+\d{6,}", text)) == {"+35315550100"}
