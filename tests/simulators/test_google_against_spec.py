"""The simulated Google against the official discovery document, and against examples of answers."""

import json
from typing import Any

import pytest

from simulators.google import GoogleSimulator
from simulators.google_rules import expired_sync_token, too_many_full_syncs, too_many_reads
from simulators.samples import DEMO_GOOGLE_ACCOUNT
from tests.discovery import Discovery
from tests.simulators.clients import open_api
from tests.simulators.test_google import ALL, BACK, LIST, exchange, refresh
from tests.specs import specs_path

WHOLE = {**ALL, "personFields": "metadata,names,emailAddresses,phoneNumbers", "sources": "READ_SOURCE_TYPE_CONTACT", "pageSize": "1"}


def example(name: str) -> Any:
    cases = json.loads(specs_path("google/response-examples.json").read_text())["cases"]
    return next(case["body"] for case in cases if case["name"] == name)


@pytest.fixture
def google() -> GoogleSimulator:
    return GoogleSimulator()


async def test_every_answer_is_as_described_and_has_the_members_of_the_examples(google: GoogleSimulator) -> None:
    described = Discovery(specs_path("google/people.v1.json"))
    ada: dict[str, Any] = {
        "given": "Ada",
        "family": "Example",
        "emails": ["ada@example.com"],
        "phones": [("087 123 4567", "+353871234567")],
    }
    first, second = (google.put_contact(**ada, company="Example Salon", title="Owner")["resourceName"] for _ in range(2))
    async with open_api(google.app, {}) as client:
        granted = await exchange(client, google.oauth.consent(DEMO_GOOGLE_ACCOUNT, redirect_uri=BACK))
        client.headers["authorization"] = f"Bearer {granted.json()['access_token']}"
        page = await client.get(LIST, params=WHOLE)
        last = await client.get(LIST, params={**WHOLE, "pageToken": page.json()["nextPageToken"]})
        token = last.json()["nextSyncToken"]
        google.remove_contact(DEMO_GOOGLE_ACCOUNT, second)
        tombstone = await client.get(LIST, params={**WHOLE, "syncToken": token})
        google.rename_contact(DEMO_GOOGLE_ACCOUNT, first)
        renamed = await client.get(LIST, params={**WHOLE, "syncToken": tombstone.json()["nextSyncToken"]})
        nothing = await client.get(LIST, params={**WHOLE, "syncToken": renamed.json()["nextSyncToken"]})
    answers = {
        "connections/page-1": page,
        "connections/last": last,
        "connections/incremental-with-tombstone": tombstone,
        "connections/incremental-renamed": renamed,
        "connections/nothing-changed": nothing,
    }
    for name, answer in answers.items():
        assert described.check(answer) == "people.people.connections.list"
        assert shape(answer.json()) == shape(example(name)), name


async def test_refusals_are_those_of_the_examples(google: GoogleSimulator) -> None:
    async with open_api(google.app, {}) as client:
        assert (await client.get(LIST, params=WHOLE)).json() == example("error/401")
        granted = (await exchange(client, google.oauth.consent("ada", redirect_uri=BACK))).json()
        assert set((await refresh(client, granted["refresh_token"])).json()) == set(example("oauth/refresh-ok"))
        google.oauth.revoke("ada")
        assert (await refresh(client, granted["refresh_token"])).json() == example("oauth/invalid_grant")
        assert (await refresh(client, "x", client_id="unknown")).json() == example("oauth/invalid_client")


def test_an_expired_sync_token_and_both_quotas_are_those_of_the_examples(google: GoogleSimulator) -> None:
    assert expired_sync_token().body == example("error/expired-sync-token")
    assert too_many_reads().body == example("error/429-per-minute")
    assert too_many_full_syncs().body == example("error/429-fbs")


def shape(value: Any) -> Any:
    """Names of members and kinds of values, without the values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value).__name__
