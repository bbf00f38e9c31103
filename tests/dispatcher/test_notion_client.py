"""The Notion client: requests against the official file, values whole and plain, text bounded, refusals understood."""

import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr

from dispatcher.clients import notion as notion_module
from dispatcher.clients.answer import Answer
from dispatcher.clients.http import Http, Unlimited
from dispatcher.clients.notion import NotionClient
from dispatcher.clients.notion_errors import classify_notion
from dispatcher.clients.notion_models import read_page
from dispatcher.errors import Failed, Refused
from dispatcher.policy.ratelimit import notion_limits
from tests.dispatcher.openapi import OpenApi
from tests.specs import specs_path

BASE = "https://api.example.com"
PAGE_ID = "11111111-1111-4111-8111-111111111111"
SOURCE_ID = "dddddddd-dddd-4ddd-8ddd-dddddddddddd"
DATABASE_ID = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
SINCE = datetime(2026, 10, 5, 8, 59, tzinfo=UTC)

CALLS: dict[str, tuple[Callable[[NotionClient], Awaitable[object]], set[str]]] = {
    "whoami": (lambda notion: notion.whoami(), {"GET /v1/users/me"}),
    "get_page": (
        lambda notion: notion.get_page(PAGE_ID),
        {"GET /v1/pages/{page_id}", "GET /v1/pages/{page_id}/properties/{property_id}"},
    ),
    "get_page_text": (lambda notion: notion.get_page_text(PAGE_ID), {"GET /v1/blocks/{block_id}/children"}),
    "query_data_source": (
        lambda notion: notion.query_data_source(SOURCE_ID, edited_since=SINCE, cursor="c1"),
        {"POST /v1/data_sources/{data_source_id}/query"},
    ),
    "get_data_source": (lambda notion: notion.get_data_source(SOURCE_ID), {"GET /v1/data_sources/{data_source_id}"}),
    "resolve_data_source": (lambda notion: notion.resolve_data_source(DATABASE_ID), {"GET /v1/databases/{database_id}"}),
}


@asynccontextmanager
async def client() -> AsyncIterator[NotionClient]:
    async with Http(
        "notion", BASE, token=SecretStr("ntn_invented"), classify=classify_notion, budget=Unlimited(), read_limits=notion_limits
    ) as http:
        yield NotionClient(http)


def page(**properties: object) -> dict[str, Any]:
    return {
        "object": "page",
        "id": PAGE_ID,
        "created_time": "2026-10-01T08:15:00.000Z",
        "last_edited_time": "2026-10-05T09:01:00.000Z",
        "parent": {"type": "data_source_id", "data_source_id": SOURCE_ID, "database_id": DATABASE_ID},
        "in_trash": False,
        "properties": properties,
        "url": "https://www.example.com/Ada",
    }


def listed(*results: object, cursor: str | None = None, **more: object) -> dict[str, object]:
    return {"object": "list", "results": list(results), "has_more": cursor is not None, "next_cursor": cursor, **more}


def words(*pieces: str) -> list[dict[str, str]]:
    return [{"type": "text", "plain_text": piece} for piece in pieces]


def block(identifier: str, text: str, *, kind: str = "paragraph", children: bool = False) -> dict[str, object]:
    return {"object": "block", "id": identifier, "type": kind, "has_children": children, kind: {"rich_text": words(text)}}


def cut_relation() -> dict[str, object]:
    return {"id": "rl%241", "type": "relation", "relation": [{"id": f"r{n}"} for n in range(25)], "has_more": True}


def answer_everything() -> None:
    """Answers that fit every call, with a relation that came back cut."""
    respx.get(url__regex=r"/v1/pages/[^/]+/properties/").respond(200, json=listed({"type": "relation", "relation": {"id": "r0"}}))
    respx.get(url__regex=r"/v1/pages/[^/]+$").respond(200, json=page(Household=cut_relation()))
    respx.get(url__regex=r"/v1/users/me$").respond(200, json={"object": "user", "id": PAGE_ID, "type": "bot"})
    respx.get(url__regex=r"/v1/blocks/").respond(200, json=listed(block("b1", "hello")))
    respx.post(url__regex=r"/query$").respond(200, json=listed(page()))
    respx.get(url__regex=r"/v1/data_sources/").respond(200, json={"id": SOURCE_ID, "properties": {}})
    respx.get(url__regex=r"/v1/databases/").respond(200, json={"id": DATABASE_ID, "data_sources": [{"id": SOURCE_ID, "name": "Clients"}]})


