"""The simulated Google is as the facts say: tokens and their parameters, seven days, tombstones, other names, quotas, consents."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from simulators.google import GoogleSettings, GoogleSimulator
from simulators.google_rules import CONTACTS_READONLY_SCOPE
from simulators.samples import DEMO_GOOGLE_ACCOUNT, DEMO_GOOGLE_CLIENT_ID, DEMO_GOOGLE_CLIENT_SECRET
from tests.simulators.clients import open_api
from tests.simulators.clock import HandClock

LIST = "/v1/people/me/connections"
ALL = {"personFields": "names,metadata", "requestSyncToken": "true", "pageSize": "2"}
BACK = "https://app.example.com/api/oauth/google/callback"
APP = {"client_id": DEMO_GOOGLE_CLIENT_ID, "client_secret": DEMO_GOOGLE_CLIENT_SECRET}
WEEK_S = 7 * 86_400.0
# RFC 7636, appendix B.
VERIFIER, CHALLENGE = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def google(clock: HandClock) -> GoogleSimulator:
    return GoogleSimulator(GoogleSettings(token_life_s=30 * 86_400.0), clock=clock)


@pytest.fixture
async def api(google: GoogleSimulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client that holds a token of the demo account."""
    async with open_api(google.app, {}) as client:
        code = google.oauth.consent(DEMO_GOOGLE_ACCOUNT, redirect_uri=BACK)
        granted = (await exchange(client, code)).json()
        client.headers["authorization"] = f"Bearer {granted['access_token']}"
        yield client


async def exchange(client: httpx.AsyncClient, code: str, **form: str) -> httpx.Response:
    return await client.post("/token", data={**APP, "grant_type": "authorization_code", "code": code, "redirect_uri": BACK, **form})


async def refresh(client: httpx.AsyncClient, token: str, **form: str) -> httpx.Response:
    return await client.post("/token", data={**APP, "grant_type": "refresh_token", "refresh_token": token, **form})


async def walk(client: httpx.AsyncClient, **first: str) -> tuple[list[str], str]:
    """The names of all pages, and the sync token of the last."""
    names, asked = [], {**ALL, **first}
    while True:
        page = (await client.get(LIST, params=asked)).json()
        names += [person["resourceName"] for person in page.get("connections", [])]
        if "nextPageToken" not in page:
            return names, page["nextSyncToken"]
        assert "nextSyncToken" not in page
        asked = {**asked, "pageToken": page["nextPageToken"]}


async def test_only_the_last_page_of_a_walk_has_a_sync_token(google: GoogleSimulator, api: httpx.AsyncClient) -> None:
    made = [google.put_contact(given=f"Ada {number}")["resourceName"] for number in range(5)]
    names, token = await walk(api)
    assert names == made
    changed = google.put_contact(resource_name=made[3], given="Brendan")["resourceName"]
    assert (await walk(api, syncToken=token))[0] == [changed]


async def test_what_changes_during_a_walk_comes_with_its_sync_token(google: GoogleSimulator, api: httpx.AsyncClient) -> None:
    made = [google.put_contact(given=f"Ada {number}")["resourceName"] for number in range(4)]
    first = (await api.get(LIST, params=ALL)).json()
    google.remove_contact(DEMO_GOOGLE_ACCOUNT, made[3])
    second = (await api.get(LIST, params={**ALL, "pageToken": first["nextPageToken"]})).json()
    assert [person["resourceName"] for person in second["connections"]] == made[2:]
    later = (await api.get(LIST, params={**ALL, "syncToken": second["nextSyncToken"]})).json()
    [tombstone] = later["connections"]
    assert (tombstone["resourceName"], tombstone["metadata"]["deleted"]) == (made[3], True)
    assert "names" not in tombstone


async def test_a_full_list_has_no_tombstones_and_no_former_names(google: GoogleSimulator, api: httpx.AsyncClient) -> None:
    gone, kept = (google.put_contact(given=name)["resourceName"] for name in ("Ada", "Brendan"))
    _, token = await walk(api)
    google.remove_contact(DEMO_GOOGLE_ACCOUNT, gone)
    renamed = google.rename_contact(DEMO_GOOGLE_ACCOUNT, kept)
    assert (await walk(api))[0] == [renamed]
    changes = (await api.get(LIST, params={**ALL, "syncToken": token})).json()["connections"]
    assert [change["metadata"].get("previousResourceNames") for change in changes] == [None, [kept]]


@pytest.mark.parametrize("changed", [{"personFields": "names"}, {"pageSize": "3"}, {"sources": "READ_SOURCE_TYPE_CONTACT"}])
async def test_a_token_counts_only_with_the_parameters_that_it_was_given_for(
    google: GoogleSimulator, api: httpx.AsyncClient, changed: dict[str, str]
) -> None:
    for number in range(3):
        google.put_contact(given=f"Ada {number}")
    page = (await api.get(LIST, params=ALL)).json()["nextPageToken"]
    _, sync = await walk(api)
    for token in ({"pageToken": page}, {"syncToken": sync}):
        assert (await api.get(LIST, params={**ALL, **token, **changed})).json()["error"]["status"] == "INVALID_ARGUMENT"
        assert (await api.get(LIST, params={**ALL, **token})).status_code == 200


async def test_a_sync_token_is_over_seven_days_after_the_full_sync_however_often_it_was_renewed(
    google: GoogleSimulator, api: httpx.AsyncClient, clock: HandClock
) -> None:
    _, token = await walk(api)
    for _ in range(2):
        clock.advance(WEEK_S / 2)
        _, token = await walk(api, syncToken=token)
    clock.advance(1)
    answer = await api.get(LIST, params={**ALL, "syncToken": token})
    error = answer.json()["error"]
    assert (answer.status_code, error["details"][0]["reason"]) == (400, "EXPIRED_SYNC_TOKEN")
    assert (await api.get(LIST, params=ALL)).status_code == 200


