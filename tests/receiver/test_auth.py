"""Who may use the operators' API, and what everybody else is told."""

from typing import Any

import httpx
import pytest

from outbox.testing import Postroom
from receiver.api.operation import Operation
from receiver.api.table import build_table
from receiver.auth import WRONG_BURST, Gate
from receiver.config import Role, read_admin_tokens
from receiver.errors import Problem
from tests.receiver.running import AS_OPERATOR, AS_VIEWER, OPERATOR_TOKEN, UNUSED_DSN, VIEWER_TOKEN, settings, started

ASKING = {"/api/find"}  # a question by POST, so that what is asked for stands in no address
GUARDED = [operation for operation in build_table() if operation.role is not None]
IDS = {"{id}": "1", "{name}": "ghl", "{source}": "ghl"}


def address(path: str) -> str:
    for name, value in IDS.items():
        path = path.replace(name, value)
    return path


@pytest.mark.parametrize("operation", GUARDED, ids=lambda one: f"{one.method} {one.path}")
async def test_no_guarded_route_answers_without_a_token(operation: Operation[Any, Any]) -> None:
    async with started(UNUSED_DSN) as talk:
        answer = await talk.client.request(operation.method, address(operation.path))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="postroom"')


@pytest.mark.parametrize("operation", [one for one in GUARDED if one.role is Role.OPERATOR], ids=lambda one: f"{one.method} {one.path}")
async def test_a_viewer_may_not_act(operation: Operation[Any, Any]) -> None:
    async with started(UNUSED_DSN) as talk:
        answer = await talk.client.request(operation.method, address(operation.path), headers=AS_VIEWER)
    assert answer.status_code == 403
    assert "operator" in answer.json()["detail"]


def test_every_route_that_acts_needs_an_operator() -> None:
    acting = [operation for operation in GUARDED if operation.method != "GET" and operation.path not in ASKING]
    assert all(operation.role is Role.OPERATOR for operation in acting)


async def test_without_any_token_the_api_says_which_variable_to_set() -> None:
    async with started(UNUSED_DSN, settings(admin_tokens="")) as talk:
        answers = [await talk.client.get("/api/events", headers=headers) for headers in ({}, AS_OPERATOR)]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert all("POSTROOM_ADMIN_TOKENS" in answer.json()["detail"] for answer in answers)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {VIEWER_TOKEN}",
        VIEWER_TOKEN,
        f"Bearer {VIEWER_TOKEN}x",
        f"Bearer x{VIEWER_TOKEN}",
        "Bearer \xff\xfe",
    ],
)
async def test_a_header_that_shows_no_known_token_is_a_401(header: str) -> None:
    async with started(UNUSED_DSN) as talk:
        answer = await talk.client.get("/api/events", headers=[(b"authorization", header.encode("latin-1"))])
    assert answer.status_code == 401


async def test_two_authorization_headers_are_none() -> None:
    async with started(UNUSED_DSN) as talk:
        twice = [("authorization", f"Bearer {OPERATOR_TOKEN}")] * 2
        assert (await talk.client.get("/api/events", headers=twice)).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_may_be_written_in_any_case(postroom: Postroom, scheme: str) -> None:
    async with started(postroom) as talk:
        answer = await talk.client.get("/api/events", headers={"authorization": f"{scheme} {VIEWER_TOKEN}"})
    assert answer.status_code == 200


async def test_wrong_tokens_are_few_per_address(postroom: Postroom) -> None:
    async with started(postroom) as talk:

        async def guess(token: str, host: str) -> httpx.Response:
            transport = httpx.ASGITransport(app=talk.app, client=(host, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://receiver.example") as client:
                return await client.get("/api/events", headers={"authorization": f"Bearer {token}"})

        statuses = [(await guess(f"guess-number-{n}", "203.0.113.7")).status_code for n in range(WRONG_BURST + 2)]
        assert statuses == [401] * WRONG_BURST + [429] * 2
        assert (await guess("guess-from-elsewhere", "203.0.113.8")).status_code == 401
        assert (await guess(OPERATOR_TOKEN, "203.0.113.7")).status_code == 200  # nobody is locked out


def test_the_wait_after_wrong_tokens_ends() -> None:
    gate = Gate(read_admin_tokens((f"ana:viewer:{VIEWER_TOKEN}",)))

    def let_in(token: str, now: float) -> str:
        headers = [(b"authorization", f"Bearer {token}".encode())]
        return gate.let_in(headers, needs=Role.VIEWER, address="203.0.113.7", now=now).name

    for _ in range(WRONG_BURST):
        with pytest.raises(Problem, match="401"):
            let_in("wrong", 0.0)
    with pytest.raises(Problem, match="429"):
        let_in("wrong", 1.0)
    with pytest.raises(Problem, match="401"):
        let_in("wrong", 20.0)
