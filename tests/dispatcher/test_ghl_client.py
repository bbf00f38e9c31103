"""The GoHighLevel client: what it sends (checked against the official files), what it reads, what it makes of refusals."""

import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr, ValidationError

from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_errors import classify_ghl
from dispatcher.clients.ghl_models import AppointmentStatus, AppointmentWrite, ContactWrite
from dispatcher.clients.http import Http, Unlimited
from dispatcher.errors import Failed, RateLimited, Refused
from dispatcher.policy.ratelimit import Scope, ghl_limits
from tests.dispatcher.openapi import OpenApi
from tests.specs import specs_path

BASE = "https://services.example.com"
AT = datetime(2026, 11, 2, 10, 30, tzinfo=UTC)
STATUS_FIELD = {"id": "fld1", "name": "Status", "fieldKey": "contact.appointment_status", "dataType": "TEXT", "model": "contact"}
CONTACT = {
    "id": "con1",
    "locationId": "loc1",
    "firstName": "Ada",
    "lastName": "Example",
    "email": "ada@example.com",
    "phone": "+353 1 555 0100",
    "postalCode": 12345,
    "tags": ["vip"],
    "dateAdded": "2026-10-01T08:15:00.123Z",
    "dateUpdated": "2026-10-05T09:01:00.000Z",
    "dateOfBirth": "1990-09-25",
    "customFields": [{"id": "fld1", "value": "confirmed"}],
    "somethingNew": {"deep": [1]},
}
WRITE = ContactWrite(first_name="Ada", phone=None, date_of_birth=date(1990, 9, 25), custom_fields={"appointment_status": "confirmed"})
APPOINTMENT = {
    "id": "app1",
    "calendarId": "cal1",
    "locationId": "loc1",
    "contactId": "con1",
    "appointmentStatus": "confirmed",
    "startTime": "2026-11-02T16:00:00+05:30",
    "endTime": "2026-11-02T17:00:00+05:30",
    "dateUpdated": "2026-11-01T00:00:00Z",
}
OPPORTUNITY = {"id": "opp1", "contactId": "con1", "status": "open", "monetaryValue": 40, "updatedAt": "2021-08-03T04:55:17.355Z"}
BOOKING = AppointmentWrite(calendar_id="cal1", starts_at=AT, ends_at=AT + timedelta(hours=1), title="Visit", status=AppointmentStatus.NEW)