def official_cases() -> dict[str, dict[str, Any]]:
    cases = json.loads(specs_path("notion/rest-response-examples.json").read_bytes())["cases"]
    return {case["name"]: case for case in cases}


def as_answer(case: dict[str, Any]) -> Answer:
    body, headers = case.get("body"), case.get("headers", {})
    return Answer("notion", case["status"], headers, body, body is not None, notion_limits(headers, body, now=SINCE))


@pytest.mark.parametrize("method", CALLS)
@respx.mock
async def test_each_request_is_as_the_official_file_wants_it(method: str) -> None:
    call, operations = CALLS[method]
    answer_everything()
    async with client() as notion:
        await call(notion)
    # The file knows only sorts by property; the SDK's types and the reference know those by timestamp too.
    spec = OpenApi(specs_path("notion/notion-openapi.json"), unknown_to_it=("$.sorts",))
    assert {spec.check(recorded.request) for recorded in respx.calls} == operations


def test_no_method_that_calls_escapes_the_check() -> None:
    calling = {name for name, member in inspect.getmembers(NotionClient, inspect.iscoroutinefunction) if not name.startswith("_")}
    assert calling == set(CALLS)


@pytest.mark.parametrize("method", CALLS)
@respx.mock
async def test_each_request_carries_the_version_and_the_token(method: str) -> None:
    answer_everything()
    async with client() as notion:
        await CALLS[method][0](notion)
    for recorded in respx.calls:
        assert recorded.request.headers["notion-version"] == "2026-03-11"
        assert recorded.request.headers["authorization"] == "Bearer ntn_invented"


@respx.mock
async def test_a_value_cut_at_25_references_is_fetched_whole_by_its_encoded_id() -> None:
    respx.get(f"{BASE}/v1/pages/{PAGE_ID}").respond(200, json=page(Household=cut_relation()))
    more = respx.get(url__regex=r"/properties/").mock(
        side_effect=[
            httpx.Response(200, json=listed(*({"type": "relation", "relation": {"id": f"r{n}"}} for n in range(100)), cursor="c1")),
            httpx.Response(200, json=listed({"type": "relation", "relation": {"id": "r100"}})),
        ]
    )
    async with client() as notion:
        found = await notion.get_page(PAGE_ID)
    assert found.properties["rl%241"].value == tuple(f"r{n}" for n in range(101))
    # The id came encoded and goes out encoded once: a second time, it would name another property.
    assert [recorded.request.url.raw_path.decode() for recorded in more.calls] == [
        f"/v1/pages/{PAGE_ID}/properties/rl%241?page_size=100",
        f"/v1/pages/{PAGE_ID}/properties/rl%241?page_size=100&start_cursor=c1",
    ]


@pytest.mark.parametrize(
    ("kind", "cut", "item", "value"),
    [
        ("title", words(*"a" * 25), {"type": "title", "title": words("b")[0]}, "b"),
        ("rich_text", words(*"a" * 25), {"type": "rich_text", "rich_text": words("b")[0]}, "b"),
        ("people", [{"id": f"u{n}"} for n in range(25)], {"type": "people", "people": {"object": "user", "id": "u"}}, ("u",)),
    ],
)
@respx.mock
async def test_every_type_that_is_cut_is_fetched_whole(kind: str, cut: object, item: object, value: object) -> None:
    respx.get(url__regex=r"/properties/").respond(200, json=listed(item))
    respx.get(url__regex=r"/v1/pages/[^/]+$").respond(200, json=page(X={"id": "x", "type": kind, kind: cut}))
    async with client() as notion:
        assert (await notion.get_page(PAGE_ID)).properties["x"].value == value


@respx.mock
async def test_a_value_that_is_not_cut_costs_no_call() -> None:
    short = {"id": "rl", "type": "relation", "relation": [{"id": "r"}], "has_more": False}
    respx.get(url__regex=r"/v1/pages/[^/]+$").respond(200, json=page(Household=short, Many={"id": "t", "type": "multi_select"}))
    async with client() as notion:
        await notion.get_page(PAGE_ID)
    assert respx.calls.call_count == 1


