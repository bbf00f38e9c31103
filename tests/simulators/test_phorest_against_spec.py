"""The simulated Phorest against the examples of answers and the facts; Phorest gives its schema to partners only."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from simulators.phorest import PhorestSettings, PhorestSimulator
from simulators.samples import DEMO_BUSINESS_ID, DEMO_PHOREST_PASSWORD, DEMO_PHOREST_USERNAME
from tests.simulators.clients import open_api
from tests.specs import specs_path

BASE = f"/third-party-api-server/api/business/{DEMO_BUSINESS_ID}"
OWN = {"version", "createdAt", "updatedAt"}  # the simulator counts and dates what it stores itself
SHOW_ALL = {"includeArchived": "true", "includeDeleted": "true"}
NOVEMBER = {"from_date": "2026-11-01", "to_date": "2026-11-30"}


@pytest.fixture(scope="module")
def examples() -> dict[str, Any]:
    cases = json.loads(specs_path("phorest/response-examples.json").read_text("utf-8"))["cases"]
    return {case["name"]: case for case in cases}


@pytest.fixture
def phorest() -> PhorestSimulator:
    return PhorestSimulator(PhorestSettings(requests_per_second=100))


@pytest.fixture
async def api(phorest: PhorestSimulator) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(phorest.app, {}) as client:
        client.auth = httpx.BasicAuth(DEMO_PHOREST_USERNAME, DEMO_PHOREST_PASSWORD)
        yield client


def fill(phorest: PhorestSimulator, collection: str, id_name: str, body: Any) -> None:
    """What an example shows is what the salon has."""
    for row in body["_embedded"][collection]:
        if "branchId" in row:
            phorest.store.branches[row["branchId"]] = "Example Salon"
        phorest.put(collection, row[id_name], **{name: value for name, value in row.items() if name not in OWN | {id_name}})


def alike(shown: Any, example: Any, collection: str) -> None:
    """Equal, apart from what the simulator counts and dates itself, and that in the same form."""
    assert shown["page"] == example["page"]
    rows, expected = shown["_embedded"][collection], example["_embedded"][collection]
    assert [ours_apart(row) for row in rows] == [ours_apart(row) for row in expected]
    for row in rows:
        assert set(row) & OWN == OWN
        assert isinstance(row["version"], int)
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row[name]) for name in ("createdAt", "updatedAt"))


def ours_apart(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in OWN}


@pytest.mark.parametrize("name", ["clients/page", "clients/tombstone-and-merge"])
async def test_clients_are_shown_as_in_the_examples(
    phorest: PhorestSimulator, api: httpx.AsyncClient, examples: dict[str, Any], name: str
) -> None:
    fill(phorest, "clients", "clientId", examples[name]["body"])
    alike((await api.get(f"{BASE}/client", params={**SHOW_ALL, "size": "100"})).json(), examples[name]["body"], "clients")


async def test_appointments_are_shown_as_in_the_example(
    phorest: PhorestSimulator, api: httpx.AsyncClient, examples: dict[str, Any]
) -> None:
    body = examples["appointments/page"]["body"]
    fill(phorest, "appointments", "appointmentId", body)
    asked = httpx.URL(examples["appointments/page"]["request"].removeprefix("GET {base}")).params.remove("updated_from")
    branch_id = body["_embedded"]["appointments"][0]["branchId"]
    alike((await api.get(f"{BASE}/branch/{branch_id}/appointment", params=asked)).json(), body, "appointments")


async def test_an_empty_page_is_that_of_the_example(api: httpx.AsyncClient, examples: dict[str, Any]) -> None:
    assert (await api.get(f"{BASE}/client", params={"size": "100"})).json() == examples["clients/empty"]["body"]


async def test_refusals_are_those_of_the_examples(phorest: PhorestSimulator, api: httpx.AsyncClient, examples: dict[str, Any]) -> None:
    stranger = await api.get(f"{BASE}/branch", auth=("global/nobody@example.com", "x"))
    phorest._budget.limit = 0
    many = await api.get(f"{BASE}/branch")
    for answer, name in ((stranger, "401"), (many, "429")):
        assert (answer.status_code, answer.text) == (examples[name]["status"], examples[name]["body_text"])
        assert "retry-after" not in answer.headers


async def test_what_is_hidden_is_left_out_without_a_word(phorest: PhorestSimulator, api: httpx.AsyncClient) -> None:
    phorest.put_client("p1", archived=True)
    phorest.put_client("p2", deleted=True)
    branch_id = phorest.put_appointment("a1", activationState="CANCELED")["branchId"]
    asked: tuple[tuple[str, dict[str, str]], ...] = (("/client", {}), (f"/branch/{branch_id}/appointment", NOVEMBER))
    assert [(await api.get(BASE + path, params=params)).json()["page"]["totalElements"] for path, params in asked] == [0, 0]


async def test_each_list_has_its_own_names_and_those_of_another_are_ignored(phorest: PhorestSimulator, api: httpx.AsyncClient) -> None:
    phorest.put_client("p1")
    branch_id = phorest.put_appointment("a1")["branchId"]
    later = "2999-01-01T00:00:00.000Z"
    visits = f"/branch/{branch_id}/appointment"
    counts = [
        (await api.get(BASE + path, params=params)).json()["page"]["totalElements"]
        for path, params in (
            ("/client", {"updatedAfter": later}),
            ("/client", {"updated_from": later}),
            (visits, {**NOVEMBER, "updated_from": later}),
            (visits, {**NOVEMBER, "updatedAfter": later}),
        )
    ]
    assert counts == [0, 1, 0, 1]


async def test_more_than_a_month_at_once_is_refused_and_a_page_has_at_most_a_hundred_rows(
    phorest: PhorestSimulator, api: httpx.AsyncClient
) -> None:
    branch_id = phorest.put_appointment("a1")["branchId"]
    long = await api.get(f"{BASE}/branch/{branch_id}/appointment", params={**NOVEMBER, "to_date": "2026-12-31"})
    assert long.status_code == 400
    for n in range(101):
        phorest.put_client(f"p{n}")
    page = (await api.get(f"{BASE}/client", params={"size": "1000"})).json()
    assert (len(page["_embedded"]["clients"]), page["page"]["totalPages"]) == (100, 2)
    assert (await api.get(f"{BASE}/client")).json()["page"]["size"] == 20


async def test_staff_are_called_staffs(phorest: PhorestSimulator, api: httpx.AsyncClient) -> None:
    branch_id = phorest.put("staffs", "s1")["branchId"]
    assert list((await api.get(f"{BASE}/branch/{branch_id}/staff")).json()["_embedded"]) == ["staffs"]
