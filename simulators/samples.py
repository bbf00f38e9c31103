"""Invented documents and webhook bodies in the providers' shapes, for tests, demos and `postroom send`.

Pure when `webhook_id` (or `event_id`) and `at` are given; otherwise each call is a new event that happens now.
No sample names a real person, place or number.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from simulators.shapes import JsonObject, dashed, iso_ms, utc_now, without_nones

DEMO_GHL_TOKEN = "pit-00000000-demo-not-a-secret"  # noqa: S105 (opens nothing but a simulator)
DEMO_LOCATION_ID = "DemoLocation00000001"
DEMO_CALENDAR_ID = "DemoCalendar00000001"
DEMO_CONTACT_ID = "DemoContact000000001"
DEMO_APPOINTMENT_ID = "DemoAppointment00001"
DEMO_COMPANY_ID = "DemoCompany000000001"
DEMO_APP_ID = "0123456789abcdef01234567"
DEMO_CLIENT_ID = f"{DEMO_APP_ID}-demo"
DEMO_CLIENT_SECRET = "demo-client-secret-not-a-secret"  # noqa: S105

DEMO_GOOGLE_ACCOUNT = "demo-account"
DEMO_GOOGLE_CLIENT_ID = "000000000000-demo.apps.googleusercontent.com"
DEMO_GOOGLE_CLIENT_SECRET = "demo-google-secret-not-a-secret"  # noqa: S105
DEMO_PHOREST_USERNAME = "global/api@example.com"
DEMO_PHOREST_PASSWORD = "demo-password-not-a-secret"  # noqa: S105
DEMO_BUSINESS_ID = "DemoBusiness0000000001"
DEMO_BRANCH_ID = "DemoBranch000000000001"
DEMO_ZONE = "Europe/Dublin"

DEMO_NOTION_TOKEN = "ntn_demo-not-a-secret"  # noqa: S105
DEMO_VERIFICATION_TOKEN = "demo-verification-token-not-a-secret"  # noqa: S105
DEMO_DATABASE_ID = "0da7aba5-e000-4000-8000-000000000001"
DEMO_DATA_SOURCE_ID = "0da7a500-ce00-4000-8000-000000000001"
DEMO_PAGE_ID = "00000000-9a9e-4000-8000-000000000001"
DEMO_WORKSPACE_ID = "00000000-3095-4000-8000-000000000001"
DEMO_SUBSCRIPTION_ID = "00000000-50b5-4000-8000-000000000001"
DEMO_INTEGRATION_ID = "00000000-1273-4000-8000-000000000001"
DEMO_BOT_ID = "00000000-0b07-4000-8000-000000000001"
DEMO_PERSON_ID = "00000000-9e75-4000-8000-000000000001"

# What contact webhooks carry: the fields of the documentation, without dateUpdated, which they lack.
_CONTACT_FIELDS = (
    "id",
    "address1",
    "city",
    "state",
    "companyName",
    "country",
    "source",
    "dateAdded",
    "dateOfBirth",
    "dnd",
    "email",
    "name",
    "firstName",
    "lastName",
    "phone",
    "postalCode",
    "tags",
    "website",
    "assignedTo",
    "customFields",
)
_NOTE_FIELDS = ("id", "body", "contactId", "dateAdded")
# Real TaskCreate events lack contactId and body, whatever the documentation shows.
_TASK_FIELDS = ("id", "assignedTo", "title", "dateAdded", "dueDate")


def ghl_contact(contact_id: str = DEMO_CONTACT_ID, **fields: object) -> JsonObject:
    """A contact as `GET /contacts/{id}` shows it. A field given as None is left out."""
    return without_nones(
        {
            "id": contact_id,
            "locationId": DEMO_LOCATION_ID,
            "firstName": "Ada",
            "lastName": "Example",
            "name": "Ada Example",
            "email": "ada@example.com",
            "phone": "+35315550100",
            "tags": ["customer"],
            "dnd": False,
            "customFields": [],
            "dateAdded": "2026-10-01T08:15:00.000Z",
            "dateUpdated": "2026-10-05T09:01:34.285Z",
            **fields,
        }
    )


def ghl_appointment(appointment_id: str = DEMO_APPOINTMENT_ID, **fields: object) -> JsonObject:
    """An appointment as `GET /calendars/events/appointments/{id}` shows it."""
    return without_nones(
        {
            "id": appointment_id,
            "title": "Colour and cut",
            "calendarId": DEMO_CALENDAR_ID,
            "locationId": DEMO_LOCATION_ID,
            "contactId": DEMO_CONTACT_ID,
            "groupId": "DemoGroup00000000001",
            "appointmentStatus": "confirmed",
            "assignedUserId": "DemoUser000000000001",
            "users": [],
            "startTime": "2026-11-09T10:00:00+00:00",
            "endTime": "2026-11-09T10:30:00+00:00",
            "dateAdded": "2026-10-05T09:01:34.285Z",
            "dateUpdated": "2026-10-05T09:01:34.285Z",
            **fields,
        }
    )


def ghl_calendar(calendar_id: str = DEMO_CALENDAR_ID, **fields: object) -> JsonObject:
    """A calendar as `GET /calendars/` shows it."""
    shown = {"id": calendar_id, "locationId": DEMO_LOCATION_ID, "name": "Chairs", "calendarType": "event", "isActive": True}
    return without_nones({**shown, "slotDuration": 30, "teamMembers": [], **fields})


def ghl_opportunity(opportunity_id: str = "DemoOpportunity00001", **fields: object) -> JsonObject:
    """An opportunity as `GET /opportunities/{id}` shows it."""
    return without_nones(
        {
            "id": opportunity_id,
            "name": "Wedding party",
            "monetaryValue": 400,
            "pipelineId": "DemoPipeline00000001",
            "pipelineStageId": "00000000-57a9-4000-8000-000000000001",
            "status": "open",
            "source": "website",
            "contactId": DEMO_CONTACT_ID,
            "locationId": DEMO_LOCATION_ID,
            "createdAt": "2026-10-05T09:01:34.285Z",
            "updatedAt": "2026-10-05T09:01:34.285Z",
            **fields,
        }
    )


def ghl_event(
    event_type: str,
    fields: JsonObject,
    *,
    location_id: str | None = DEMO_LOCATION_ID,
    webhook_id: str | None = None,
    at: datetime | None = None,
    app_id: str | None = None,
    version_id: str | None = None,
) -> JsonObject:
    """GHL's envelope around the fields of an event: flat, and sparse like real captures."""
    return without_nones(
        {
            "type": event_type,
            "locationId": location_id,
            **fields,
            "timestamp": iso_ms(at or utc_now()),
            "webhookId": webhook_id or str(uuid.uuid4()),
            "appId": app_id,
            "versionId": version_id,
        }
    )


