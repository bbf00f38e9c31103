"""`POST /contacts/search` of the simulated GHL: the way to what changed since."""

import httpx
import pytest

from simulators.ghl import GhlSimulator
from simulators.samples import DEMO_LOCATION_ID
from simulators.shapes import JsonObject
from tests.simulators.clients import GHL_HEADERS, open_api
from tests.simulators.clock import HandClock

BY_UPDATE = [{"field": "dateUpdated", "direction": "asc"}]


def asking(**body: object) -> JsonObject:
    return {"locationId": DEMO_LOCATION_ID, "pageLimit": 100, **body}


def updated(**bounds: object) -> JsonObject:
    return {"field": "dateUpdated", "operator": "range", "value": bounds}


async def found(client: httpx.AsyncClient, **body: object) -> list[str]:
    response = await client.post("/contacts/search", json=asking(**body))
    assert response.status_code == 200, response.text
    return [contact["firstName"] for contact in response.json()["contacts"]]


@pytest.fixture
def people() -> GhlSimulator:
    """Five contacts, changed a second apart."""
    clock = HandClock()
    simulator = GhlSimulator(clock=clock)
    for number, name in enumerate(("Ada", "Ben", "Cleo", "Dan", "Eve")):
        simulator.put_contact(firstName=name, email=f"{name.lower()}@example.com", tags=["even" if number % 2 == 0 else "odd"])
        clock.advance(1)
    return simulator


async def test_a_range_on_date_updated_finds_what_changed_since(people: GhlSimulator) -> None:
    async with open_api(people.app, GHL_HEADERS) as client:
        since = "2026-11-02T09:00:32.250Z"
        assert await found(client, sort=BY_UPDATE, filters=[updated(gte=since)]) == ["Cleo", "Dan", "Eve"]
        assert await found(client, sort=BY_UPDATE, filters=[updated(gt=since, lte="2026-11-02T09:00:33.250Z")]) == ["Dan"]
        assert await found(client, sort=BY_UPDATE, filters=[updated(lt=1793610030250 + 1)]) == ["Ada"]


async def test_search_after_walks_through_all_without_overlap(people: GhlSimulator) -> None:
    names: list[str] = []
    async with open_api(people.app, GHL_HEADERS) as client:
        body = asking(sort=BY_UPDATE, pageLimit=2)
        while contacts := (await client.post("/contacts/search", json=body)).json()["contacts"]:
            names += [contact["firstName"] for contact in contacts]
            body = {**body, "searchAfter": contacts[-1]["searchAfter"]}
    assert names == ["Ada", "Ben", "Cleo", "Dan", "Eve"]


async def test_a_contact_changed_during_a_walk_is_seen_again_never_lost(people: GhlSimulator) -> None:
    ada = next(iter(people.store.contacts))
    async with open_api(people.app, GHL_HEADERS) as client:
        first = (await client.post("/contacts/search", json=asking(sort=BY_UPDATE, pageLimit=3))).json()["contacts"]
        people.put_contact(ada, city="Dublin")
        rest = await found(client, sort=BY_UPDATE, searchAfter=first[-1]["searchAfter"])
    assert rest == ["Dan", "Eve", "Ada"]


