"""The doors under `/_sim/`, by which another process arranges and inspects a simulator."""

import asyncio

import httpx
import pytest

from simulators.ghl import GhlSimulator
from simulators.notion import NotionSimulator
from simulators.shapes import JsonObject


async def test_effects_are_totalled_per_kind_object_and_marker(ghl_api: httpx.AsyncClient) -> None:
    ids = [(await ghl_api.post("/_sim/contacts", json={"firstName": name})).json()["id"] for name in ("Ada", "Ben")]
    for contact_id in (ids[0], ids[0], ids[1]):
        await ghl_api.post(f"/contacts/{contact_id}/notes", json={"body": f"postroom:{contact_id}/note"})
    assert (await ghl_api.get("/_sim/effects")).json() == {
        "total": 3,
        "kinds": {"note": 3},
        "objects": {"note": {ids[0]: 2, ids[1]: 1}},
        "markers": {f"postroom:{ids[0]}/note": 2, f"postroom:{ids[1]}/note": 1},
    }


async def test_requests_are_logged_without_query_headers_or_body(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    await ghl_api.get("/contacts/nobody", params={"email": "ada@example.com"})
    await ghl_api.get("/_sim/state")
    logged = (await ghl_api.get("/_sim/requests")).json()
    entry = logged["requests"][0]
    assert logged["total"] == 1
    assert set(entry) == {"at", "method", "path", "status", "took_ms", "fault"}
    assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/contacts/nobody", 400)


async def test_requests_can_be_chosen_by_method_and_path(ghl_api: httpx.AsyncClient) -> None:
    await ghl_api.get("/contacts/a")
    await ghl_api.put("/contacts/a", json={})
    chosen = (await ghl_api.get("/_sim/requests", params={"method": "PUT", "path": "/contacts/*"})).json()
    assert [one["method"] for one in chosen["requests"]] == ["PUT"]


async def test_a_fault_can_be_added_listed_and_cleared(ghl_api: httpx.AsyncClient) -> None:
    spec = {"kind": "answer", "path": "/contacts/*", "method": "GET", "times": None, "status": 500, "headers": {"x-why": "test"}}
    fault_id = (await ghl_api.post("/_sim/faults", json=spec)).json()["id"]
    answers = [await ghl_api.get("/contacts/a") for _ in range(2)]
    listed = (await ghl_api.get("/_sim/faults")).json()["faults"]
    cleared = (await ghl_api.delete(f"/_sim/faults/{fault_id}")).json()
    assert [(one.status_code, one.headers["x-why"]) for one in answers] == [(500, "test")] * 2
    assert [(one["id"], one["used"]) for one in listed] == [(fault_id, 2)]
    assert cleared == {"cleared": 1}
    assert (await ghl_api.get("/contacts/a")).status_code == 400
    assert (await ghl_api.delete("/_sim/faults")).json() == {"cleared": 0}


async def test_another_process_can_wait_for_a_hanging_request_and_release_it(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    path = f"/contacts/{ghl.put_contact(firstName='Ada')['id']}/notes"
    await ghl_api.post("/_sim/faults", json={"kind": "hang", "path": path})
    async with asyncio.TaskGroup() as group:
        request = group.create_task(ghl_api.post(path, json={"body": "hello"}))
        assert (await ghl_api.get("/_sim/faults", params={"hanging": 1})).json()["hanging"] == 1
        assert (await ghl_api.post("/_sim/release")).json() == {"released": 1}
    assert request.result().status_code == 201


async def test_waiting_for_a_hanging_request_has_an_end(ghl_api: httpx.AsyncClient) -> None:
    assert (await ghl_api.get("/_sim/faults", params={"hanging": 1, "timeout_s": 0.01})).json()["hanging"] == 0


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("faults", b"{"),
        ("faults", b"[]"),
        ("faults", b"{}"),
        ("faults", b'{"kind": "explode"}'),
        ("faults", b'{"kind": "drop", "times": 0}'),
        ("faults", b'{"kind": "drop", "often": true}'),
        ("faults", b'{"kind": "answer", "headers": {"x": "\\r\\n"}}'),
        ("release", b"\xff"),
        ("contacts", b'{"tags": "vip"}'),
        ("contacts", b'{"surname": "Example"}'),
        ("appointments", b'{"appointmentStatus": "done"}'),
    ],
)
async def test_a_wrong_control_request_is_refused_with_400(ghl_api: httpx.AsyncClient, path: str, content: bytes) -> None:
    response = await ghl_api.post(f"/_sim/{path}", content=content)
    assert response.status_code == 400
    assert response.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"id": "no-uuid"},
        {"values": {"No such": 1}},
        {"values": {"Visits": "many"}},
        {"values": "x"},
        {"content": [1]},
        {"content": [{"text": "x"}]},
        {"surprise": 1},
    ],
)
async def test_a_wrong_page_is_refused_with_400_and_not_made(
    notion: NotionSimulator, notion_api: httpx.AsyncClient, body: JsonObject
) -> None:
    response = await notion_api.post("/_sim/pages", json=body)
    assert response.status_code == 400
    assert response.json()["error"]
    assert notion.state()["pages"] == {}


