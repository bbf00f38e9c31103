"""Querying a data source of the simulated Notion: what changed since, in which order, page by page."""

import httpx
import pytest

from simulators.notion import NotionSettings, NotionSimulator
from simulators.samples import DEMO_DATA_SOURCE_ID
from simulators.shapes import JsonObject
from tests.simulators.clients import NOTION_HEADERS, open_api
from tests.simulators.clock import HandClock
from tests.simulators.test_notion_access import code_of

QUERY = f"/v1/data_sources/{DEMO_DATA_SOURCE_ID}/query"
OLDEST_FIRST = [{"timestamp": "last_edited_time", "direction": "ascending"}]


def edited(**condition: str) -> JsonObject:
    return {"timestamp": "last_edited_time", "last_edited_time": condition}


def clients(settings: NotionSettings | None = None) -> NotionSimulator:
    """Four clients, edited a minute apart: at 9:00, 9:01, 9:02 and 9:03."""
    clock = HandClock()
    simulator = NotionSimulator(settings, clock=clock)
    for name in ("Ada", "Ben", "Cleo", "Dan"):
        simulator.put_page(values={"Name": name, "Slug": name.lower()})
        clock.advance(60)
    return simulator


async def names(client: httpx.AsyncClient, **body: object) -> list[str]:
    response = await client.post(QUERY, json=body)
    assert response.status_code == 200, response.text
    return [page["properties"]["Name"]["title"][0]["plain_text"] for page in response.json()["results"]]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"on_or_after": "2026-11-02T09:01:00.000Z"}, ["Ben", "Cleo", "Dan"]),
        ({"after": "2026-11-02T09:01:00.000Z"}, ["Cleo", "Dan"]),
        ({"before": "2026-11-02T10:01:00.000+01:00"}, ["Ada"]),
        ({"on_or_before": "2026-11-02T09:01:00.000Z"}, ["Ada", "Ben"]),
        ({"equals": "2026-11-02T09:02:00.000Z"}, ["Cleo"]),
        ({"on_or_after": "2026-11-02"}, ["Ada", "Ben", "Cleo", "Dan"]),
        ({"after": "2026-11-02"}, []),
    ],
)
async def test_a_timestamp_filter_finds_what_changed(condition: dict[str, str], found: list[str]) -> None:
    async with open_api(clients().app, NOTION_HEADERS) as client:
        assert await names(client, sorts=OLDEST_FIRST, filter=edited(**condition)) == found


async def test_a_change_is_missed_by_after_but_not_by_on_or_after_within_one_minute() -> None:
    clock = HandClock()
    simulator = NotionSimulator(clock=clock)
    watermark = simulator.put_page(values={"Name": "Ada"})["last_edited_time"]
    clock.advance(5)
    simulator.put_page(values={"Name": "Ben"})
    async with open_api(simulator.app, NOTION_HEADERS) as client:
        assert await names(client, filter=edited(after=watermark)) == []
        assert "Ben" in await names(client, filter=edited(on_or_after=watermark))


async def test_filters_combine() -> None:
    by_slug = [{"property": "Slug", "rich_text": {"equals": slug}} for slug in ("ada", "dan")]
    async with open_api(clients().app, NOTION_HEADERS) as client:
        assert await names(client, sorts=OLDEST_FIRST, filter={"or": by_slug}) == ["Ada", "Dan"]
        both = {"and": [edited(on_or_after="2026-11-02T09:01:00Z"), {"or": by_slug}]}
        assert await names(client, filter=both) == ["Dan"]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"property": "Contact email", "email": {"is_empty": True}}, 4),
        ({"property": "XGe%40", "email": {"is_not_empty": True}}, 0),
        ({"property": "Name", "title": {"contains": "le"}}, 1),
    ],
)
async def test_a_row_can_be_looked_up_by_a_property(condition: JsonObject, found: int) -> None:
    async with open_api(clients().app, NOTION_HEADERS) as client:
        assert len(await names(client, filter=condition)) == found


async def test_sorts_by_time_and_by_property() -> None:
    async with open_api(clients().app, NOTION_HEADERS) as client:
        assert await names(client, sorts=[{"timestamp": "created_time", "direction": "descending"}]) == ["Dan", "Cleo", "Ben", "Ada"]
        assert await names(client, sorts=[{"property": "Slug", "direction": "ascending"}]) == ["Ada", "Ben", "Cleo", "Dan"]


async def test_cursors_lead_through_all_rows() -> None:
    async with open_api(clients().app, NOTION_HEADERS) as client:
        body: JsonObject = {"sorts": OLDEST_FIRST, "page_size": 3}
        first = (await client.post(QUERY, json=body)).json()
        assert (len(first["results"]), first["has_more"]) == (3, True)
        assert await names(client, **body, start_cursor=first["next_cursor"]) == ["Dan"]


async def test_a_cursor_of_a_row_that_vanished_is_refused() -> None:
    simulator = clients()
    async with open_api(simulator.app, NOTION_HEADERS) as client:
        cursor = (await client.post(QUERY, json={"sorts": OLDEST_FIRST, "page_size": 3})).json()["next_cursor"]
        simulator.put_page(cursor, in_trash=True)
        assert code_of(await client.post(QUERY, json={"sorts": OLDEST_FIRST, "start_cursor": cursor})) == (400, "validation_error")


async def test_trashed_and_unshared_rows_are_not_listed() -> None:
    simulator = clients()
    ada, ben, *_ = simulator.store.pages
    simulator.put_page(ada, in_trash=True)
    simulator.put_page(ben, is_shared=False)
    async with open_api(simulator.app, NOTION_HEADERS) as client:
        assert await names(client, sorts=[{"timestamp": "created_time", "direction": "ascending"}]) == ["Cleo", "Dan"]


async def test_rows_beyond_the_limit_are_cut_off_with_has_more_false() -> None:
    async with open_api(clients(NotionSettings(limit_rows=3)).app, NOTION_HEADERS) as client:
        first = (await client.post(QUERY, json={"page_size": 2})).json()
        last = (await client.post(QUERY, json={"page_size": 2, "start_cursor": first["next_cursor"]})).json()
    assert (first["has_more"], "request_status" in first) == (True, False)
    assert (len(last["results"]), last["has_more"], last["next_cursor"]) == (1, False, None)
    assert last["request_status"] == {"type": "incomplete", "incomplete_reason": "query_result_limit_reached"}


@pytest.mark.parametrize(
    "body",
    [
        {"page_size": 101},
        {"page_size": "x"},
        {"start_cursor": None},
        {"start_cursor": "unknown"},
        {"limit": 10},
        {"filter": "x"},
        {"filter": edited(past_week="")},
        {"filter": edited(after="yesterday")},
        {"filter": {**edited(after="2026-11-02"), "property": "Name"}},
        {"filter": {"timestamp": "edited_time", "edited_time": {"after": "2026-11-02"}}},
        {"filter": {"and": [{"or": [{"and": [edited(after="2026-11-02")]}]}]}},
        {"filter": {"property": "No such", "email": {"is_empty": True}}},
        {"filter": {"property": "Slug", "email": {"is_empty": True}}},
        {"filter": {"property": "Slug", "rich_text": {"starts_with": "x"}}},
        {"sorts": [{"timestamp": "last_edited_time"}]},
        {"sorts": [{"direction": "ascending"}]},
        {"sorts": "x"},
    ],
)
async def test_a_wrong_query_is_a_validation_error(body: JsonObject) -> None:
    async with open_api(clients().app, NOTION_HEADERS) as client:
        assert code_of(await client.post(QUERY, json=body)) == (400, "validation_error")
