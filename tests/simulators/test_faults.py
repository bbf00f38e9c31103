"""Misbehaviour on demand, seen from the client's side, and what was done all the same."""

import asyncio
import random
from typing import Any

import httpx
import pytest

from simulators.faults import Faults
from simulators.ghl import GhlSettings, GhlSimulator
from simulators.notion import NotionSimulator
from tests.simulators.clients import GHL_HEADERS, open_api

NOTE = {"body": "postroom:1/note"}


@pytest.fixture
def notes(ghl: GhlSimulator) -> str:
    return f"/contacts/{ghl.put_contact(firstName='Ada')['id']}/notes"


async def test_an_answer_instead_of_the_work(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str) -> None:
    ghl.faults.add("answer", notes, status=503, headers={"Retry-After": "7"}, body={"message": "later"})
    refused = await ghl_api.post(notes, json=NOTE)
    accepted = await ghl_api.post(notes, json=NOTE)
    assert (refused.status_code, refused.headers["retry-after"], refused.json()) == (503, "7", {"message": "later"})
    assert accepted.status_code == 201
    assert ghl.effects.count("note") == 1


async def test_an_error_after_the_work_was_done(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str) -> None:
    ghl.faults.add("answer", notes, status=503, after_work=True)
    assert (await ghl_api.post(notes, json=NOTE)).status_code == 503
    assert ghl.effects.count("note") == 1


async def test_a_status_alone_is_said_as_ghl_would(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str) -> None:
    for status in (429, 401, 502):
        ghl.faults.add("answer", status=status)
    limited, unauthorised, broken = [await ghl_api.get(notes) for _ in range(3)]
    assert (limited.status_code, limited.headers["X-RateLimit-Remaining"]) == (429, "0")
    assert (unauthorised.status_code, unauthorised.json()["message"]) == (401, "Invalid token: access token is invalid")
    assert (broken.status_code, broken.json()["statusCode"]) == (502, 502)


async def test_a_status_alone_is_said_as_notion_would(notion: NotionSimulator, notion_api: httpx.AsyncClient) -> None:
    for status in (429, 529, 503):
        notion.faults.add("answer", status=status)
    limited, overloaded, unavailable = [await notion_api.get("/v1/users/me") for _ in range(3)]
    assert (limited.headers["Retry-After"], limited.json()["additional_data"]["rate_limit_reason"]) == (
        "1",
        "public_api_request_rate_limit",
    )
    assert (overloaded.status_code, overloaded.headers["Retry-After"], overloaded.json()["code"]) == (529, "1", "service_overload")
    assert (unavailable.json()["code"], unavailable.json()["request_id"]) == (
        "service_unavailable",
        unavailable.headers["x-notion-request-id"],
    )


async def test_a_drop_after_the_work_leaves_the_work_done(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str) -> None:
    ghl.faults.add("drop", notes, method="post", after_work=True)
    with pytest.raises(httpx.RemoteProtocolError):
        await ghl_api.post(notes, json=NOTE)
    assert ghl.effects.count("note") == 1
    assert [note["body"] for note in (await ghl_api.get(notes)).json()["notes"]] == [NOTE["body"]]


async def test_a_drop_before_the_work_leaves_nothing(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str) -> None:
    ghl.faults.add("drop", notes)
    with pytest.raises(httpx.TransportError):
        await ghl_api.post(notes, json=NOTE)
    assert ghl.effects.count() == 0
    assert ghl.requests.list()[-1].status is None


@pytest.mark.parametrize("after_work", [False, True])
async def test_a_hanging_request_goes_on_when_released(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str, after_work: bool) -> None:
    ghl.faults.add("hang", notes, times=None, after_work=after_work)
    async with asyncio.TaskGroup() as group:
        request = group.create_task(ghl_api.post(notes, json=NOTE))
        await ghl.faults.wait_hanging()
        assert not request.done()
        assert ghl.effects.count("note") == int(after_work)
        assert ghl.faults.release() == 1
    assert request.result().status_code == 201
    assert ghl.effects.count("note") == 1
    assert ghl.faults.as_json() == []


async def test_a_client_that_gives_up_on_a_hanging_request_does_not_stop_the_work(
    ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str
) -> None:
    fault = ghl.faults.add("hang", notes)
    request = asyncio.create_task(ghl_api.post(notes, json=NOTE))
    await ghl.faults.wait_hanging()
    request.cancel()
    await asyncio.wait([request])
    ghl.faults.release(fault)
    await ghl.requests.wait_for(1)
    assert ghl.effects.count("note") == 1


