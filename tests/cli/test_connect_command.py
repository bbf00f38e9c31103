"""`postroom connect`: the link that connects a location, and the list of what is connected."""

import asyncio
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from outbox.seal import Sealer, new_key
from outbox.store import connections, consents
from outbox.testing import Postroom
from tests.cli.conftest import Command

READY = {
    "GHL_CLIENT_ID": "0123456789abcdef01234567-x1",
    "GHL_CLIENT_SECRET": "invented-client-secret",
    "POSTROOM_PUBLIC_URL": "https://postroom.example.com/",
    "POSTROOM_ENCRYPTION_KEYS": new_key(),
}


async def test_a_link_carries_a_state_that_counts_once_and_no_secret(command: Command, postroom: Postroom) -> None:
    ended = command("connect", "ghl", "--label", "Shop in Cork", "--json", LOGNAME="maeve", **READY)
    assert ended.code == 0
    link = urlsplit(ended.json()["link"])
    asked = {name: values[0] for name, values in parse_qs(link.query).items()}
    assert (link.netloc, link.path) == ("marketplace.gohighlevel.com", "/v2/oauth/chooselocation")
    assert (asked["response_type"], asked["client_id"]) == ("code", READY["GHL_CLIENT_ID"])
    assert asked["redirect_uri"] == ended.json()["redirect_uri"] == "https://postroom.example.com/api/oauth/ghl/callback"
    assert "contacts.write" in asked["scope"].split()
    assert "oauth.write" not in asked["scope"]
    assert READY["GHL_CLIENT_SECRET"] not in ended.out
    consent = await consents.end(postroom.pool, "ghl", asked["state"])
    assert consent is not None
    assert (consent["redirect_uri"], consent["label"], consent["made_by"]) == (asked["redirect_uri"], "Shop in Cork", "maeve")
    assert await consents.end(postroom.pool, "ghl", asked["state"]) is None
    assert await postroom.rows("select who, what, target from outbox.audit") == [{"who": "maeve", "what": "begin consent", "target": "ghl"}]


def test_the_link_of_an_agency_a_white_label_and_a_private_app(command: Command) -> None:
    ended = command("connect", "ghl", "--agency", "--white-label", "--neutral", "--version-id", "v1", "--json", **READY)
    link = urlsplit(ended.json()["link"])
    asked = parse_qs(link.query)
    assert link.netloc == "marketplace.leadconnectorhq.com"
    assert (asked["version_id"], "oauth.write" in asked["scope"][0]) == (["v1"], True)
    assert asked["redirect_uri"] == ["https://postroom.example.com/api/oauth/crm/callback"]
    assert link.geturl() not in command("connect", "ghl", **READY).out  # each has a state of its own


@pytest.mark.parametrize("name", READY)
def test_what_is_missing_is_named(command: Command, name: str) -> None:
    ended = command("connect", "ghl", **{variable: value for variable, value in READY.items() if variable != name})
    assert (ended.code, ended.out) == (1, "")
    assert f"{name} is not set" in ended.err


async def test_connections_are_listed_without_their_tokens(command: Command, postroom: Postroom) -> None:
    assert "Nothing is connected" in (await asyncio.to_thread(command, "connect")).out
    await connections.connect(
        postroom.pool,
        "ghl:CorkLocation",
        provider="ghl",
        account="CorkLocation",
        company_id="Agency",
        label="Shop in Cork",
        sealed=b"sealed-pair",
        expires_in_s=86_399,
        at=datetime.now(UTC),
    )
    await connections.give_up(postroom.pool, "ghl:CorkLocation", version=1, why="Invalid grant")
    [entry] = (await asyncio.to_thread(command, "connect", "--json")).json()["connections"]
    assert (entry["name"], entry["state"], entry["label"], entry["why"]) == (
        "ghl:CorkLocation",
        "inactive",
        "Shop in Cork",
        "Invalid grant",
    )
    shown = (await asyncio.to_thread(command, "connect")).out
    assert "Shop in Cork" in shown
    assert "sealed" not in shown


def test_a_connected_location_can_be_paused_by_its_name(command: Command) -> None:
    assert command("destinations", "pause", "ghl:CorkLocation").code == 0
    assert "ghl:CorkLocation" in command("destinations").out
    assert command("destinations", "resume", "ghl:CorkLocation").out.startswith("ghl:CorkLocation flows again: no event waits")


GOOGLE = {
    "GOOGLE_CLIENT_ID": "000000000000-x1.apps.googleusercontent.com",
    "GOOGLE_CLIENT_SECRET": "invented-google-secret",
    **{name: READY[name] for name in ("POSTROOM_PUBLIC_URL", "POSTROOM_ENCRYPTION_KEYS")},
}


async def test_a_users_link_carries_a_challenge_whose_verifier_only_the_sealed_row_has(command: Command, postroom: Postroom) -> None:
    ended = command("connect", "google", "--user", "ada_7", "--json", LOGNAME="maeve", **GOOGLE)
    assert ended.code == 0
    link = urlsplit(ended.json()["link"])
    asked = {name: values[0] for name, values in parse_qs(link.query).items()}
    assert (link.netloc, link.path) == ("accounts.google.com", "/o/oauth2/v2/auth")
    assert asked["redirect_uri"] == "https://postroom.example.com/api/oauth/google/callback"
    assert GOOGLE["GOOGLE_CLIENT_SECRET"] not in ended.out
    consent = await consents.end(postroom.pool, "google", asked["state"])
    assert consent is not None
    assert (consent["account"], consent["made_by"]) == ("ada_7", "maeve")
    verifier = Sealer([SecretStr(READY["POSTROOM_ENCRYPTION_KEYS"])]).open(bytes(consent["verifier"])).get_secret_value()
    assert urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode() == asked["code_challenge"]
    assert verifier not in ended.out
    assert await postroom.rows("select what, target from outbox.audit") == [{"what": "begin consent", "target": "google:ada_7"}]


@pytest.mark.parametrize("user", ["ada@example.com", "", "a b", "x" * 65])
def test_only_an_id_of_the_apps_own_names_a_user(command: Command, user: str) -> None:
    ended = command("connect", "google", "--user", user, **GOOGLE)
    assert (ended.code, "letters, digits" in ended.err) == (1, True)


def test_what_google_needs_is_named_too(command: Command) -> None:
    ended = command("connect", "google", "--user", "ada", POSTROOM_PUBLIC_URL="https://postroom.example.com")
    assert all(name in ended.err for name in ("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET", "POSTROOM_ENCRYPTION_KEYS"))