async def test_contacts_and_appointments_are_arranged_without_counting_effects(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    contact = (await ghl_api.post("/_sim/contacts", json={"id": "ContactOfTheTest0001", "firstName": "Ada"})).json()
    await ghl_api.post("/_sim/contacts", json={"id": contact["id"], "city": "Dublin"})
    visit = (await ghl_api.post("/_sim/appointments", json={"contactId": contact["id"], "startTime": "2026-11-09T10:00:00Z"})).json()
    state = (await ghl_api.get("/_sim/state")).json()
    assert (state["contacts"][contact["id"]]["firstName"], state["contacts"][contact["id"]]["city"]) == ("Ada", "Dublin")
    assert state["appointments"][visit["id"]]["contactId"] == contact["id"]
    await ghl_api.post("/_sim/contacts", json={"id": contact["id"], "deleted": True})
    await ghl_api.post("/_sim/appointments", json={"id": visit["id"], "deleted": True})
    assert (ghl.state()["contacts"], ghl.state()["appointments"], ghl.effects.count()) == ({}, {}, 0)


async def test_pages_are_arranged_and_removed(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    page = (await notion_api.post("/_sim/pages", json={"values": {"Name": "Ada Example"}, "content": ["hello"], "is_shared": False})).json()
    assert notion.state()["hidden"] == [page["id"]]
    await notion_api.post("/_sim/pages", json={"id": page["id"], "is_shared": True})
    assert (await notion_api.get(f"/v1/pages/{page['id']}")).status_code == 200
    await notion_api.post("/_sim/pages", json={"id": page["id"], "removed": True})
    assert (notion.state()["pages"], notion.state()["blocks"], notion.effects.count()) == ({}, {}, 0)


async def test_a_reset_makes_the_world_new(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    contact = ghl.put_contact(firstName="Ada")
    ghl.faults.add("drop", "/never")
    await ghl_api.post(f"/contacts/{contact['id']}/notes", json={"body": "hello"})
    await ghl_api.post("/_sim/reset")
    state = (await ghl_api.get("/_sim/state")).json()
    assert (state["contacts"], state["notes"], len(state["custom_fields"])) == ({}, {}, 2)
    assert (ghl.effects.count(), ghl.requests.total, ghl.faults.as_json()) == (0, 0, [])
    assert (await ghl_api.get("/contacts/nobody")).headers["X-RateLimit-Remaining"] == "99"


async def test_the_state_handed_out_in_process_is_a_copy(ghl: GhlSimulator) -> None:
    contact = ghl.put_contact(firstName="Ada", tags=["vip"])
    contact["tags"].append("changed")
    ghl.state()["contacts"].clear()
    assert ghl.store.contacts[contact["id"]]["tags"] == ["vip"]