def ghl_contact_event(
    event_type: str = "ContactCreate",
    contact: JsonObject | None = None,
    *,
    webhook_id: str | None = None,
    at: datetime | None = None,
    app_id: str | None = None,
) -> JsonObject:
    """ContactCreate, ContactUpdate, ContactDelete, ContactTagUpdate or ContactDndUpdate of a contact."""
    contact = contact or ghl_contact()
    fields = {name: contact.get(name) for name in _CONTACT_FIELDS}
    if event_type == "ContactDndUpdate":
        fields["dndSettings"] = contact.get("dndSettings", {})
    return ghl_event(event_type, fields, location_id=contact["locationId"], webhook_id=webhook_id, at=at, app_id=app_id)


def ghl_appointment_event(
    event_type: str = "AppointmentCreate",
    appointment: JsonObject | None = None,
    *,
    webhook_id: str | None = None,
    at: datetime | None = None,
    app_id: str | None = None,
) -> JsonObject:
    """AppointmentCreate, AppointmentUpdate (also for a cancellation) or AppointmentDelete; the appointment is nested."""
    appointment = appointment or ghl_appointment()
    nested = {name: value for name, value in appointment.items() if name not in ("locationId", "isRecurring")}
    return ghl_event(
        event_type, {"appointment": nested}, location_id=appointment["locationId"], webhook_id=webhook_id, at=at, app_id=app_id
    )


def ghl_note_event(
    event_type: str,
    note: JsonObject,
    *,
    location_id: str = DEMO_LOCATION_ID,
    webhook_id: str | None = None,
    at: datetime | None = None,
    app_id: str | None = None,
) -> JsonObject:
    """NoteCreate, NoteUpdate or NoteDelete: a fixed short list of fields, no author."""
    fields = {name: note.get(name) for name in _NOTE_FIELDS}
    return ghl_event(event_type, fields, location_id=location_id, webhook_id=webhook_id, at=at, app_id=app_id)


def ghl_task_event(
    event_type: str,
    task: JsonObject,
    *,
    location_id: str = DEMO_LOCATION_ID,
    webhook_id: str | None = None,
    at: datetime | None = None,
    app_id: str | None = None,
) -> JsonObject:
    """TaskCreate, TaskComplete or TaskDelete."""
    names = _TASK_FIELDS if event_type == "TaskCreate" else (*_TASK_FIELDS, "body", "contactId")
    fields = {name: task.get(name) for name in names}
    return ghl_event(event_type, fields, location_id=location_id, webhook_id=webhook_id, at=at, app_id=app_id)


