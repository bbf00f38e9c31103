"""Contacts, tags and custom fields of the simulated GHL."""

import httpx
import pytest

from simulators.ghl import GhlSettings, GhlSimulator
from simulators.samples import DEMO_LOCATION_ID
from simulators.shapes import JsonObject
from tests.simulators.clients import GHL_HEADERS, open_api
from tests.simulators.clock import HandClock

ADA: JsonObject = {
    "locationId": DEMO_LOCATION_ID,
    "firstName": "Ada",
    "lastName": "Example",
    "email": "Ada@Example.com",
    "phone": "+353 1 555 0100",
}


async def test_a_created_contact_can_be_fetched_and_counts_once(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    created = await ghl_api.post("/contacts/", json=ADA)
    contact = created.json()["contact"]
    fetched = await ghl_api.get(f"/contacts/{contact['id']}")
    assert created.status_code == 201
    assert fetched.json()["contact"] == contact
    assert contact["name"] == "Ada Example"
    assert contact["phone"] == "+35315550100"
    assert contact["emailLowerCase"] == "ada@example.com"
    assert ghl.effects.count("contact", contact_id=contact["id"]) == 1


async def test_an_unknown_contact_is_400_not_404(ghl_api: httpx.AsyncClient) -> None:
    for method in ("GET", "PUT", "DELETE"):
        response = await ghl_api.request(method, "/contacts/nobody", json={} if method == "PUT" else None)
        assert (response.status_code, response.json()["message"]) == (400, "Contact with id nobody not found")


@pytest.mark.parametrize(
    ("same", "field"), [({"email": "ADA@example.com"}, "email"), ({"phone": "+353-1-555 0100"}, "phone")], ids=["e-mail", "phone"]
)
async def test_a_duplicate_is_refused_with_the_contact_that_exists(ghl_api: httpx.AsyncClient, same: JsonObject, field: str) -> None:
    first = (await ghl_api.post("/contacts/", json=ADA)).json()["contact"]
    second = await ghl_api.post("/contacts/", json={"locationId": DEMO_LOCATION_ID, **same})
    assert second.status_code == 400
    assert second.json()["message"] == "This location does not allow duplicated contacts."
    assert second.json()["meta"] == {"contactId": first["id"], "contactName": "Ada Example", "matchingField": field}


async def test_a_changed_or_deleted_contact_is_no_longer_a_duplicate(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    moved, deleted = ghl.put_contact(email="ada@example.com"), ghl.put_contact(phone="+35315550100")
    await ghl_api.put(f"/contacts/{moved['id']}", json={"email": "new@example.com"})
    await ghl_api.delete(f"/contacts/{deleted['id']}")
    assert (await ghl_api.post("/contacts/", json=ADA)).status_code == 201


async def test_a_location_may_allow_duplicates() -> None:
    simulator = GhlSimulator(GhlSettings(allows_duplicates=True))
    async with open_api(simulator.app, GHL_HEADERS) as client:
        assert [(await client.post("/contacts/", json=ADA)).status_code for _ in range(2)] == [201, 201]
        forced = await client.post("/contacts/upsert", json={**ADA, "createNewIfDuplicateAllowed": True})
    assert forced.json()["new"] is True
    assert len(simulator.store.contacts) == 3


async def test_upsert_creates_once_and_then_updates(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    first = (await ghl_api.post("/contacts/upsert", json=ADA)).json()
    second = (await ghl_api.post("/contacts/upsert", json={**ADA, "city": "Dublin", "createNewIfDuplicateAllowed": True})).json()
    assert (first["new"], second["new"]) == (True, False)
    assert first["contact"]["id"] == second["contact"]["id"]
    assert second["contact"]["city"] == "Dublin"
    assert (ghl.effects.count("contact"), ghl.effects.count("contact.update")) == (1, 1)


async def test_when_two_contacts_match_the_email_wins(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    ghl.put_contact(phone="+35315550100")
    by_email = ghl.put_contact(email="ada@example.com")
    assert (await ghl_api.post("/contacts/upsert", json=ADA)).json()["contact"]["id"] == by_email["id"]


async def test_the_misspelt_succeded_is_spelt_right_in_v3_only(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    path = f"/contacts/{ghl.put_contact(firstName='Ada')['id']}"
    old = (await ghl_api.put(path, json={"city": "Dublin"})).json()
    new = (await ghl_api.put(path, json={"city": "Cork"}, headers={"Version": "v3"})).json()
    assert (old["succeded"], "succeeded" in old) == (True, False)
    assert (new["succeeded"], "succeded" in new) == (True, False)


async def test_v3_spells_dnd_channels_in_lower_camel_case(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    path = f"/contacts/{ghl.put_contact(dndSettings={'SMS': {'status': 'active'}})['id']}"
    assert (await ghl_api.get(path)).json()["contact"]["dndSettings"] == {"SMS": {"status": "active"}}
    assert (await ghl_api.get(path, headers={"Version": "v3"})).json()["contact"]["dndSettings"] == {"sms": {"status": "active"}}


async def test_an_update_moves_date_updated_and_null_clears_a_field() -> None:
    clock = HandClock()
    simulator = GhlSimulator(clock=clock)
    before = simulator.put_contact(firstName="Ada", email="ada@example.com")
    clock.advance(1)
    async with open_api(simulator.app, GHL_HEADERS) as client:
        after = (await client.put(f"/contacts/{before['id']}", json={"email": None})).json()["contact"]
    assert "email" not in after
    assert "emailLowerCase" not in after
    assert (before["dateUpdated"], after["dateUpdated"]) == ("2026-11-02T09:00:30.250Z", "2026-11-02T09:00:31.250Z")
    assert after["dateAdded"] == before["dateAdded"]


async def test_a_body_is_refused_with_every_fault_in_one_list(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    contact = ghl.put_contact(firstName="Ada")
    response = await ghl_api.put(
        f"/contacts/{contact['id']}", json={"locationId": "x", "tags": "vip", "dnd": "no", "dateOfBirth": "tomorrow", "customFields": ["x"]}
    )
    assert response.status_code == 422
    assert response.json()["error"] == "Unprocessable Entity"
    assert sorted(response.json()["message"]) == [
        "customFields must be an array of objects",
        "dateOfBirth must be a valid date",
        "dnd must be a boolean value",
        "property locationId should not exist",
        "tags must be an array of strings",
    ]


async def test_a_contact_without_location_is_refused(ghl_api: httpx.AsyncClient) -> None:
    response = await ghl_api.post("/contacts/", json={"firstName": "Ada"})
    assert (response.status_code, response.json()["message"]) == (422, ["locationId should not be empty", "locationId must be a string"])


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b'"text"', b"nul", b'{"dnd": NaN}', b'{"name": "\\ud800"}', b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused_with_400(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, content: bytes) -> None:
    response = await ghl_api.post("/contacts/", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert ghl.effects.count() == 0


async def test_a_body_of_another_content_type_is_not_looked_at(ghl_api: httpx.AsyncClient) -> None:
    response = await ghl_api.post("/contacts/", content=b'{"locationId": "x"}', headers={"Content-Type": "text/plain"})
    assert "locationId should not be empty" in response.json()["message"]


async def test_tags_are_added_and_removed_without_losing_others(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    path = f"/contacts/{ghl.put_contact(firstName='Ada', tags=['customer'])['id']}/tags"
    added = await ghl_api.post(path, json={"tags": ["VIP", "customer"]})
    removed = await ghl_api.request("DELETE", path, json={"tags": ["customer"]})
    assert (added.status_code, added.json()["tags"]) == (201, ["customer", "vip"])
    assert (removed.status_code, removed.json()["tags"]) == (200, ["vip"])
    assert (ghl.effects.count("tags.add"), ghl.effects.count("tags.remove")) == (1, 1)


async def test_tags_in_an_update_overwrite_all(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    contact = ghl.put_contact(tags=["customer", "vip"])
    response = await ghl_api.put(f"/contacts/{contact['id']}", json={"tags": ["new"]})
    assert response.json()["contact"]["tags"] == ["new"]


async def test_the_tag_endpoints_refuse_a_location_id(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    contact = ghl.put_contact(firstName="Ada")
    response = await ghl_api.post(f"/contacts/{contact['id']}/tags", json={"tags": ["a"], "locationId": DEMO_LOCATION_ID})
    assert (response.status_code, response.json()["message"]) == (422, ["property locationId should not exist"])


async def test_custom_fields_are_written_by_id_or_key_and_read_by_id(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    contact = ghl.put_contact(firstName="Ada")
    fields = (await ghl_api.get(f"/locations/{DEMO_LOCATION_ID}/customFields", params={"model": "contact"})).json()["customFields"]
    by_key = {field["fieldKey"]: field["id"] for field in fields}
    written = [
        {"id": by_key["contact.appointment_status"], "field_value": "confirmed"},
        {"key": "next_appointment_date", "field_value": "2026-11-09"},
        {"key": "no_such_field", "field_value": "dropped"},
    ]
    response = await ghl_api.put(f"/contacts/{contact['id']}", json={"customFields": written})
    assert response.json()["contact"]["customFields"] == [
        {"id": by_key["contact.appointment_status"], "value": "confirmed"},
        {"id": by_key["contact.next_appointment_date"], "value": "2026-11-09"},
    ]


async def test_custom_fields_of_opportunities_are_none(ghl_api: httpx.AsyncClient) -> None:
    response = await ghl_api.get(f"/locations/{DEMO_LOCATION_ID}/customFields", params={"model": "opportunity"})
    assert response.json()["customFields"] == []


@pytest.mark.parametrize("spelling", ["1990-09-25", "09/25/1990", "1990.09.25", "09_25_1990"])
async def test_a_birthday_is_read_back_in_one_spelling(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, spelling: str) -> None:
    contact = ghl.put_contact(firstName="Ada")
    response = await ghl_api.put(f"/contacts/{contact['id']}", json={"dateOfBirth": spelling})
    assert response.json()["contact"]["dateOfBirth"] == "1990-09-25"


async def test_a_deleted_contact_is_gone_with_its_notes(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    path = f"/contacts/{ghl.put_contact(firstName='Ada')['id']}"
    await ghl_api.post(f"{path}/notes", json={"body": "hello"})
    assert (await ghl_api.delete(path)).json()["succeded"] is True
    assert (await ghl_api.get(f"{path}/notes")).status_code == 400
    assert ghl.state()["notes"] == {}
    assert ghl.effects.count("contact.delete") == 1