# Every method that calls GHL: the official file, a call of it, the operation that it must use.
CALLS: dict[str, tuple[str, Callable[[GhlClient], Awaitable[object]], str]] = {
    "get_contact": ("contacts", lambda ghl: ghl.get_contact("con1"), "GET /contacts/{contactId}"),
    "search_contacts_changed": (
        "contacts",
        lambda ghl: ghl.search_contacts_changed(AT, AT, search_after=[1, "con1"]),
        "POST /contacts/search",
    ),
    "search_contacts": ("contacts", lambda ghl: ghl.search_contacts(search_after=[1, "con1"]), "POST /contacts/search"),
    "contacts_from": ("contacts", lambda ghl: ghl.contacts_from("phorest"), "POST /contacts/search"),
    "create_contact": ("contacts", lambda ghl: ghl.create_contact(WRITE), "POST /contacts/"),
    "update_note": ("contacts", lambda ghl: ghl.update_note("con1", "not1", "hello"), "PUT /contacts/{contactId}/notes/{id}"),
    "delete_note": ("contacts", lambda ghl: ghl.delete_note("con1", "not1"), "DELETE /contacts/{contactId}/notes/{id}"),
    "list_tags": ("locations", lambda ghl: ghl.list_tags(), "GET /locations/{locationId}/tags"),
    "create_tag": ("locations", lambda ghl: ghl.create_tag("vip"), "POST /locations/{locationId}/tags"),
    "rename_tag": ("locations", lambda ghl: ghl.rename_tag("tag1", "vip"), "PUT /locations/{locationId}/tags/{tagId}"),
    "delete_tag": ("locations", lambda ghl: ghl.delete_tag("tag1"), "DELETE /locations/{locationId}/tags/{tagId}"),
    "upsert_contact": ("contacts", lambda ghl: ghl.upsert_contact(WRITE), "POST /contacts/upsert"),
    "delete_contact": ("contacts", lambda ghl: ghl.delete_contact("con1"), "DELETE /contacts/{contactId}"),
    "update_contact": ("contacts", lambda ghl: ghl.update_contact("con1", WRITE), "PUT /contacts/{contactId}"),
    "add_tags": ("contacts", lambda ghl: ghl.add_tags("con1", ["a"]), "POST /contacts/{contactId}/tags"),
    "remove_tags": ("contacts", lambda ghl: ghl.remove_tags("con1", ["a"]), "DELETE /contacts/{contactId}/tags"),
    "list_notes": ("contacts", lambda ghl: ghl.list_notes("con1"), "GET /contacts/{contactId}/notes"),
    "create_note": ("contacts", lambda ghl: ghl.create_note("con1", "hello", title="t", user_id="u"), "POST /contacts/{contactId}/notes"),
    "list_tasks": ("contacts", lambda ghl: ghl.list_tasks("con1"), "GET /contacts/{contactId}/tasks"),
    "create_task": (
        "contacts",
        lambda ghl: ghl.create_task("con1", "Call back", due_at=AT, body="b", assigned_to="u"),
        "POST /contacts/{contactId}/tasks",
    ),
    "custom_fields": ("locations", lambda ghl: ghl.custom_fields(), "GET /locations/{locationId}/customFields"),
    "custom_field": ("locations", lambda ghl: ghl.custom_field("fld1"), "GET /locations/{locationId}/customFields"),
    "get_appointment": ("calendars", lambda ghl: ghl.get_appointment("app1"), "GET /calendars/events/appointments/{eventId}"),
    "create_appointment": ("calendars", lambda ghl: ghl.create_appointment("con1", BOOKING), "POST /calendars/events/appointments"),
    "update_appointment": (
        "calendars",
        lambda ghl: ghl.update_appointment("app1", AppointmentWrite(status=AppointmentStatus.CANCELLED)),
        "PUT /calendars/events/appointments/{eventId}",
    ),
    "delete_appointment": ("calendars", lambda ghl: ghl.delete_appointment("app1"), "DELETE /calendars/events/{eventId}"),
    "list_calendars": ("calendars", lambda ghl: ghl.list_calendars(), "GET /calendars/"),
    "list_appointments": ("calendars", lambda ghl: ghl.list_appointments("cal1", AT, AT + timedelta(days=7)), "GET /calendars/events"),
    "free_slots": ("calendars", lambda ghl: ghl.free_slots("cal1", AT, AT + timedelta(days=7)), "GET /calendars/{calendarId}/free-slots"),
    "search_opportunities": (
        "opportunities",
        lambda ghl: ghl.search_opportunities(contact_id="con1", pipeline_id="pip1", start_after=("1", "opp1"), limit=10),
        "GET /opportunities/search",
    ),
    "get_opportunity": ("opportunities", lambda ghl: ghl.get_opportunity("opp1"), "GET /opportunities/{id}"),
    "list_pipelines": ("opportunities", lambda ghl: ghl.list_pipelines(), "GET /opportunities/pipelines"),
}


@asynccontextmanager
async def client() -> AsyncIterator[GhlClient]:
    async with Http(
        "ghl", BASE, token=SecretStr("pit-invented"), classify=classify_ghl, budget=Unlimited(), read_limits=ghl_limits
    ) as http:
        yield GhlClient(http, "loc1")


def answer_everything(*, of_location: bool = False) -> None:
    """One answer that fits every call: each reads only its own member. A location's tags are objects, a contact's are words."""
    everything = {
        **APPOINTMENT,
        "contact": CONTACT,
        "contacts": [{**CONTACT, "searchAfter": [1, "con1"]}],
        "total": 1,
        "new": True,
        "tags": [{"id": "tag1", "name": "vip"}] if of_location else ["vip", "a"],
        "tag": {"id": "tag1", "name": "vip"},
        "note": {"id": "not1", "body": "hello"},
        "notes": [{"id": "not1", "body": "hello"}],
        "task": {"id": "tas1", "title": "Call back", "dueDate": "2026-11-02T10:30:00.000Z"},
        "tasks": [{"id": "tas1"}],
        "customFields": [STATUS_FIELD],
        "event": APPOINTMENT,
        "events": [APPOINTMENT, {**APPOINTMENT, "id": "app2", "description": "postroom:1.2/book"}],
        "calendars": [{"id": "cal1", "name": "Chairs", "calendarType": "event", "isActive": False}],
        "2026-11-03": {"slots": ["2026-11-03T10:00:00+01:00", "2026-11-03T09:00:00+01:00", "no time", None]},
        "2026-11-04": {"slots": None},
        "traceId": "t",
        "opportunity": OPPORTUNITY,
        "opportunities": [OPPORTUNITY],
        "meta": {"total": 1, "startAfter": 1625203104328, "startAfterId": "opp1", "nextPage": 2},
        "pipelines": [{"id": "pip1", "name": "Sales", "stages": [{"id": "sta1", "name": "New"}, {"name": "without an id"}]}],
    }
    respx.route().respond(200, json=everything)


