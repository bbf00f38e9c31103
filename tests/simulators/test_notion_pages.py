"""Pages, their properties, blocks and Markdown in the simulated Notion."""

import httpx
import pytest

from simulators.notion import NotionSimulator
from simulators.shapes import JsonObject
from tests.simulators.clients import NOTION_HEADERS, open_api
from tests.simulators.clock import HandClock
from tests.simulators.test_notion_access import code_of

NEWEST = {"Notion-Version": "2026-03-11"}


async def test_a_page_is_found_by_dashed_and_undashed_id(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    page = notion.put_page(values={"Name": "Ada Example", "Contact email": "ada@example.com", "Products and services": ["Website", "Care"]})
    for page_id in (page["id"], page["id"].replace("-", "")):
        found = (await notion_api.get(f"/v1/pages/{page_id}")).json()
        assert found["id"] == page["id"]
        assert found["properties"]["Name"]["title"][0]["plain_text"] == "Ada Example"
        assert found["properties"]["Contact email"] == {"id": "XGe%40", "type": "email", "email": "ada@example.com"}
        assert [one["name"] for one in found["properties"]["Products and services"]["multi_select"]] == ["Website", "Care"]
        assert found["properties"]["Slug"]["rich_text"] == []


async def test_a_page_can_be_fetched_with_some_properties_only(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    page = notion.put_page(values={"Name": "Ada"})
    response = await notion_api.get(f"/v1/pages/{page['id']}", params={"filter_properties": ["title", "XGe%40"]})
    assert set(response.json()["properties"]) == {"Name", "Contact email"}


async def test_missing_removed_and_unshared_pages_all_look_the_same(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    unshared, removed = notion.put_page(is_shared=False), notion.put_page(content=["hello"])
    notion.remove_page(removed["id"])
    for page_id in (unshared["id"], removed["id"], "00000000-0000-4000-8000-00000000000f"):
        for path in (f"/v1/pages/{page_id}", f"/v1/blocks/{page_id}/children"):
            assert code_of(await notion_api.get(path)) == (404, "object_not_found")
        assert code_of(await notion_api.patch(f"/v1/pages/{page_id}", json={})) == (404, "object_not_found")


async def test_an_id_that_is_no_uuid_is_a_validation_error(notion_api: httpx.AsyncClient) -> None:
    assert code_of(await notion_api.get("/v1/pages/nothing")) == (400, "validation_error")


async def test_a_page_in_the_trash_can_still_be_fetched(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    page = notion.put_page(values={"Name": "Ada"}, in_trash=True)
    found = (await notion_api.get(f"/v1/pages/{page['id']}")).json()
    assert (found["in_trash"], found["archived"]) == (True, True)


async def test_times_are_rounded_down_to_the_minute() -> None:
    clock = HandClock()
    simulator = NotionSimulator(clock=clock)
    page = simulator.put_page(values={"Name": "Ada"})
    clock.advance(29.7)
    async with open_api(simulator.app, NOTION_HEADERS) as client:
        same_minute = (await client.patch(f"/v1/pages/{page['id']}", json={"properties": {"Visits": {"number": 1}}})).json()
        clock.advance(1)
        next_minute = (await client.patch(f"/v1/pages/{page['id']}", json={"properties": {"Visits": {"number": 2}}})).json()
    assert page["created_time"] == page["last_edited_time"] == "2026-11-02T09:00:00.000Z"
    assert same_minute["last_edited_time"] == "2026-11-02T09:00:00.000Z"
    assert next_minute["last_edited_time"] == "2026-11-02T09:01:00.000Z"


async def test_properties_are_written_by_name_or_id_and_count_one_effect(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    page = notion.put_page(values={"Name": "Ada"})
    changed = await notion_api.patch(
        f"/v1/pages/{page['id']}",
        json={
            "properties": {
                "title": {"title": [{"text": {"content": "Ada Example"}}]},
                "Contact email": {"email": "ada@example.com"},
                "Stage": {"status": {"name": "Active"}},
                "Next visit": {"date": {"start": "2026-11-09"}},
                "VIP": {"checkbox": True},
            }
        },
    )
    properties = changed.json()["properties"]
    assert changed.status_code == 200
    assert properties["Name"]["title"][0]["plain_text"] == "Ada Example"
    assert properties["Contact email"]["email"] == "ada@example.com"
    assert properties["Stage"]["status"]["name"] == "Active"
    assert properties["Next visit"]["date"] == {"start": "2026-11-09", "end": None, "time_zone": None}
    assert notion.effects.count("page.update", page_id=page["id"]) == 1


@pytest.mark.parametrize(
    "properties",
    [
        {"No such": {"email": "a@example.com"}},
        {"Contact email": {"email": ""}},
        {"Contact email": {"phone_number": "1"}},
        {"Site": {"url": "x" * 2001}},
        {"Visits": {"number": "1"}},
        {"Visits": {"number": True}},
        {"VIP": {"checkbox": None}},
        {"Slug": {"rich_text": [{"text": {"content": "x" * 2001}}]}},
        {"Slug": {"rich_text": "x"}},
        {"Slug": {"rich_text": [{"text": "x"}]}},
        {"Stage": {"status": "Active"}},
        {"Products and services": {"multi_select": [{"name": str(number)} for number in range(101)]}},
        {"Next visit": {"date": {"start": "soon"}}},
        "x",
    ],
)
async def test_a_wrong_value_is_refused_and_nothing_is_written(
    notion: NotionSimulator, notion_api: httpx.AsyncClient, properties: JsonObject | str
) -> None:
    page = notion.put_page(values={"Name": "Ada"})
    both = {"Name": {"title": []}, **properties} if isinstance(properties, dict) else properties
    response = await notion_api.patch(f"/v1/pages/{page['id']}", json={"properties": both})
    assert code_of(response) == (400, "validation_error")
    assert (notion.state()["pages"][page["id"]], notion.effects.count()) == (page, 0)


async def test_null_clears_a_value(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    page = notion.put_page(values={"Contact email": "ada@example.com"})
    cleared = await notion_api.patch(f"/v1/pages/{page['id']}", json={"properties": {"Contact email": {"email": None}}})
    assert cleared.json()["properties"]["Contact email"]["email"] is None


async def test_archived_became_in_trash_in_the_newest_version(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    path = f"/v1/pages/{notion.put_page()['id']}"
    assert (await notion_api.patch(path, json={"archived": True})).json()["in_trash"] is True
    assert code_of(await notion_api.patch(path, json={"archived": False}, headers=NEWEST)) == (400, "validation_error")
    restored = (await notion_api.patch(path, json={"in_trash": False}, headers=NEWEST)).json()
    assert (restored["in_trash"], "archived" in restored) == (False, False)
    assert code_of(await notion_api.patch(path, json={"in_trash": "yes"})) == (400, "validation_error")


async def test_children_come_in_pages_and_nested(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    inner: list[str | JsonObject] = ["inner 1", "inner 2"]
    page = notion.put_page(content=["one", {"type": "bulleted_list_item", "text": "two", "children": inner}, "three"])
    path = f"/v1/blocks/{page['id']}/children"
    first = (await notion_api.get(path, params={"page_size": 2})).json()
    second = (await notion_api.get(path, params={"page_size": 2, "start_cursor": first["next_cursor"]})).json()
    one, two = first["results"]
    nested = (await notion_api.get(f"/v1/blocks/{two['id']}/children")).json()["results"]
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)
    assert one["paragraph"]["rich_text"][0]["plain_text"] == "one"
    assert second["results"][0]["paragraph"]["rich_text"][0]["plain_text"] == "three"
    assert (one["has_children"], two["has_children"]) == (False, True)
    assert [block["paragraph"]["rich_text"][0]["plain_text"] for block in nested] == ["inner 1", "inner 2"]
    assert nested[0]["parent"] == {"type": "block_id", "block_id": two["id"]}


async def test_blocks_of_an_unshared_page_are_not_found(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    page = notion.put_page(content=[{"type": "toggle", "text": "outer", "children": ["inner"]}])
    outer = next(iter(notion.state()["blocks"]))
    assert (await notion_api.get(f"/v1/blocks/{outer}/children")).status_code == 200
    notion.put_page(page["id"], is_shared=False)
    assert code_of(await notion_api.get(f"/v1/blocks/{outer}/children")) == (404, "object_not_found")


@pytest.mark.parametrize("page_size", ["0", "101", "many"])
async def test_a_wrong_page_size_is_refused(notion: NotionSimulator, notion_api: httpx.AsyncClient, page_size: str) -> None:
    page = notion.put_page()
    assert code_of(await notion_api.get(f"/v1/blocks/{page['id']}/children", params={"page_size": page_size})) == (400, "validation_error")


async def test_a_page_reads_as_markdown_in_the_newest_version_only(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    page = notion.put_page(
        content=[
            {"type": "heading_1", "text": "Ada"},
            "Prefers mornings",
            {"type": "bulleted_list_item", "text": "colour", "children": [{"type": "numbered_list_item", "text": "cut"}]},
            {"type": "to_do", "text": "call", "checked": True},
            {"type": "code", "text": "x = 1", "language": "python"},
            {"type": "divider"},
            {"type": "unsupported"},
        ]
    )
    path = f"/v1/pages/{page['id']}/markdown"
    assert code_of(await notion_api.get(path)) == (400, "validation_error")
    rendered = (await notion_api.get(path, headers=NEWEST)).json()
    assert rendered["markdown"] == "# Ada\nPrefers mornings\n- colour\n\t1. cut\n- [x] call\n```python\nx = 1\n```\n---"
    assert rendered["truncated"] is False
    assert len(rendered["unknown_block_ids"]) == 1


async def test_new_content_replaces_the_old(notion: NotionSimulator) -> None:
    page = notion.put_page(content=[{"type": "toggle", "text": "outer", "children": ["inner"]}])
    notion.put_page(page["id"], content=["new"])
    assert [block["paragraph"]["rich_text"][0]["plain_text"] for block in notion.state()["blocks"].values()] == ["new"]


async def test_long_text_is_stored_in_pieces(notion: NotionSimulator) -> None:
    page = notion.put_page(values={"Slug": "x" * 4500})
    assert [len(item["plain_text"]) for item in page["properties"]["Slug"]["rich_text"]] == [2000, 2000, 500]