async def test_a_delay_only_slows(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str) -> None:
    ghl.faults.add("delay", notes, delay_s=0.02)
    assert (await ghl_api.post(notes, json=NOTE)).status_code == 201
    assert ghl.requests.list()[-1].took_ms >= 20


async def test_a_delay_outlasts_an_impatient_client(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str) -> None:
    ghl.faults.add("delay", notes, delay_s=60, after_work=True)
    with pytest.raises(httpx.ReadTimeout):
        await ghl_api.post(notes, json=NOTE, timeout=httpx.Timeout(30, read=0.2))
    assert ghl.effects.count("note") == 1


@pytest.mark.parametrize("kind", ["truncate", "garble"])
async def test_an_answer_may_be_no_json_although_the_work_is_done(
    ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str, kind: str
) -> None:
    ghl.faults.add(kind, notes)
    response = await ghl_api.post(notes, json=NOTE)
    assert response.status_code == 201
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|line 1"):
        response.json()
    assert ghl.effects.count("note") == 1


async def test_an_answer_may_be_cut_off_on_the_way(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, notes: str) -> None:
    ghl.faults.add("cut", notes)
    with pytest.raises(httpx.RemoteProtocolError):
        await ghl_api.post(notes, json=NOTE)
    assert ghl.effects.count("note") == 1


async def test_latency_slows_every_request() -> None:
    simulator = GhlSimulator(GhlSettings(latency_s=0.02))
    async with open_api(simulator.app, GHL_HEADERS) as client:
        await client.get("/contacts/nobody")
        await client.get("/_sim/effects")
    assert [seen.took_ms >= 20 for seen in simulator.requests.list()] == [True]


def matching(faults: Faults, method: str, path: str) -> str | None:
    fault = faults.take(method, path)
    return fault.id if fault else None


def test_a_fault_meets_the_next_times_requests_of_its_method_and_path() -> None:
    faults = Faults()
    fault = faults.add("drop", "/contacts/*/notes", method="post", times=2)
    asked = [("GET", "/contacts/a/notes"), ("POST", "/contacts/a/b/notes"), ("POST", "/contacts/a/notes"), ("POST", "/contacts/b/notes")]
    assert [matching(faults, *one) for one in asked] == [None, None, fault, fault]
    assert matching(faults, "POST", "/contacts/a/notes") is None


def test_two_stars_reach_over_slashes_and_dots_are_only_dots() -> None:
    faults = Faults()
    faults.add("drop", "/v1/**/chil.ren", times=None)
    assert matching(faults, "GET", "/v1/blocks/x/chil.ren") is not None
    assert matching(faults, "GET", "/v1/blocks/x/children") is None


def test_the_first_added_fault_wins() -> None:
    faults = Faults()
    first, second = faults.add("drop"), faults.add("answer")
    assert [matching(faults, "GET", "/x") for _ in range(3)] == [first, second, None]


def test_a_fault_without_end_lasts_until_it_is_cleared() -> None:
    faults = Faults()
    fault, other = faults.add("drop", times=None), faults.add("answer", times=None)
    assert {matching(faults, "GET", "/x") for _ in range(50)} == {fault}
    assert faults.clear(fault) == 1
    assert matching(faults, "GET", "/x") == other
    assert faults.clear() == 1
    assert matching(faults, "GET", "/x") is None


def test_a_fault_may_meet_only_some_requests() -> None:
    faults = Faults(rng=random.Random(1))
    faults.add("drop", times=None, probability=0.3)
    hits = sum(matching(faults, "GET", "/x") is not None for _ in range(1000))
    assert 250 < hits < 350


async def test_clearing_lets_go_what_hangs() -> None:
    faults = Faults()
    faults.add("hang", times=None)
    fault = faults.take("GET", "/x")
    assert fault is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(faults.hang(fault))
        await faults.wait_hanging()
        faults.clear()
    assert (faults.hanging, faults.as_json()) == (0, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"times": 0},
        {"probability": 0.0},
        {"probability": 1.5},
        {"status": 99},
        {"delay_s": -1.0},
        {"delay_s": float("nan")},
        {"path": "contacts"},
        {"headers": {"X": "a\r\nb"}},
        {"kind": "explode"},
    ],
)
def test_a_senseless_fault_is_refused(wrong: dict[str, Any]) -> None:
    faults = Faults()
    with pytest.raises(ValueError, match=r"must|valid FaultKind"):
        faults.add(**{"kind": "drop", **wrong})
    assert faults.as_json() == []