def sent() -> dict[str, Any]:
    body = json.loads(respx.calls.last.request.content)
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("method", CALLS)
@respx.mock
async def test_each_request_is_as_the_official_file_wants_it(method: str) -> None:
    _, call, operation = CALLS[method]
    answer_everything(of_location=method == "list_tags")
    async with client() as ghl:
        await call(ghl)
    specs = {name: OpenApi(specs_path(f"ghl/apps/{name}.json")) for name in ("contacts", "locations", "calendars", "opportunities")}
    # What a method needs to look up first (the ids of custom fields) is checked as well.
    used = [specs[recorded.request.url.path.split("/")[1]].check(recorded.request) for recorded in respx.calls]
    assert used[-1] == operation


def test_no_method_that_calls_escapes_the_check() -> None:
    calling = {name for name, member in inspect.getmembers(GhlClient, inspect.iscoroutinefunction) if not name.startswith("_")}
    assert calling == set(CALLS)


@pytest.mark.parametrize("method", CALLS)
@respx.mock
async def test_each_service_is_called_with_its_version(method: str) -> None:
    answer_everything(of_location=method == "list_tags")
    async with client() as ghl:
        await CALLS[method][1](ghl)
    request = respx.calls.last.request
    expected = "2021-04-15" if request.url.path.startswith("/calendars/") else "2021-07-28"
    assert request.headers["version"] == expected
    assert request.headers["authorization"] == "Bearer pit-invented"


@respx.mock
async def test_a_contact_is_read_with_its_times_tags_and_fields() -> None:
    answer_everything()
    async with client() as ghl:
        contact = await ghl.get_contact("con1")
    assert (contact.first_name, contact.postal_code, contact.tags) == ("Ada", "12345", ("vip",))
    assert contact.date_added == datetime(2026, 10, 1, 8, 15, 0, 123_000, tzinfo=UTC)
    assert contact.date_of_birth == date(1990, 9, 25)
    assert [(field.id, field.value) for field in contact.custom_fields] == [("fld1", "confirmed")]


@respx.mock
async def test_a_search_asks_for_a_range_and_hands_on_where_the_next_page_begins() -> None:
    answer_everything()
    async with client() as ghl:
        page = await ghl.search_contacts_changed(AT, AT + timedelta(hours=1), page_limit=9_999)
    assert sent() == {
        "locationId": "loc1",
        "pageLimit": 500,
        "sort": [{"field": "dateUpdated", "direction": "asc"}],
        "filters": [
            {
                "field": "dateUpdated",
                "operator": "range",
                "value": {"gte": "2026-11-02T10:30:00.000Z", "lte": "2026-11-02T11:30:00.000Z"},
            }
        ],
    }
    assert (page.search_after, page.total, [contact.id for contact in page.contacts]) == ((1, "con1"), 1, ["con1"])


@respx.mock
async def test_an_empty_page_ends_a_search() -> None:
    respx.route().respond(200, json={"contacts": [], "total": 0})
    async with client() as ghl:
        page = await ghl.search_contacts_changed(AT, AT, search_after=(1, "con1"))
    assert sent()["searchAfter"] == [1, "con1"]
    assert (page.contacts, page.search_after) == ((), None)


@pytest.mark.parametrize("body", [{}, {"contacts": None}, {"contacts": [CONTACT]}, [], None, {"contacts": [{"firstName": "no id"}]}])
@respx.mock
async def test_a_search_that_does_not_say_what_or_where_fails_and_does_not_end(body: object) -> None:
    respx.route().respond(200, json=body)
    async with client() as ghl:
        with pytest.raises(Failed):
            await ghl.search_contacts_changed(AT, AT)


@respx.mock
async def test_an_update_sends_what_was_set_and_clears_what_is_none_but_never_the_tags() -> None:
    answer_everything()
    async with client() as ghl:
        await ghl.update_contact("con1", WRITE)
    assert sent() == {
        "firstName": "Ada",
        "phone": None,
        "dateOfBirth": "1990-09-25",
        "customFields": [{"id": "fld1", "field_value": "confirmed"}],
    }
    with pytest.raises(ValidationError):
        ContactWrite.model_validate({"tags": ["a"]})