async def test_page_numbers_work_and_the_total_counts_all(people: GhlSimulator) -> None:
    async with open_api(people.app, GHL_HEADERS) as client:
        assert await found(client, sort=BY_UPDATE, pageLimit=2, page=3) == ["Eve"]
        assert (await client.post("/contacts/search", json=asking(pageLimit=1))).json()["total"] == 5


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([{"field": "email", "operator": "eq", "value": "BEN@example.com"}], ["Ben"]),
        ([{"field": "tags", "operator": "eq", "value": "odd"}], ["Ben", "Dan"]),
        ([{"field": "tags", "operator": "contains", "value": ["odd"]}], ["Ben", "Dan"]),
        ([{"field": "tags", "operator": "not_contains", "value": ["odd"]}], ["Ada", "Cleo", "Eve"]),
        ([{"field": "phone", "operator": "exists"}], []),
        ([{"field": "phone", "operator": "not_exists"}, {"field": "firstNameLowerCase", "operator": "eq", "value": "eve"}], ["Eve"]),
        (
            [
                {
                    "group": "OR",
                    "filters": [
                        {"field": "firstNameLowerCase", "operator": "eq", "value": "ada"},
                        {"field": "firstNameLowerCase", "operator": "contains", "value": "cle"},
                    ],
                }
            ],
            ["Ada", "Cleo"],
        ),
        (
            [{"group": "AND", "filters": [{"field": "email", "operator": "not_eq", "value": "ada@example.com"}]}],
            ["Ben", "Cleo", "Dan", "Eve"],
        ),
    ],
)
async def test_filters_choose_contacts(people: GhlSimulator, filters: list[JsonObject], names: list[str]) -> None:
    async with open_api(people.app, GHL_HEADERS) as client:
        assert await found(client, sort=BY_UPDATE, filters=filters) == names


async def test_a_custom_field_can_be_searched(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    field_id = ghl.store.custom_fields[0]["id"]
    ghl.put_contact(firstName="Ada", customFields=[{"id": field_id, "value": "confirmed"}])
    ghl.put_contact(firstName="Ben")
    assert await found(ghl_api, filters=[{"field": f"customFields.{field_id}", "operator": "eq", "value": "confirmed"}]) == ["Ada"]


async def test_a_found_contact_has_another_shape_than_a_fetched_one(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    contact = ghl.put_contact(name="Ada Example", address1="1 Example Street", dateOfBirth="1990-09-25")
    shown = (await ghl_api.post("/contacts/search", json=asking())).json()["contacts"][0]
    assert (shown["contactName"], shown["address"], shown["dateOfBirth"]) == ("Ada Example", "1 Example Street", 654220800000)
    assert "address1" not in shown
    assert shown["searchAfter"][-1] == contact["id"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"pageLimit": None}, 422, "pageLimit should not be empty"),
        ({"locationId": None}, 422, "locationId should not be empty"),
        ({"pageLimit": 501}, 422, "pageLimit must not be greater than 500"),
        ({"pageLimit": 0}, 422, "pageLimit must not be less than 1"),
        ({"page": 1, "searchAfter": [1, "x"]}, 422, "page and searchAfter cannot be used together"),
        ({"page": 101}, 422, "page reaches at most 10000 records, use searchAfter"),
        ({"query": "x" * 76}, 422, "query must be shorter than or equal to 75 characters"),
        ({"sort": BY_UPDATE * 3}, 422, "sort must contain no more than 2 elements"),
        ({"searchAfter": ["x"]}, 422, "searchAfter must hold the sort values and the id of the last contact"),
        ({"filters": ["x"]}, 422, "filters must be an array of objects"),
        ({"updatedAt": "x"}, 422, "property updatedAt should not exist"),
        ({"sort": [{"field": "date_updated"}]}, 400, "Invalid field date_updated"),
        ({"filters": [{"field": "contact_name", "operator": "eq", "value": "x"}]}, 400, "Invalid field contact_name"),
        (
            {"filters": [{"field": "dateUpdated", "operator": "gte", "value": "2026-11-02"}]},
            422,
            "Invalid Operator gte passed for field date_updated",
        ),
        ({"filters": [updated(since="2026-11-02")]}, 422, "Invalid value passed for field date_updated"),
        ({"filters": [updated(gte="yesterday")]}, 422, "Invalid value passed for field date_updated"),
        (
            {"filters": [{"field": "phone", "operator": "contains", "value": "55"}]},
            422,
            "Invalid value passed for field phone: at least 3 characters",
        ),
    ],
)
async def test_a_wrong_search_is_refused(people: GhlSimulator, body: JsonObject, status: int, message: str) -> None:
    async with open_api(people.app, GHL_HEADERS) as client:
        response = await client.post("/contacts/search", json=asking(**body))
    said = response.json()["message"]
    assert response.status_code == status
    assert message in (said if isinstance(said, list) else [said])
