"""The simulated Notion against the official OpenAPI file, which is thin on answers, and against examples of answers."""

import json
from typing import Any

import httpx
import pytest

from simulators.notion import NotionSettings, NotionSimulator
from simulators.samples import DEMO_DATA_SOURCE_ID, DEMO_DATABASE_ID
from tests.simulators.clients import NOTION_HEADERS, open_api
from tests.simulators.openapi import Specification
from tests.specs import specs_path

QUERY = f"/v1/data_sources/{DEMO_DATA_SOURCE_ID}/query"
# Said by the simulator beyond the examples: a request id with every answer, `is_archived`, and times of a database.
MORE = {"request_id", "is_archived", "created_time", "last_edited_time"}


def example(name: str) -> Any:
    cases = json.loads(specs_path("notion/rest-response-examples.json").read_text())["cases"]
    return next(case["body"] for case in cases if case["name"] == name)


async def test_every_call_and_every_answer_is_as_specified(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    specification = Specification(specs_path("notion/notion-openapi.json"))
    page = notion.put_page(values={"Name": "Ada"}, content=["hello"])
    newest = {"Notion-Version": "2026-03-11"}
    email = {"properties": {"Contact email": {"email": "ada@example.com"}}, "in_trash": False}
    responses = [
        await notion_api.get("/v1/users/me"),
        await notion_api.get(f"/v1/pages/{page['id']}"),
        await notion_api.patch(f"/v1/pages/{page['id']}", json=email),
        await notion_api.get(f"/v1/pages/{page['id']}/markdown", headers=newest),
        await notion_api.get(f"/v1/blocks/{page['id']}/children"),
        await notion_api.get(f"/v1/data_sources/{DEMO_DATA_SOURCE_ID}"),
        await notion_api.post(QUERY, json={"page_size": 1, "sorts": [{"property": "Name", "direction": "ascending"}]}),
        await notion_api.get(f"/v1/databases/{DEMO_DATABASE_ID}"),
    ]
    assert [response.status_code for response in responses] == [200] * 8
    assert len({specification.check(response) for response in responses}) == 8


async def test_answers_have_the_members_of_the_examples(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    page = notion.put_page(values={"Name": "Ada Example", "Contact email": "ada@example.com"}, content=["hello"])
    answers = {
        "page": await notion_api.get(f"/v1/pages/{page['id']}"),
        "query/last-page": await notion_api.post(QUERY, json={}),
        "data_source": await notion_api.get(f"/v1/data_sources/{DEMO_DATA_SOURCE_ID}"),
        "database": await notion_api.get(f"/v1/databases/{DEMO_DATABASE_ID}"),
        "block_children": await notion_api.get(f"/v1/blocks/{page['id']}/children"),
    }
    for name, answer in answers.items():
        assert set(answer.json()) - MORE == set(example(name)) - MORE, name
    found, documented = answers["page"].json()["properties"], example("page")["properties"]
    assert found["Name"] == documented["Name"]
    assert set(found["Contact email"]) == set(documented["Email"])
    block, documented_block = answers["block_children"].json()["results"][0], example("block_children")["results"][0]
    assert (set(block), block["paragraph"]) == (set(documented_block), documented_block["paragraph"])


async def test_a_cut_off_list_says_so_in_the_words_of_the_example() -> None:
    simulator = NotionSimulator(NotionSettings(limit_rows=1))
    for name in ("Ada", "Ben"):
        simulator.put_page(values={"Name": name})
    async with open_api(simulator.app, NOTION_HEADERS) as client:
        answer = (await client.post(QUERY, json={})).json()
    assert answer["request_status"] == example("query/cut-off-at-10000-rows")["request_status"]


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "error/400-validation"),
        (401, "error/401"),
        (403, "error/403"),
        (404, "error/404-or-not-shared"),
        (409, "error/409"),
        (429, "error/429-connection"),
        (529, "error/529"),
    ],
)
async def test_errors_have_the_form_of_the_examples(notion: NotionSimulator, notion_api: httpx.AsyncClient, status: int, name: str) -> None:
    notion.faults.add("answer", status=status)
    said, documented = (await notion_api.get("/v1/users/me")).json(), example(name)
    assert set(said) == set(documented)
    assert (said["status"], said["code"]) == (documented["status"], documented["code"])
    assert set(said.get("additional_data", {})) == set(documented.get("additional_data", {}))
