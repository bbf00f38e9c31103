"""The simulated GHL against the official OpenAPI files: a client that works here sends what is specified, and gets what is specified."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import ValidationError

from simulators import ghl_calendars, ghl_contacts, ghl_opportunities
from simulators.ghl import GhlSimulator
from simulators.ghl_call import Rule
from simulators.samples import DEMO_CALENDAR_ID, DEMO_LOCATION_ID
from tests.simulators.clients import CALENDARS
from tests.simulators.openapi import Specification
from tests.specs import specs_path

RULES = (*ghl_contacts.RULES, *ghl_calendars.RULES, *ghl_opportunities.RULES)
# Searched contacts have neither a request nor an answer schema in the official file.
SPECIFIED_DTOS = [rule for rule in RULES if rule.dto and rule.dto.named]


def specification(path: str) -> Specification:
    file = path.split("/")[1]
    return Specification(specs_path(f"ghl/apps/{file}.json"))


@pytest.mark.parametrize("rule", SPECIFIED_DTOS, ids=lambda rule: f"{rule.method} {rule.path}")
def test_a_body_may_have_exactly_the_specified_properties(rule: Rule) -> None:
    assert rule.dto is not None
    schema = specification(rule.path).schema(rule.dto.named)
    assert set(rule.dto.shapes) == set(schema.get("properties", {}))
    assert rule.dto.required == set(schema.get("required", []))


async def test_every_call_and_every_answer_is_as_specified(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    seen: set[str] = set()

    async def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = CALENDARS if path.startswith("/calendars") else {}
        response = await ghl_api.request(method, path, json=body, headers=headers)
        seen.add(specification(path).check(response))
        return response.json()

    ada = {
        "locationId": DEMO_LOCATION_ID,
        "firstName": "Ada",
        "lastName": "Example",
        "email": "ada@example.com",
        "phone": "+353 1 555 0100",
        "tags": ["customer"],
        "dateOfBirth": "1990-09-25",
        "dndSettings": {"SMS": {"status": "active"}},
        "customFields": [{"key": "appointment_status", "field_value": "confirmed"}],
    }
    contact = (await call("POST", "/contacts/", ada))["contact"]
    path = f"/contacts/{contact['id']}"
    await call("POST", "/contacts/upsert", {**ada, "createNewIfDuplicateAllowed": False})
    await call("POST", "/contacts/search", {"locationId": DEMO_LOCATION_ID, "pageLimit": 10})
    await call("GET", path)
    await call("PUT", path, {"city": "Dublin", "email": None})
    await call("POST", f"{path}/tags", {"tags": ["vip"]})
    await call("DELETE", f"{path}/tags", {"tags": ["vip"]})
    note = (await call("POST", f"{path}/notes", {"body": "hello"}))["note"]
    await call("GET", f"{path}/notes")
    await call("GET", f"{path}/notes/{note['id']}")
    await call("PUT", f"{path}/notes/{note['id']}", {"body": "bye", "pinned": True})
    await call("DELETE", f"{path}/notes/{note['id']}")
    task = (await call("POST", f"{path}/tasks", {"title": "call", "dueDate": "2026-11-09T10:00:00Z", "completed": False}))["task"]
    await call("GET", f"{path}/tasks")
    await call("GET", f"{path}/tasks/{task['id']}")
    await call("PUT", f"{path}/tasks/{task['id']}", {"title": "call today"})
    await call("PUT", f"{path}/tasks/{task['id']}/completed", {"completed": True})
    await call("GET", f"/locations/{DEMO_LOCATION_ID}/customFields")
    visit = {
        "calendarId": DEMO_CALENDAR_ID,
        "locationId": DEMO_LOCATION_ID,
        "contactId": contact["id"],
        "startTime": "2026-11-09T10:00:00+00:00",
    }
    appointment = await call("POST", "/calendars/events/appointments", visit)
    await call("GET", f"/calendars/events/appointments/{appointment['id']}")
    await call("PUT", f"/calendars/events/appointments/{appointment['id']}", {"appointmentStatus": "showed"})
    window = f"locationId={DEMO_LOCATION_ID}&calendarId={DEMO_CALENDAR_ID}&startTime=1793000000000&endTime=1796000000000"
    assert len((await call("GET", f"/calendars/events?{window}"))["events"]) == 1
    ghl.put_calendar()
    assert len((await call("GET", f"/calendars/?locationId={DEMO_LOCATION_ID}"))["calendars"]) == 1
    await call("GET", f"/calendars/{DEMO_CALENDAR_ID}/free-slots?startDate=1793000000000&endDate=1794000000000")
    await call("DELETE", f"/calendars/events/{appointment['id']}", {})
    opportunity = ghl.put_opportunity("opp1", contactId=contact["id"])
    ghl.store.pipelines.append({"id": "pip1", "name": "Sales", "stages": [], "locationId": DEMO_LOCATION_ID})
    assert len((await call("GET", f"/opportunities/search?location_id={DEMO_LOCATION_ID}&status=open"))["opportunities"]) == 1
    await call("GET", f"/opportunities/{opportunity['id']}")
    assert len((await call("GET", f"/opportunities/pipelines?locationId={DEMO_LOCATION_ID}"))["pipelines"]) == 1
    await call("DELETE", path)

    # One path is served with and without its last slash; the names inside the braces are ours.
    assert len(seen) == len({(rule.method, rule.path.rstrip("/")) for rule in RULES})
    assert ghl.requests.total == len(seen)


async def test_refusals_are_as_specified(ghl_api: httpx.AsyncClient) -> None:
    unauthorised = await ghl_api.get("/contacts/x", headers={"Authorization": "Bearer pit-wrong"})
    gone = await ghl_api.get("/contacts/x")
    unprocessable = await ghl_api.put("/contacts/x", json={"locationId": "x"})
    assert [response.status_code for response in (unauthorised, gone, unprocessable)] == [401, 400, 422]
    for response in (unauthorised, gone):
        specification("/contacts").check(response)
    # Its request is refused here for the same reason.
    with pytest.raises(ValidationError, match="locationId"):
        specification("/contacts").check(unprocessable)


async def test_the_check_notices_a_wrong_version_and_an_unknown_status(ghl_api: httpx.AsyncClient) -> None:
    with pytest.raises(AssertionError, match="header Version"):
        specification("/contacts").check(await ghl_api.get("/contacts/x", headers={"Version": "v3"}))
    with pytest.raises(AssertionError, match="404 is not specified"):
        specification("/calendars").check(await ghl_api.get("/calendars/events/appointments/x", headers=CALENDARS))


def test_the_specification_files_are_where_they_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ghl").mkdir()
    (tmp_path / "ghl/any.json").write_text("{}")
    monkeypatch.setenv("POSTROOM_SPECS", str(tmp_path))
    assert specs_path("ghl/any.json") == tmp_path / "ghl/any.json"
    with pytest.raises(pytest.skip.Exception, match="set POSTROOM_SPECS"):
        specs_path("ghl/absent.json")
