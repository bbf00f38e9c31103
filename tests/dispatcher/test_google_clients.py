"""Google's People API and token endpoint as they are asked: requests as the official description wants them, answers read with care."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
import respx
from pydantic import SecretStr

from dispatcher.clients.google_accounts import user_name
from dispatcher.clients.google_errors import classify_google, classify_google_oauth, google_limits
from dispatcher.clients.google_oauth import GoogleOAuth
from dispatcher.clients.google_people import GooglePeople
from dispatcher.clients.http import Http, Unlimited
from dispatcher.clients.oauth import Account
from dispatcher.errors import (
    AnswerLost,
    Failed,
    Refused,
)
from outbox.google_consent import consent_link
from tests.discovery import Discovery
from tests.specs import specs_path

BASE = "https://google.example.com"
BACK = "https://app.example.com/api/oauth/google/callback"
ADA = Account("google:ada", "ada", None, 7, SecretStr("ya29.old"), SecretStr("1//0-refresh"))


def case(name: str) -> Any:
    cases = json.loads(specs_path("google/response-examples.json").read_text())["cases"]
    return next(one for one in cases if one["name"] == name)


@asynccontextmanager
async def people() -> AsyncIterator[GooglePeople]:
    http = Http("google:ada", BASE, token=SecretStr("ya29.x"), classify=classify_google, budget=Unlimited(), read_limits=google_limits)
    async with http:
        yield GooglePeople(http)


@asynccontextmanager
async def endpoint() -> AsyncIterator[GoogleOAuth]:
    async with Http("google-oauth", BASE, token=None, classify=classify_google_oauth, budget=Unlimited()) as http:
        yield GoogleOAuth(http, client_id="app1", client_secret=SecretStr("invented-secret"))


def respond(one: Any) -> None:
    body = {"json": one["body"]} if "body" in one else {"text": one["body_text"]}
    respx.route().respond(one["status"], **body)


@respx.mock
async def test_every_call_of_a_walk_is_as_described_and_has_the_same_parameters() -> None:
    respx.route().respond(200, json={"nextSyncToken": "s1"})
    described = Discovery(specs_path("google/people.v1.json"))
    async with people() as client:
        for tokens in ({}, {"sync_token": "s0"}, {"page_token": "p1"}, {"sync_token": "s0", "page_token": "p1"}):
            await client.connections(**tokens)
    asked = [call.request for call in respx.calls]
    assert {described.check_request(request) for request in asked} == {"people.people.connections.list"}
    named = ("syncToken", "pageToken")
    bound = {tuple(pair for pair in request.url.params.multi_items() if pair[0] not in named) for request in asked}
    assert len(bound) == 1
    assert [sorted(set(named) & set(request.url.params)) for request in asked] == [[], ["syncToken"], ["pageToken"], sorted(named)]


@respx.mock
async def test_the_examples_are_read() -> None:
    async with people() as client:
        respond(case("connections/page-1"))
        page = await client.connections()
        [ada] = page.people
        assert (page.next_page, page.sync_token, page.total) == ("page-2", None, 2)
        assert (ada.display_name, ada.emails, ada.phones) == ("Ada Example", ("ada@example.com",), ("+353871234567",))
        assert ada.changed_at == datetime(2026, 10, 5, 9, 1, 34, 285_000, tzinfo=UTC)
        respx.clear()
        respond(case("connections/incremental-with-tombstone"))
        [gone] = (await client.connections()).people
        assert (gone.is_deleted, gone.emails) == (True, ())
        respx.clear()
        respond(case("connections/incremental-renamed"))
        [renamed] = (await client.connections()).people
        assert renamed.was == ("people/c1000000000000000001",)
        respx.clear()
        respond(case("connections/nothing-changed"))
        assert await client.connections() == type(page)((), None, "sync-4", None)


ODD = {
    "resourceName": "people/c1",
    "metadata": {"sources": ["x", {"updateTime": "soon"}], "previousResourceNames": None, "deleted": "yes"},
    "names": [{"displayName": 7}, {"displayName": " Ada ", "metadata": {"primary": True}}],
    "emailAddresses": [{"value": " Ada@Example.com "}, {"value": "ada@example.com"}, {}, None],
    "phoneNumbers": [{"value": " 555 0100 "}, {"canonicalForm": "+15550101", "value": "x"}],
    "organizations": "none",
    "memberships": [{"contactGroupMembership": {"contactGroupResourceName": "contactGroups/a"}}, {"domainMembership": {}}],
}


@respx.mock
async def test_odd_members_lose_themselves_and_not_the_contact() -> None:
    respx.route().respond(200, json={"connections": [ODD], "nextSyncToken": "s", "totalItems": "many"})
    async with people() as client:
        page = await client.connections()
    [person] = page.people
    assert (person.display_name, person.emails, person.phones) == ("Ada", ("ada@example.com",), ("555 0100", "+15550101"))
    assert (person.is_deleted, person.was, person.company, person.groups) == (False, (), None, ("contactGroups/a",))
    assert (person.changed_at, page.total) == (None, None)


@pytest.mark.parametrize(
    "body", [{}, [], {"connections": {}, "nextSyncToken": "s"}, {"connections": [{"names": []}], "nextSyncToken": "s"}, {"connections": []}]
)
@respx.mock
async def test_an_answer_that_would_end_a_walk_early_is_a_failure(body: Any) -> None:
    respx.route().respond(200, json=body)
    async with people() as client:
        with pytest.raises(Failed):
            await client.connections()


def test_a_link_carries_the_challenge_and_never_the_verifier() -> None:
    link = consent_link("https://accounts.example.com/", client_id="app1", redirect_uri=BACK, state="s1", verifier="verifier-1")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"verifier-1").digest()).rstrip(b"=").decode()
    assert (asked["code_challenge"], asked["code_challenge_method"], asked["state"]) == (challenge, "S256", "s1")
    assert (asked["access_type"], asked["prompt"]) == ("offline", "consent")
    assert asked["scope"] == "https://www.googleapis.com/auth/contacts.readonly"
    assert "verifier-1" not in link
    assert link.startswith("https://accounts.example.com/o/oauth2/v2/auth?")


@respx.mock
async def test_a_code_is_exchanged_with_its_verifier_and_a_refresh_keeps_the_token_that_it_used() -> None:
    respx.route().respond(200, json={**case("oauth/refresh-ok")["body"], "refresh_token": "1//0-new"})
    async with endpoint() as oauth:
        granted = await oauth.exchange(SecretStr("4/0A"), verifier=SecretStr("v1"), redirect_uri=BACK, at="google-oauth")
        assert sent() == {
            "client_id": "app1",
            "client_secret": "invented-secret",
            "grant_type": "authorization_code",
            "code": "4/0A",
            "code_verifier": "v1",
            "redirect_uri": BACK,
        }
        assert granted.may_read_contacts
        assert granted.refresh_token is not None
        respx.clear()
        respond(case("oauth/refresh-ok"))
        pair = await oauth.refresh(ADA)
    assert (sent()["grant_type"], sent()["refresh_token"]) == ("refresh_token", "1//0-refresh")
    assert (pair.access.get_secret_value(), pair.refresh, pair.expires_in_s) == ("example-access-token", ADA.refresh, 3599)


def sent() -> dict[str, str]:
    request: httpx.Request = respx.calls.last.request
    return dict(parse_qsl(request.content.decode()))


@respx.mock
async def test_of_a_code_invalid_grant_says_that_it_is_none() -> None:
    respond(case("oauth/invalid_grant"))
    async with endpoint() as oauth:
        with pytest.raises(Refused):
            await oauth.exchange(SecretStr("4/0A"), verifier=SecretStr("v1"), redirect_uri=BACK, at="google-oauth")
        respx.clear()
        respx.route().mock(side_effect=httpx.ReadTimeout)
        with pytest.raises(AnswerLost):
            await oauth.exchange(SecretStr("4/0A"), verifier=SecretStr("v1"), redirect_uri=BACK, at="google-oauth")


def test_only_an_id_of_ours_names_a_users_destination() -> None:
    assert [user_name(name) for name in ("ada_7", "", "a b", "x" * 65, "ada@example.com")] == ["google:ada_7", *["google"] * 4]
