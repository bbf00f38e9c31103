"""Who may call the simulated Notion, in which version, how often, and how it refuses."""

import httpx
import pytest

from simulators.notion import NotionSettings, NotionSimulator
from simulators.samples import DEMO_DATA_SOURCE_ID, DEMO_DATABASE_ID
from tests.simulators.clients import NOTION_HEADERS, open_api
from tests.simulators.clock import HandClock

ME = "/v1/users/me"


def code_of(response: httpx.Response) -> tuple[int, str]:
    """Checks the form that every error has on the way."""
    body = response.json()
    assert body["object"] == "error"
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["x-notion-request-id"]
    return response.status_code, body["code"]


async def test_the_bot_knows_itself(notion_api: httpx.AsyncClient) -> None:
    response = await notion_api.get(ME)
    assert (response.status_code, response.json()["object"], response.json()["type"]) == (200, "user", "bot")
    assert response.headers["x-notion-request-id"]


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Basic abc"])
async def test_a_wrong_token_is_unauthorized(notion_api: httpx.AsyncClient, authorization: str) -> None:
    response = await notion_api.get(ME, headers={"Authorization": authorization})
    assert code_of(response) == (401, "unauthorized")
    assert response.json()["message"] == "API token is invalid."


async def test_a_missing_version_header_is_400_missing_version(notion: NotionSimulator) -> None:
    async with open_api(notion.app, {"Authorization": NOTION_HEADERS["Authorization"]}) as client:
        assert code_of(await client.get(ME)) == (400, "missing_version")


async def test_an_unknown_version_is_refused(notion_api: httpx.AsyncClient) -> None:
    assert code_of(await notion_api.get(ME, headers={"Notion-Version": "2020-01-01"})) == (400, "validation_error")


async def test_an_unknown_path_is_an_invalid_request_url(notion_api: httpx.AsyncClient) -> None:
    assert code_of(await notion_api.get("/v1/nowhere")) == (400, "invalid_request_url")


async def test_data_sources_do_not_exist_for_an_old_version(notion_api: httpx.AsyncClient) -> None:
    response = await notion_api.get(f"/v1/data_sources/{DEMO_DATA_SOURCE_ID}", headers={"Notion-Version": "2022-06-28"})
    assert code_of(response) == (400, "invalid_request_url")


async def test_a_database_lists_its_sources_and_once_showed_their_properties(
    notion: NotionSimulator, notion_api: httpx.AsyncClient
) -> None:
    path, old = f"/v1/databases/{DEMO_DATABASE_ID}", {"Notion-Version": "2022-06-28"}
    now = (await notion_api.get(path)).json()
    before = (await notion_api.get(path, headers=old)).json()
    assert now["data_sources"] == [{"id": DEMO_DATA_SOURCE_ID, "name": "Clients"}]
    assert "properties" not in now
    assert before["properties"]["Contact email"]["id"] == "XGe%40"
    notion.store.databases[DEMO_DATABASE_ID]["data_sources"].append({"id": "second", "name": "Second"})
    assert code_of(await notion_api.get(path, headers=old)) == (400, "validation_error")


async def test_the_ids_of_a_database_and_its_source_are_not_interchangeable(notion_api: httpx.AsyncClient) -> None:
    assert code_of(await notion_api.get(f"/v1/data_sources/{DEMO_DATABASE_ID}")) == (404, "object_not_found")
    assert code_of(await notion_api.get(f"/v1/databases/{DEMO_DATA_SOURCE_ID}")) == (404, "object_not_found")
    assert (await notion_api.get(f"/v1/data_sources/{DEMO_DATA_SOURCE_ID}")).json()["parent"]["database_id"] == DEMO_DATABASE_ID


async def test_beyond_the_minutes_budget_comes_429_with_the_seconds_to_wait() -> None:
    clock = HandClock()
    simulator = NotionSimulator(NotionSettings(requests_per_minute=2), clock=clock)
    async with open_api(simulator.app, NOTION_HEADERS) as client:
        assert [(await client.get(ME)).status_code for _ in range(2)] == [200, 200]
        clock.advance(48)
        limited = await client.get(ME)
        clock.advance(12)
        afterwards = await client.get(ME)
    assert code_of(limited) == (429, "rate_limited")
    assert limited.headers["Retry-After"] == "12"
    assert limited.json()["additional_data"] == {"rate_limit_reason": "public_api_request_rate_limit", "retry_after": "12"}
    assert afterwards.status_code == 200


@pytest.mark.parametrize(("content", "code"), [(b"{", "invalid_json"), (b"\xff", "invalid_json"), (b"[]", "validation_error")])
async def test_a_body_that_is_no_json_object_is_refused(notion_api: httpx.AsyncClient, content: bytes, code: str) -> None:
    assert code_of(await notion_api.post(f"/v1/data_sources/{DEMO_DATA_SOURCE_ID}/query", content=content)) == (400, code)