async def test_quotas_count_by_account_and_the_first_page_of_a_full_sync_counts_apart(clock: HandClock) -> None:
    google = GoogleSimulator(GoogleSettings(reads_per_minute=3, full_syncs_per_minute=2), clock=clock)
    async with open_api(google.app, {}) as client:
        code = google.oauth.consent(DEMO_GOOGLE_ACCOUNT, redirect_uri=BACK)
        client.headers["authorization"] = f"Bearer {(await exchange(client, code)).json()['access_token']}"
        _, token = await walk(client)
        await walk(client)
        full = await client.get(LIST, params=ALL)
        assert (full.status_code, "FBS" in full.text) == (429, True)
        read = await client.get(LIST, params={**ALL, "syncToken": token})
        assert read.status_code == 429
        assert "per minute per user" in read.json()["error"]["message"]
        assert "retry-after" not in read.headers
        clock.advance(60)
        assert (await client.get(LIST, params=ALL)).status_code == 200


@pytest.mark.parametrize(
    ("params", "said"),
    [({}, "personFields"), ({"personFields": "names,shoeSize"}, "shoeSize"), ({"personFields": "names", "pageSize": "1001"}, "1000")],
)
async def test_bad_parameters_are_refused_by_name(api: httpx.AsyncClient, params: dict[str, str], said: str) -> None:
    answer = await api.get(LIST, params=params)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


async def test_without_the_scope_it_is_a_403_and_with_a_token_that_ended_a_401(google: GoogleSimulator, api: httpx.AsyncClient) -> None:
    google.oauth.grants_scope = "openid"
    code = google.oauth.consent("other", redirect_uri=BACK)
    token = (await exchange(api, code)).json()["access_token"]
    assert (await api.get(LIST, params=ALL, headers={"authorization": f"Bearer {token}"})).status_code == 403
    google.oauth.expire(DEMO_GOOGLE_ACCOUNT)
    assert (await api.get(LIST, params=ALL)).json()["error"]["status"] == "UNAUTHENTICATED"


async def test_a_consent_is_bound_to_its_challenge_and_address_and_its_code_counts_once(api: httpx.AsyncClient) -> None:
    asked = {
        "client_id": DEMO_GOOGLE_CLIENT_ID,
        "response_type": "code",
        "redirect_uri": BACK,
        "scope": CONTACTS_READONLY_SCOPE,
        "access_type": "offline",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "state": "s1",
    }

    async def code() -> str:
        back = urlsplit((await api.get("/o/oauth2/v2/auth", params=asked)).headers["location"])
        assert parse_qs(back.query)["state"] == ["s1"]
        return parse_qs(back.query)["code"][0]

    wrong = await exchange(api, await code(), code_verifier="guessed")
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    elsewhere = await exchange(api, await code(), code_verifier=VERIFIER, redirect_uri="https://evil.example.com")
    assert elsewhere.json()["error"] == "redirect_uri_mismatch"
    once = await code()
    granted = (await exchange(api, once, code_verifier=VERIFIER)).json()
    assert {"access_token", "refresh_token", "expires_in", "scope", "token_type"} == set(granted)
    assert (await exchange(api, once, code_verifier=VERIFIER)).json()["error"] == "invalid_grant"


async def test_a_refresh_token_stays_until_it_is_revoked(google: GoogleSimulator, api: httpx.AsyncClient) -> None:
    code = google.oauth.consent("ada", redirect_uri=BACK)
    token = (await exchange(api, code)).json()["refresh_token"]
    for _ in range(2):
        answer = (await refresh(api, token)).json()
        assert set(answer) == {"access_token", "expires_in", "scope", "token_type"}
    google.oauth.revoke("ada")
    assert (await refresh(api, token)).json() == {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
    assert (await refresh(api, token, client_secret="wrong")).status_code == 401


async def test_the_consents_of_an_app_in_testing_are_over_after_seven_days(clock: HandClock) -> None:
    google = GoogleSimulator(GoogleSettings(is_testing=True), clock=clock)
    async with open_api(google.app, {}) as client:
        granted = (await exchange(client, google.oauth.consent("ada", redirect_uri=BACK))).json()
        assert granted["refresh_token_expires_in"] == 604_799
        clock.advance(WEEK_S)
        assert (await refresh(client, granted["refresh_token"])).json()["error"] == "invalid_grant"


async def test_more_than_a_hundred_refresh_tokens_of_an_account_end_the_oldest_in_silence(
    google: GoogleSimulator, api: httpx.AsyncClient
) -> None:
    tokens = [(await exchange(api, google.oauth.consent("ada", redirect_uri=BACK))).json()["refresh_token"] for _ in range(101)]
    assert [(await refresh(api, token)).status_code for token in (tokens[0], tokens[1])] == [400, 200]


async def test_the_doors_arrange_contacts_and_faults(google: GoogleSimulator, api: httpx.AsyncClient) -> None:
    made = (await api.post("/_sim/contacts", json={"given": "Ada", "emails": ["ada@example.com"]})).json()
    renamed = (await api.post("/_sim/contacts", json={"resourceName": made["resourceName"], "renamed": True})).json()
    assert (await walk(api))[0] == [renamed["resourceName"]]
    assert (await api.post("/_sim/contacts", json={"shoes": 1})).status_code == 400
    assert (await api.post("/_sim/contacts", json={"resourceName": "people/c0", "deleted": True})).status_code == 400
    await api.post("/_sim/faults", json={"kind": "answer", "status": 503, "path": LIST})
    assert (await api.get(LIST, params=ALL)).json()["error"]["status"] == "UNAVAILABLE"
    google.reset()
    assert google.state() == {}
