"""OAuth of the simulated GHL: codes and refresh tokens that count once, the time of grace, suspended locations, agencies."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from simulators.ghl import GhlSettings, GhlSimulator
from simulators.samples import DEMO_APP_ID, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_COMPANY_ID, DEMO_LOCATION_ID
from tests.simulators.clients import open_api
from tests.simulators.clock import HandClock
from tests.simulators.openapi import Specification
from tests.specs import specs_path

BACK = "https://app.example.com/back"
CLIENT = {"client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET}
OTHER = "OtherLocation0000001"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def ghl(clock: HandClock) -> GhlSimulator:
    return GhlSimulator(clock=clock)


@pytest.fixture
async def api(ghl: GhlSimulator) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(ghl.app, {"Version": "2021-07-28"}) as client:
        yield client


async def ask(api: httpx.AsyncClient, **form: str) -> tuple[int, Any]:
    answer = await api.post("/oauth/token", data={**CLIENT, **form})
    return answer.status_code, answer.json()


async def consented(ghl: GhlSimulator, api: httpx.AsyncClient, location_id: str = DEMO_LOCATION_ID) -> Any:
    code = ghl.oauth.consent(location_id, redirect_uri=BACK)
    status, pair = await ask(api, grant_type="authorization_code", code=code, redirect_uri=BACK)
    assert status == 200
    return pair


async def renewed(api: httpx.AsyncClient, pair: Any) -> tuple[int, Any]:
    return await ask(api, grant_type="refresh_token", refresh_token=pair["refresh_token"], user_type="Location")


async def status_with(api: httpx.AsyncClient, pair: Any) -> int:
    path = f"/locations/{pair['locationId']}/customFields"
    return (await api.get(path, headers={"Authorization": f"Bearer {pair['access_token']}"})).status_code


async def test_a_code_counts_once_and_only_with_its_address(ghl: GhlSimulator, api: httpx.AsyncClient) -> None:
    code = ghl.oauth.consent(DEMO_LOCATION_ID, redirect_uri=BACK)
    for expected in (200, 401):
        status, _ = await ask(api, grant_type="authorization_code", code=code, redirect_uri=BACK)
        assert status == expected
    code = ghl.oauth.consent(DEMO_LOCATION_ID, redirect_uri=BACK)
    assert await ask(api, grant_type="authorization_code", code=code, redirect_uri="https://evil.example") == (
        401,
        {"error": "UnAuthorized!", "error_description": "Authorization code not found"},
    )


async def test_a_refresh_token_counts_once_but_repeats_its_answer_for_half_a_minute(
    ghl: GhlSimulator, api: httpx.AsyncClient, clock: HandClock
) -> None:
    first = await consented(ghl, api)
    status, second = await renewed(api, first)
    assert (status, second["refresh_token"] != first["refresh_token"]) == (200, True)
    clock.advance(30)
    assert await renewed(api, first) == (200, second)
    assert ghl.oauth.refreshed == 1
    clock.advance(1)
    status, refused = await renewed(api, first)
    assert (status, refused["message"]) == (400, "Invalid grant: refresh token is invalid")
    assert (await renewed(api, second))[0] == 200


async def test_an_access_token_ends_with_its_life_and_when_a_test_says_so(clock: HandClock) -> None:
    ghl = GhlSimulator(GhlSettings(token_life_s=100), clock=clock)
    async with open_api(ghl.app, {"Version": "2021-07-28"}) as api:
        pair = await consented(ghl, api)
        assert (pair["expires_in"], await status_with(api, pair)) == (100, 200)
        clock.advance(100)
        assert await status_with(api, pair) == 401
        _, pair = await renewed(api, pair)
        assert await status_with(api, pair) == 200
        ghl.oauth.expire(DEMO_LOCATION_ID)
        assert await status_with(api, pair) == 401


async def test_a_suspended_location_keeps_its_refresh_token(ghl: GhlSimulator, api: httpx.AsyncClient, clock: HandClock) -> None:
    pair = await consented(ghl, api)
    ghl.oauth.locations[DEMO_LOCATION_ID].is_active = False
    assert await renewed(api, pair) == (400, {"statusCode": 400, "message": "Location is not active", "error": "Bad Request"})
    clock.advance(86_400)
    ghl.oauth.locations[DEMO_LOCATION_ID].is_active = True
    assert (await renewed(api, pair))[0] == 200


async def test_a_token_of_one_location_reads_no_other(ghl: GhlSimulator, api: httpx.AsyncClient) -> None:
    ghl.add_location(OTHER)
    pair = await consented(ghl, api, OTHER)
    assert await status_with(api, pair) == 200
    assert await status_with(api, {**pair, "locationId": DEMO_LOCATION_ID}) == 403


async def test_an_agencys_token_reads_no_location_but_makes_tokens_that_do(ghl: GhlSimulator, api: httpx.AsyncClient) -> None:
    ghl.add_location(OTHER)
    code = ghl.oauth.consent_agency(DEMO_COMPANY_ID, redirect_uri=BACK, approved=(OTHER,))
    _, agency = await ask(api, grant_type="authorization_code", code=code, redirect_uri=BACK)
    assert (agency["userType"], agency["approvedLocations"], "locationId" in agency) == ("Company", [OTHER], False)
    headers = {"Authorization": f"Bearer {agency['access_token']}"}
    assert (await api.get(f"/locations/{OTHER}/customFields", headers=headers)).status_code == 401
    query = {"companyId": DEMO_COMPANY_ID, "appId": DEMO_APP_ID}
    listed = await api.get("/oauth/installedLocations", params=query, headers=headers)
    assert [one["_id"] for one in listed.json()["locations"]] == [OTHER]
    made = await api.post("/oauth/locationToken", data={"companyId": DEMO_COMPANY_ID, "locationId": OTHER}, headers=headers)
    assert await status_with(api, made.json()) == 200
    refused = await api.post("/oauth/locationToken", data={"companyId": DEMO_COMPANY_ID, "locationId": DEMO_LOCATION_ID}, headers=headers)
    assert refused.status_code == 400
    specification = Specification(specs_path("ghl/apps/oauth.json"))
    assert specification.check(listed) == "GET /oauth/installedLocations"
    assert specification.check(made) == "POST /oauth/locationToken"


async def test_the_token_endpoint_answers_as_specified(ghl: GhlSimulator, api: httpx.AsyncClient) -> None:
    specification = Specification(specs_path("ghl/apps/oauth.json"))
    code = ghl.oauth.consent(DEMO_LOCATION_ID, redirect_uri=BACK)
    form = {**CLIENT, "grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
    answers = [
        await api.post("/oauth/token", data=form),
        await api.post("/oauth/token", data=form),
        await api.post("/oauth/token", data={**CLIENT, "grant_type": "refresh_token", "refresh_token": "unknown"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 400]
    for answer in answers:
        specification.check(answer)


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"grant_type": "something"}, 400, "Invalid parameter"),
        ({"grant_type": ""}, 400, "Missing parameter"),
        ({"grant_type": "refresh_token", "client_secret": "wrong"}, 401, "client credentials"),
        ({"grant_type": "refresh_token", "refresh_token": "unknown"}, 400, "Invalid grant"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused(api: httpx.AsyncClient, form: dict[str, str], status: int, words: str) -> None:
    found, body = await ask(api, **form)
    assert found == status
    assert words in body.get("message", body.get("error_description"))


async def test_who_removes_the_app_ends_its_tokens(ghl: GhlSimulator, api: httpx.AsyncClient) -> None:
    pair = await consented(ghl, api)
    ghl.uninstall(DEMO_LOCATION_ID)
    assert await status_with(api, pair) == 401
    assert (await renewed(api, pair))[0] == 400


async def test_a_person_who_follows_the_link_comes_back_with_a_code_and_the_state(ghl: GhlSimulator, api: httpx.AsyncClient) -> None:
    answer = await api.get("/v2/oauth/chooselocation", params={"redirect_uri": BACK, "state": "s1", "client_id": DEMO_CLIENT_ID})
    back = httpx.URL(answer.headers["location"])
    assert (str(back.copy_with(query=None)), back.params["state"]) == (BACK, "s1")
    assert (await ask(api, grant_type="authorization_code", code=back.params["code"], redirect_uri=BACK))[0] == 200