@respx.mock
async def test_an_upsert_says_whether_the_contact_is_new() -> None:
    answer_everything()
    async with client() as ghl:
        upserted = await ghl.upsert_contact(ContactWrite(email="ada@example.com"))
    assert sent() == {"email": "ada@example.com", "locationId": "loc1"}
    assert (upserted.is_new, upserted.contact.id) == (True, "con1")


@respx.mock
async def test_removing_tags_is_a_delete_with_a_body() -> None:
    answer_everything()
    async with client() as ghl:
        assert await ghl.remove_tags("con1", ["a", "b"]) == ("vip", "a")
        assert sent() == {"tags": ["a", "b"]}
        with pytest.raises(ValueError, match="at least one tag"):
            await ghl.add_tags("con1", [])


@respx.mock
async def test_a_task_is_due_in_utc() -> None:
    answer_everything()
    async with client() as ghl:
        task = await ghl.create_task("con1", "Call back", due_at=AT.astimezone(timezone(timedelta(hours=5, minutes=30))))
        with pytest.raises(ValueError, match="needs a zone"):
            await ghl.create_task("con1", "Call back", due_at=datetime(2026, 11, 2))  # noqa: DTZ001 -- wrong on purpose
    assert sent() == {"title": "Call back", "dueDate": "2026-11-02T10:30:00.000Z", "completed": False}
    assert task.due_at == AT


@pytest.mark.parametrize("member", ["notes", "tasks", "customFields", "events", "calendars", "opportunities", "pipelines"])
@respx.mock
async def test_a_missing_list_is_not_taken_for_an_empty_one(member: str) -> None:
    respx.route().respond(200, json={"traceId": "t"})
    calls: dict[str, Callable[[GhlClient], Awaitable[object]]] = {
        "notes": lambda ghl: ghl.list_notes("con1"),
        "tasks": lambda ghl: ghl.list_tasks("con1"),
        "customFields": lambda ghl: ghl.custom_fields(),
        "events": lambda ghl: ghl.list_appointments("cal1", AT, AT),
        "calendars": lambda ghl: ghl.list_calendars(),
        "opportunities": lambda ghl: ghl.search_opportunities(),
        "pipelines": lambda ghl: ghl.list_pipelines(),
    }
    async with client() as ghl:
        with pytest.raises(Failed, match=f"no list of {member}"):
            await calls[member](ghl)


@respx.mock
async def test_a_created_note_whose_answer_has_no_id_may_have_been_written() -> None:
    respx.route().respond(201, json={"note": {"body": "secret words"}})
    async with client() as ghl:
        with pytest.raises(Failed) as caught:
            await ghl.create_note("con1", "secret words")
    assert caught.value.happened is None
    assert "secret words" not in str(caught.value)
    assert caught.value.details == ("id: missing",)


@respx.mock
async def test_an_appointment_is_booked_with_its_contact_and_changed_without_it() -> None:
    answer_everything()
    async with client() as ghl:
        booked = await ghl.create_appointment("con1", BOOKING)
        assert sent() == {
            "calendarId": "cal1",
            "contactId": "con1",
            "locationId": "loc1",
            "startTime": "2026-11-02T10:30:00Z",
            "endTime": "2026-11-02T11:30:00Z",
            "title": "Visit",
            "appointmentStatus": "new",
        }
        await ghl.update_appointment("app1", AppointmentWrite(status=AppointmentStatus.CANCELLED))
        assert sent() == {"appointmentStatus": "cancelled"}
    assert (booked.starts_at, booked.status) == (AT, "confirmed")


@respx.mock
async def test_a_calendars_window_is_asked_for_in_milliseconds_and_read_with_its_descriptions() -> None:
    answer_everything()
    async with client() as ghl:
        calendars = await ghl.list_calendars()
        found = await ghl.list_appointments("cal1", AT, AT + timedelta(days=7))
        assert dict(respx.calls.last.request.url.params) == {
            "locationId": "loc1",
            "calendarId": "cal1",
            "startTime": "1793615400000",
            "endTime": "1794220200000",
        }
        with pytest.raises(ValueError, match="needs a zone"):
            await ghl.list_appointments("cal1", datetime(2026, 11, 2), AT)  # noqa: DTZ001 -- wrong on purpose
    assert [(one.id, one.type, one.is_active) for one in calendars] == [("cal1", "event", False)]
    assert [(one.id, one.description) for one in found] == [("app1", None), ("app2", "postroom:1.2/book")]