@respx.mock
async def test_a_hostile_property_id_stays_one_segment_of_the_path() -> None:
    hostile = {**cut_relation(), "id": "..%2F..%2Fusers?x#y"}
    respx.get(f"{BASE}/v1/pages/{PAGE_ID}").respond(200, json=page(Household=hostile))
    respx.get(url__regex=r"/properties/").respond(200, json=listed())
    async with client() as notion:
        await notion.get_page(PAGE_ID)
    path = respx.calls.last.request.url.raw_path.decode().partition("?")[0]
    assert path == f"/v1/pages/{PAGE_ID}/properties/..%2F..%2Fusers%3Fx%23y"


@respx.mock
async def test_a_list_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notion_module, "MAX_PAGES", 3)
    respx.get(url__regex=r"/properties/").respond(200, json=listed(cursor="again"))
    respx.get(url__regex=r"/v1/pages/[^/]+$").respond(200, json=page(Household=cut_relation()))
    async with client() as notion:
        with pytest.raises(Refused, match="more than 300 references"):
            await notion.get_page(PAGE_ID)


@pytest.mark.parametrize("body", [None, [], {}, {**page(), "id": 7}, {**page(), "last_edited_time": "yesterday"}])
@respx.mock
async def test_what_is_no_page_fails(body: object) -> None:
    respx.route().respond(200, json=body)
    async with client() as notion:
        with pytest.raises(Failed, match="no page"):
            await notion.get_page(PAGE_ID)


@pytest.mark.parametrize("trash", [{"in_trash": True}, {"in_trash": False, "archived": True}])
def test_a_page_in_the_trash_says_so(trash: dict[str, bool]) -> None:
    assert read_page({**page(), **trash}, destination="notion").in_trash


@respx.mock
async def test_a_query_asks_for_what_was_edited_since_inclusively() -> None:
    answer_everything()
    async with client() as notion:
        first = await notion.query_data_source("d" * 8 + "dddd4ddd8ddd" + "d" * 12, edited_since=SINCE)
    request = respx.calls.last.request
    assert request.url.path == f"/v1/data_sources/{SOURCE_ID}/query"
    assert json.loads(request.content) == {
        "page_size": 100,
        "sorts": [{"timestamp": "last_edited_time", "direction": "ascending"}],
        "filter": {"timestamp": "last_edited_time", "last_edited_time": {"on_or_after": "2026-10-05T08:59:00.000Z"}},
    }
    assert ([found.id for found in first.pages], first.next_cursor, first.incomplete) == ([PAGE_ID], None, False)


CUT_OFF = {"request_status": {"type": "incomplete", "incomplete_reason": "query_result_limit_reached"}}


@pytest.mark.parametrize(
    ("body", "cursor", "incomplete"),
    [
        (listed(page(), cursor="c1"), "c1", False),
        (listed(page()), None, False),
        (listed(page()) | CUT_OFF, None, True),
    ],
)
@respx.mock
async def test_a_query_that_was_cut_off_is_not_taken_for_complete(body: object, cursor: str | None, incomplete: bool) -> None:
    respx.post(url__regex=r"/query$").respond(200, json=body)
    async with client() as notion:
        found = await notion.query_data_source(SOURCE_ID, cursor="c0")
    assert json.loads(respx.calls.last.request.content)["start_cursor"] == "c0"
    assert (len(found.pages), found.next_cursor, found.incomplete) == (1, cursor, incomplete)


@pytest.mark.parametrize("name", ["query/first-page", "query/last-page", "query/cut-off-at-10000-rows"])
@respx.mock
async def test_the_example_queries_are_read(name: str) -> None:
    body = official_cases()[name]["body"]
    respx.post(url__regex=r"/query$").respond(200, json=body)
    async with client() as notion:
        found = await notion.query_data_source(SOURCE_ID)
    assert (found.next_cursor, found.incomplete) == (body["next_cursor"], "request_status" in body)


@pytest.mark.parametrize("body", [{}, {"results": None}, {"results": [], "has_more": True, "next_cursor": None}, []])
@respx.mock
async def test_a_query_that_does_not_say_what_or_where_fails_and_does_not_end(body: object) -> None:
    respx.route().respond(200, json=body)
    async with client() as notion:
        with pytest.raises(Failed):
            await notion.query_data_source(SOURCE_ID)


@respx.mock
async def test_data_sources_among_the_rows_of_a_wiki_are_left_out() -> None:
    respx.route().respond(200, json=listed({"object": "data_source", "id": SOURCE_ID}, page()))
    async with client() as notion:
        assert len((await notion.query_data_source(SOURCE_ID)).pages) == 1


