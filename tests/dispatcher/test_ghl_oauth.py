"""GHL's token endpoint as it is asked: each request checked against the official file, what comes back read with care, secrets kept."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import parse_qsl

import httpx
import pytest
import respx
from pydantic import SecretStr

from dispatcher.clients.ghl_errors import classify_ghl
from dispatcher.clients.ghl_oauth import GhlOAuth, company_name, location_name
from dispatcher.clients.http import Http, Unlimited
from dispatcher.clients.oauth import Account, NotConnected, Tokens
from dispatcher.errors import ConsentLost, Failed, Forbidden, Refused, RemoteError, Suspended, Unavailable
from outbox.seal import Sealer, new_key
from tests.dispatcher.openapi import OpenApi
from tests.specs import specs_path

BASE = "https://services.example.com"
PAIR: dict[str, Any] = {
    "access_token": "eyJ-access",
    "token_type": "Bearer",
    "expires_in": 86399,
    "refresh_token": "refresh-next",
    "userType": "Location",
    "locationId": "loc1",
    "companyId": "com1",
    "somethingNew": [1],
}
OWN = Account(location_name("loc1"), "loc1", "com1", 7, SecretStr("eyJ-old"), SecretStr("refresh-old"))
AGENCY = Account(company_name("com1"), "com1", "com1", 7, SecretStr("eyJ-old"), SecretStr("refresh-old"))


class AgencyTokens:
    """The agency is connected with this token; None: it is not."""

    def __init__(self, token: str | None = "eyJ-agency") -> None:
        self.token = token
        self.asked: list[str] = []

    async def current(self, destination: str) -> SecretStr:
        self.asked.append(destination)
        if self.token is None:
            raise NotConnected("the agency is not connected")
        return SecretStr(self.token)

    async def renew(self, destination: str, refused: SecretStr) -> bool:
        return False


@asynccontextmanager
async def endpoint(tokens: AgencyTokens | None = None) -> AsyncIterator[GhlOAuth]:
    async with Http("ghl", BASE, token=None, classify=classify_ghl, budget=Unlimited()) as http:
        oauth = GhlOAuth(http, client_id="app1-x1", client_secret=SecretStr("invented-secret"))
        oauth.tokens = cast("Tokens", tokens or AgencyTokens())
        yield oauth


def sent() -> dict[str, str]:
    return dict(parse_qsl(respx.calls.last.request.content.decode()))


CALLS: dict[str, Callable[[GhlOAuth], Awaitable[object]]] = {
    "POST /oauth/token (code)": lambda oauth: oauth.exchange(SecretStr("code1"), redirect_uri="https://a.example/b", at="ghl-oauth"),
    "POST /oauth/token (refresh)": lambda oauth: oauth.refresh(OWN),
    "POST /oauth/locationToken": lambda oauth: oauth.of_company("com1", "loc1", at="ghl-oauth"),
    "GET /oauth/installedLocations": lambda oauth: oauth.installed_locations("com1", at="ghl-oauth"),
}


@pytest.mark.parametrize("operation", CALLS)
@respx.mock
async def test_each_request_is_as_the_official_file_wants_it(operation: str) -> None:
    respx.route().respond(200, json={**PAIR, "locations": []})
    async with endpoint() as oauth:
        await CALLS[operation](oauth)
    request = respx.calls.last.request
    assert OpenApi(specs_path("ghl/apps/oauth.json")).check(request) == operation.partition(" (")[0]
    assert request.headers["version"] == "2021-07-28"
    with_token = "oauth/token" not in str(request.url)
    assert request.headers.get("authorization") == ("Bearer eyJ-agency" if with_token else None)


@respx.mock
async def test_a_code_is_sent_with_its_address_and_the_apps_credentials() -> None:
    respx.route().respond(200, json=PAIR)
    async with endpoint() as oauth:
        granted = await oauth.exchange(SecretStr("code1"), redirect_uri="https://a.example/b", at="ghl-oauth")
    assert sent() == {
        "client_id": "app1-x1",
        "client_secret": "invented-secret",
        "grant_type": "authorization_code",
        "code": "code1",
        "redirect_uri": "https://a.example/b",
    }
    assert (granted.location_id, granted.company_id, granted.pair().expires_in_s) == ("loc1", "com1", 86399)
    assert "eyJ" not in repr(granted) + str(granted)


@pytest.mark.parametrize(("account", "user_type"), [(OWN, "Location"), (AGENCY, "Company")])
@respx.mock
async def test_a_refresh_asks_for_the_same_kind_of_token(account: Account, user_type: str) -> None:
    respx.route().respond(200, json=PAIR)
    async with endpoint() as oauth:
        pair = await oauth.refresh(account)
    assert {"grant_type": "refresh_token", "refresh_token": "refresh-old", "user_type": user_type}.items() <= sent().items()
    assert (pair.access.get_secret_value(), cast("SecretStr", pair.refresh).get_secret_value()) == ("eyJ-access", "refresh-next")


@respx.mock
async def test_an_answer_without_a_refresh_token_leaves_the_old_one_in_force() -> None:
    respx.route().respond(200, json={"access_token": "eyJ-access", "expires_in": "soon"})
    async with endpoint() as oauth:
        pair = await oauth.refresh(OWN)
    assert cast("SecretStr", pair.refresh).get_secret_value() == "refresh-old"
    assert pair.expires_in_s == 3600  # as good a guess as any where it is not said
    sealer = Sealer([SecretStr(new_key())])
    kept = json.loads(sealer.open(pair.seal(sealer)).get_secret_value())
    assert kept == {"access_token": "eyJ-access", "refresh_token": "refresh-old"}


@pytest.mark.parametrize("body", [{}, {"access_token": ""}, {"access_token": 7}, [], None])
@respx.mock
async def test_an_answer_without_a_token_fails_and_quotes_nothing(body: object) -> None:
    respx.route().respond(200, json=body)
    async with endpoint() as oauth:
        with pytest.raises(Failed) as caught:
            await oauth.refresh(OWN)
    assert (caught.value.destination, caught.value.happened) == ("ghl:loc1", None)


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "Location is not active", Suspended),
        (401, "The token is not authorized for this scope.", Forbidden),
        (503, "away", Unavailable),
    ],
)
@respx.mock
async def test_failures_name_the_account_that_is_refreshed(status: int, message: str, error: type[RemoteError]) -> None:
    respx.route().respond(status, json={"statusCode": status, "message": message})
    async with endpoint() as oauth:
        with pytest.raises(error) as caught:
            await oauth.refresh(OWN)
        with pytest.raises(error) as of_agency:
            await oauth.of_company("com1", "loc1", at="ghl:loc1")
    assert caught.value.destination == of_agency.value.destination == "ghl:loc1"
    assert "invented-secret" not in str(caught.value)


@respx.mock
async def test_a_dead_refresh_token_is_replaced_by_the_agency_where_that_is_connected() -> None:
    respx.post(f"{BASE}/oauth/token").respond(400, json={"statusCode": 400, "message": "Invalid grant: refresh token is invalid"})
    of_agency = respx.post(f"{BASE}/oauth/locationToken").respond(200, json=PAIR)
    tokens = AgencyTokens()
    async with endpoint(tokens) as oauth:
        assert (await oauth.refresh(OWN)).access.get_secret_value() == "eyJ-access"
        assert (tokens.asked, sent()) == ([company_name("com1")], {"companyId": "com1", "locationId": "loc1"})
        of_agency.respond(400, json={"statusCode": 400, "message": "The app is not installed on this location"})
        with pytest.raises(ConsentLost, match="not installed"):
            await oauth.refresh(OWN)
        with pytest.raises(ConsentLost, match="refresh token is invalid"):
            await oauth.refresh(AGENCY)  # an agency has nobody above it
    async with endpoint(AgencyTokens(None)) as oauth:
        with pytest.raises(ConsentLost, match="refresh token is invalid"):
            await oauth.refresh(OWN)


@respx.mock
async def test_installed_locations_are_read_to_the_last_page() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        skip = int(request.url.params["skip"])
        listed: list[object] = [{"_id": f"loc{n}"} for n in range(skip, min(skip + 100, 199))]
        if skip:
            listed += [{"_id": "other", "isInstalled": False}] if len(listed) < 100 else []
        return httpx.Response(200, json={"locations": listed})

    respx.get(f"{BASE}/oauth/installedLocations").mock(side_effect=page)
    async with endpoint() as oauth:
        found = await oauth.installed_locations("com1", at="ghl-oauth")
        assert (len(found), found[0], found[-1]) == (199, "loc0", "loc198")
        assert respx.calls.last.request.url.params["appId"] == "app1"
        respx.get(f"{BASE}/oauth/installedLocations").respond(200, json={"count": 0})
        with pytest.raises(Failed, match="no list of locations"):
            await oauth.installed_locations("com1", at="ghl-oauth")


@respx.mock
async def test_a_code_that_is_not_taken_is_refused_and_not_a_dead_token() -> None:
    respx.route().respond(401, json={"error": "UnAuthorized!", "error_description": "Authorization code not found"})
    async with endpoint() as oauth:
        with pytest.raises(Refused):
            await oauth.exchange(SecretStr("code1"), redirect_uri="https://a.example/b", at="ghl-oauth")