@respx.mock
async def test_free_slots_come_as_times_and_of_at_most_a_month() -> None:
    answer_everything()
    async with client() as ghl:
        slots = await ghl.free_slots("cal1", AT, AT + timedelta(days=31))
        with pytest.raises(ValueError, match="31 days"):
            await ghl.free_slots("cal1", AT, AT + timedelta(days=32))
    assert slots == (datetime(2026, 11, 3, 8, tzinfo=UTC), datetime(2026, 11, 3, 9, tzinfo=UTC))
    respx.route().respond(200, json=["not", "days"])
    async with client() as ghl:
        with pytest.raises(Failed, match="no days"):
            await ghl.free_slots("cal1", AT, AT)


@respx.mock
async def test_a_deleted_appointment_is_deleted_with_an_empty_object() -> None:
    respx.delete(f"{BASE}/calendars/events/app1").respond(201, json={"succeeded": True})
    async with client() as ghl:
        await ghl.delete_appointment("app1")
    assert respx.calls.last.request.content == b"{}"


@respx.mock
async def test_opportunities_come_page_by_page_until_none_is_left() -> None:
    answer_everything()
    async with client() as ghl:
        page = await ghl.search_opportunities(contact_id="con1", limit=9_999)
        assert dict(respx.calls.last.request.url.params) == {"location_id": "loc1", "contact_id": "con1", "status": "all", "limit": "100"}
        assert (page.total, page.start_after) == (1, ("1625203104328", "opp1"))
        assert [(one.contact_id, one.monetary_value, one.status) for one in page.opportunities] == [("con1", 40, "open")]
        [pipeline] = await ghl.list_pipelines()
        assert [(stage.id, stage.name) for stage in pipeline.stages] == [("sta1", "New")]
    ends: list[dict[str, object]] = [
        {"opportunities": [], "meta": {"startAfter": 1, "startAfterId": "opp1"}},
        {"opportunities": [OPPORTUNITY], "meta": {"total": 1, "nextPage": None}},
    ]
    for answer in ends:
        respx.route().respond(200, json=answer)
        async with client() as ghl:
            assert (await ghl.search_opportunities(start_after=("1", "opp1"))).start_after is None
    respx.route().respond(200, json={"opportunities": [OPPORTUNITY], "meta": {"nextPage": 2}})
    async with client() as ghl:
        with pytest.raises(Failed, match="where its next page begins"):
            await ghl.search_opportunities()


@respx.mock
async def test_a_hostile_id_stays_one_segment_of_the_path() -> None:
    answer_everything()
    async with client() as ghl:
        await ghl.get_contact("../locations/x?y#z")
        assert respx.calls.last.request.url.raw_path == b"/contacts/..%2Flocations%2Fx%3Fy%23z"
        with pytest.raises(Refused):
            await ghl.get_contact("..")


@respx.mock
async def test_bulk_work_shares_the_fields_and_waits_behind_live_work() -> None:
    taken: list[int] = []

    class Watched(Unlimited):
        async def take(self, *, urgency: int) -> None:
            taken.append(urgency)

    answer_everything()
    async with Http("ghl", BASE, token=SecretStr("t"), classify=classify_ghl, budget=Watched()) as http:
        live = GhlClient(http, "loc1")
        await live.custom_fields()
        await live.for_bulk().get_contact("con1")
        await live.for_bulk().custom_field("fld1")
    assert taken == [0, 1]


@respx.mock
async def test_a_write_to_a_field_that_the_location_does_not_have_is_refused_before_it_is_sent() -> None:
    answer_everything()
    async with client() as ghl:
        with pytest.raises(Refused, match="no such custom field") as caught:
            await ghl.update_contact("con1", ContactWrite(custom_fields={"loyalty": 3}))
    assert (caught.value.details, caught.value.happened) == (("loyalty",), False)
    assert [recorded.request.method for recorded in respx.calls] == ["GET"]


@respx.mock
async def test_a_refusal_arrives_through_a_call_with_its_limits() -> None:
    respx.route().mock(
        return_value=httpx.Response(429, headers={"X-RateLimit-Daily-Remaining": "0", "x-ratelimit-daily-reset": "5000"}, json={})
    )
    async with client() as ghl:
        with pytest.raises(RateLimited) as caught:
            await ghl.get_contact("con1")
    assert (caught.value.scope, caught.value.retry_after_s) == (Scope.DAY, 5)
