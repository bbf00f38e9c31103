"""Who may call the simulated GHL, in which version, how often, and how it refuses."""

import httpx
import pytest

from simulators.ghl import GhlSettings, GhlSimulator
from simulators.ghl_rules import Grant, Scope
from simulators.samples import DEMO_LOCATION_ID
from tests.simulators.clients import GHL_HEADERS, open_api
from tests.simulators.clock import HandClock

CONTACT = "/contacts/DemoContact000000001"


async def refusal(client: httpx.AsyncClient, path: str = CONTACT, **headers: str) -> tuple[int, object]:
    response = await client.get(path, headers=headers)
    body = response.json()
    assert body["statusCode"] == response.status_code
    assert body["traceId"]
    return response.status_code, body["message"]


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("", "Invalid JWT"),
        ("Basic abc", "Invalid JWT"),
        ("Bearer pit-wrong", "Invalid Private Integration token"),
        ("Bearer eyJ-wrong", "Invalid token: access token is invalid"),
    ],
)
async def test_a_missing_or_wrong_token_is_refused_in_ghls_words(ghl_api: httpx.AsyncClient, authorization: str, message: str) -> None:
    assert await refusal(ghl_api, Authorization=authorization) == (401, message)


async def test_a_missing_version_header_is_refused_with_401(ghl: GhlSimulator) -> None:
    async with open_api(ghl.app, {"Authorization": GHL_HEADERS["Authorization"]}) as client:
        assert await refusal(client) == (401, "version header was not found.")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2020-01-01", (401, "version header is invalid")),
        ("2021-04-15", (401, "version header is invalid")),
        ("bogus-version", (400, "Invalid API version segment 'bogus-version' at position 0")),
    ],
)
async def test_a_version_that_contacts_do_not_have_is_refused(ghl_api: httpx.AsyncClient, version: str, expected: tuple[int, str]) -> None:
    assert await refusal(ghl_api, Version=version) == expected


@pytest.mark.parametrize("version", ["2021-07-28", "2023-02-21", "v3"])
async def test_contacts_accept_their_versions(ghl: GhlSimulator, ghl_api: httpx.AsyncClient, version: str) -> None:
    contact = ghl.put_contact(firstName="Ada")
    assert (await ghl_api.get(f"/contacts/{contact['id']}", headers={"Version": version})).status_code == 200


async def test_calendars_want_their_own_version(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    path = f"/calendars/events/appointments/{ghl.put_appointment()['id']}"
    assert await refusal(ghl_api, path) == (401, "version header is invalid")
    for version in ("2021-04-15", "2023-02-21", "v3"):
        assert (await ghl_api.get(path, headers={"Version": version})).status_code == 200


async def test_a_token_without_the_scope_is_told_so() -> None:
    reader = Grant(frozenset({DEMO_LOCATION_ID}), frozenset({Scope.CONTACTS_READ}))
    simulator = GhlSimulator(GhlSettings(grants={"pit-reader": reader}))
    contact = simulator.put_contact(firstName="Ada")
    async with open_api(simulator.app, GHL_HEADERS | {"Authorization": "Bearer pit-reader"}) as client:
        assert (await client.get(f"/contacts/{contact['id']}")).status_code == 200
        response = await client.post(f"/contacts/{contact['id']}/notes", json={"body": "hello"})
    assert (response.status_code, response.json()["message"]) == (401, "The token is not authorized for this scope.")
    assert simulator.effects.count() == 0


async def test_an_agency_token_cannot_read_a_locations_data() -> None:
    simulator = GhlSimulator(GhlSettings(grants={"pit-agency": Grant(frozenset({DEMO_LOCATION_ID}), is_agency=True)}))
    async with open_api(simulator.app, GHL_HEADERS | {"Authorization": "Bearer pit-agency"}) as client:
        assert await refusal(client) == (401, "Token's user type mismatch!")


async def test_another_location_is_forbidden_however_it_is_named(ghl: GhlSimulator, ghl_api: httpx.AsyncClient) -> None:
    theirs = ghl.put_contact(firstName="Bob", locationId="OtherLocation0000001")
    forbidden = (403, "The token does not have access to this location.")
    assert await refusal(ghl_api, f"/contacts/{theirs['id']}") == forbidden
    assert await refusal(ghl_api, "/locations/OtherLocation0000001/customFields") == forbidden
    created = await ghl_api.post("/contacts/", json={"locationId": "OtherLocation0000001", "firstName": "Bob"})
    assert (created.status_code, created.json()["message"]) == forbidden
    assert ghl.effects.count() == 0


async def test_an_unknown_path_is_404_cannot_get(ghl_api: httpx.AsyncClient) -> None:
    assert await refusal(ghl_api, "/contacts/x/unknown") == (404, "Cannot GET /contacts/x/unknown")


async def test_every_answer_carries_the_rate_limit_headers(ghl_api: httpx.AsyncClient) -> None:
    for path in (CONTACT, "/nowhere"):
        headers = (await ghl_api.get(path)).headers
        assert headers["X-RateLimit-Max"] == "100"
        assert headers["X-RateLimit-Remaining"] == "99"
        assert headers["X-RateLimit-Interval-Milliseconds"] == "10000"
        assert headers["X-RateLimit-Limit-Daily"] == "200000"
        assert headers["X-RateLimit-Daily-Remaining"] == "199999"


async def test_beyond_the_burst_comes_429_until_the_window_ends() -> None:
    clock = HandClock()
    simulator = GhlSimulator(GhlSettings(burst_limit=3), clock=clock)
    async with open_api(simulator.app, GHL_HEADERS) as client:
        remaining = [(await client.get(CONTACT)).headers["X-RateLimit-Remaining"] for _ in range(3)]
        refused = await client.get(CONTACT)
        clock.advance(10)
        afterwards = await client.get(CONTACT)
    assert remaining == ["2", "1", "0"]
    assert (refused.status_code, refused.headers["X-RateLimit-Remaining"]) == (429, "0")
    assert (afterwards.status_code, afterwards.headers["X-RateLimit-Remaining"]) == (400, "2")


async def test_a_spent_day_is_said_in_the_headers_with_the_time_to_its_end() -> None:
    clock = HandClock()
    simulator = GhlSimulator(GhlSettings(daily_limit=1), clock=clock)
    async with open_api(simulator.app, GHL_HEADERS) as client:
        await client.get(CONTACT)
        clock.advance(60)
        refused = await client.get(CONTACT)
    assert refused.status_code == 429
    assert refused.headers["X-RateLimit-Daily-Remaining"] == "0"
    assert refused.headers["x-ratelimit-daily-reset"] == str((86_400 - 60) * 1000)


async def test_two_tokens_of_one_location_share_its_budget() -> None:
    simulator = GhlSimulator(GhlSettings(burst_limit=1, grants={"pit-second": Grant(frozenset({DEMO_LOCATION_ID}))}))
    async with open_api(simulator.app, GHL_HEADERS) as client:
        await client.get(CONTACT)
        assert await refusal(client, Authorization="Bearer pit-second") == (429, "Too Many Requests")


async def test_a_refused_request_does_no_work() -> None:
    simulator = GhlSimulator(GhlSettings(burst_limit=1))
    contact = simulator.put_contact(firstName="Ada")
    async with open_api(simulator.app, GHL_HEADERS) as client:
        statuses = [(await client.post(f"/contacts/{contact['id']}/notes", json={"body": "hello"})).status_code for _ in range(2)]
    assert statuses == [201, 429]
    assert simulator.effects.count("note") == 1