@respx.mock
async def test_a_database_id_is_resolved_once() -> None:
    answer_everything()
    async with client() as notion:
        assert await notion.resolve_data_source(DATABASE_ID) == SOURCE_ID
        assert await notion.resolve_data_source(DATABASE_ID) == SOURCE_ID
    assert respx.calls.call_count == 1


@respx.mock
async def test_a_data_source_id_is_accepted_where_a_database_id_is_meant() -> None:
    respx.get(url__regex=r"/v1/databases/").respond(404, json={"code": "object_not_found", "message": "no"})
    respx.get(url__regex=r"/v1/data_sources/").respond(200, json={"id": SOURCE_ID, "properties": {}})
    async with client() as notion:
        assert await notion.resolve_data_source(SOURCE_ID) == SOURCE_ID


@pytest.mark.parametrize("sources", [[], [{"id": SOURCE_ID, "name": "Clients"}, {"id": PAGE_ID, "name": "Leads"}]])
@respx.mock
async def test_a_database_with_several_or_no_data_sources_asks_which(sources: list[dict[str, str]]) -> None:
    respx.route().respond(200, json={"id": DATABASE_ID, "data_sources": sources})
    async with client() as notion:
        with pytest.raises(Refused, match="set the id of one") as caught:
            await notion.resolve_data_source(DATABASE_ID)
    assert caught.value.details == tuple(f"{source['name']}: {source['id']}" for source in sources)


def serve_blocks(**children: list[object]) -> None:
    """A page whose blocks are those of `page`; a list of lists comes in as many answers."""

    def serve(request: httpx.Request) -> httpx.Response:
        parent = request.url.path.split("/")[3]
        parts = children["page" if parent == PAGE_ID else parent]
        part = int(request.url.params.get("start_cursor", "0"))
        paged = parts if all(isinstance(some, list) for some in parts) else [parts]
        results = paged[part]
        assert isinstance(results, list)
        return httpx.Response(200, json=listed(*results, cursor=str(part + 1) if part + 1 < len(paged) else None))

    respx.get(url__regex=r"/v1/blocks/").mock(side_effect=serve)


@respx.mock
async def test_page_text_is_in_reading_order_with_nested_blocks_indented() -> None:
    serve_blocks(
        page=[[block("a", "one"), block("b", "two", kind="toggle", children=True)], [block("c", "five", kind="heading_1")]],
        b=[block("d", "three", children=True)],
        d=[block("e", "four")],
    )
    async with client() as notion:
        found = await notion.get_page_text(PAGE_ID)
    assert found.text == "one\n- two\n  three\n    four\nfive"
    assert not found.truncated


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ({"max_calls": 1}, "one\ntwo"),
        ({"max_calls": 2}, "one\ntwo\n  three"),
        ({"max_depth": 1}, "one\ntwo\n  three"),
        ({"max_depth": 0}, "one\ntwo"),
        ({"max_chars": 5}, "one\nt"),
        ({"max_chars": 0}, ""),
    ],
)
@respx.mock
async def test_page_text_ends_at_the_first_bound_and_says_so(bounds: dict[str, int], text: str) -> None:
    serve_blocks(
        page=[block("a", "one"), block("b", "two", children=True), block("z", "last")],
        b=[block("c", "three", children=True)],
        c=[block("d", "four")],
    )
    async with client() as notion:
        found = await notion.get_page_text(PAGE_ID, **bounds)
    assert (found.text, found.truncated) == (text, True)
    assert respx.calls.call_count <= bounds.get("max_calls", 40)


@respx.mock
async def test_blocks_that_contain_themselves_end() -> None:
    respx.get(url__regex=r"/v1/blocks/").respond(200, json=listed(block("loop", "x", children=True), cursor="again"))
    async with client() as notion:
        found = await notion.get_page_text(PAGE_ID, max_calls=7, max_depth=100)
    assert found.truncated
    assert respx.calls.call_count == 7


@respx.mock
async def test_sub_pages_are_named_but_not_read() -> None:
    sub_page = {"id": "s", "type": "child_page", "has_children": True, "child_page": {"title": "Private"}}
    serve_blocks(page=[block("a", "one"), sub_page])
    async with client() as notion:
        assert (await notion.get_page_text(PAGE_ID)).text == "one\nPrivate"
    assert respx.calls.call_count == 1