def ghl_app_event(
    event_type: Literal["INSTALL", "UNINSTALL"],
    *,
    location_id: str | None = DEMO_LOCATION_ID,
    company_id: str | None = DEMO_COMPANY_ID,
    webhook_id: str | None = None,
    at: datetime | None = None,
    app_id: str | None = DEMO_APP_ID,
) -> JsonObject:
    """The app was installed in, or removed from, a location; with None as the location, an agency."""
    fields: JsonObject = {"companyId": company_id, "companyName": "Example Salon"} if event_type == "INSTALL" else {}
    if location_id is None:
        fields["companyId"] = company_id
    return ghl_event(event_type, fields, location_id=location_id, webhook_id=webhook_id, at=at, app_id=app_id)


def ghl_workflow_body(contact: JsonObject | None = None, **custom: object) -> JsonObject:
    """What a workflow's webhook action sends: contact fields, `customData`, and no id, time or signature."""
    contact = contact or ghl_contact()
    return {
        "contact_id": contact["id"],
        "first_name": contact.get("firstName"),
        "last_name": contact.get("lastName"),
        "full_name": contact.get("name"),
        "email": contact.get("email"),
        "phone": contact.get("phone"),
        "tags": ",".join(contact.get("tags", [])),
        "location": {"id": contact["locationId"], "name": "Example Salon"},
        "customData": dict(custom),
    }


def notion_page_event(
    event_type: str = "page.content_updated",
    page: JsonObject | None = None,
    *,
    event_id: str | None = None,
    at: datetime | None = None,
    updated_properties: Iterable[str] = (),
    by_bot: bool = False,
    attempt_number: int = 1,
) -> JsonObject:
    """An event about a page (as the API shows it; only `id` and `parent` are read). It carries no content, as Notion's never do."""
    page = page or {
        "id": DEMO_PAGE_ID,
        "parent": {"type": "data_source_id", "data_source_id": DEMO_DATA_SOURCE_ID, "database_id": DEMO_DATABASE_ID},
    }
    data: JsonObject = {"parent": _event_parent(page["parent"])}
    if event_type == "page.properties_updated":
        data["updated_properties"] = list(updated_properties) or ["title"]
    if event_type == "page.content_updated":
        data["updated_blocks"] = []
    return {
        "id": event_id or str(uuid.uuid4()),
        "timestamp": iso_ms(at or utc_now()),
        "workspace_id": DEMO_WORKSPACE_ID,
        "workspace_name": "Example Salon",
        "subscription_id": DEMO_SUBSCRIPTION_ID,
        "integration_id": DEMO_INTEGRATION_ID,
        "type": event_type,
        "authors": [{"id": DEMO_BOT_ID, "type": "bot"} if by_bot else {"id": DEMO_PERSON_ID, "type": "person"}],
        "attempt_number": attempt_number,
        "api_version": "2025-09-03",
        "entity": {"id": dashed(page["id"]) or page["id"], "type": "page"},
        "data": data,
    }


def notion_handshake(token: str = DEMO_VERIFICATION_TOKEN) -> JsonObject:
    """The one body that Notion posts when a subscription is made."""
    return {"verification_token": token}


def app_appointment(appointment_id: str = "demo-appointment-1", **fields: object) -> JsonObject:
    """An appointment as a booking app knows it."""
    return {
        "id": appointment_id,
        "status": "scheduled",
        "starts_at": "2026-11-09T10:00:00+00:00",
        "ends_at": "2026-11-09T10:30:00+00:00",
        "contact_id": DEMO_CONTACT_ID,
        "title": "Colour and cut",
        **fields,
    }


def app_appointment_change(appointment: JsonObject | None = None, previous: JsonObject | None = None) -> JsonObject:
    """The payload of an `appointment.*` event."""
    return {"appointment": appointment or app_appointment(), "previous": previous}


def _event_parent(parent: JsonObject) -> JsonObject:
    """Webhooks name a parent differently from the API: a row's is its database, with the data source beside it."""
    match parent["type"]:
        case "data_source_id":
            return {"id": parent["database_id"], "type": "database", "data_source_id": parent["data_source_id"]}
        case "page_id" | "block_id" as kind:
            return {"id": parent[kind], "type": kind.removesuffix("_id")}
        case _:
            return {"id": DEMO_WORKSPACE_ID, "type": "space"}
