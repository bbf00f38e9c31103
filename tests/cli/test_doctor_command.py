"""`postroom doctor`: says what is set up, what works, what is wrong and what to do, and its exit code agrees."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from outbox import Event, stage
from outbox.seal import Sealer, fingerprint, new_key
from outbox.store import connections, destinations, handshakes
from outbox.testing import Postroom
from simulators.ghl import GhlSimulator
from simulators.notion import NotionSimulator
from simulators.serving import serve
from tests.cli.conftest import Command
from tests.cli.program import Ended


def standing(ended: Ended, area: str) -> list[str]:
    return [finding["standing"] for finding in ended.json()["findings"] if finding["area"] == area]


def says(ended: Ended, area: str) -> str:
    return " ".join(f"{finding['says']} {finding['do']}" for finding in ended.json()["findings"] if finding["area"] == area)


async def test_an_empty_system_is_well_and_says_what_is_switched_off(command: Command) -> None:
    ended = command("doctor", "--no-calls", "--json")
    assert ended.code == 0
    assert ended.json()["ok"]
    assert standing(ended, "database") == ["fine"]
    assert standing(ended, "from ghl") == ["fine"]
    for area in ("encryption", "operators", "from ghl-workflow", "from notion", "ghl app", "to ghl", "to notion", "dispatchers"):
        assert standing(ended, area) == ["off"], area
    assert "doctor --new-key" in says(ended, "encryption")


async def test_everything_that_is_set_up_is_found_to_work(
    command: Command, ghl: tuple[GhlSimulator, str], notion: tuple[NotionSimulator, str]
) -> None:
    ended = await asyncio.to_thread(
        command,
        "doctor",
        "--json",
        POSTROOM_ENCRYPTION_KEYS=new_key(),
        POSTROOM_ADMIN_TOKENS="maeve:operator:invented-operators-token-1",
        GHL_WORKFLOW_SECRETS="booking=invented-secret-of-booking",
        NOTION_WEBHOOK_SECRET="invented-verification-token",
        GHL_API_KEY=ghl[0].settings.token,
        GHL_LOCATION_ID=ghl[0].settings.location_id,
        GHL_API_BASE_URL=ghl[1],
        NOTION_API_KEY=notion[0].settings.token,
        NOTION_API_BASE_URL=notion[1],
        PORT="1",
    )
    assert ended.code == 0
    for area in ("encryption", "operators", "from ghl-workflow", "from notion", "to ghl", "to notion"):
        assert standing(ended, area) == ["fine"], area
    assert "maeve (operator)" in says(ended, "operators")
    assert "invented" not in ended.out
    assert ghl[0].effects.count() == 0


async def test_a_token_that_is_not_taken_is_wrong(
    command: Command, ghl: tuple[GhlSimulator, str], notion: tuple[NotionSimulator, str]
) -> None:
    variables = {
        "GHL_API_KEY": "pit-of-somebody-else",
        "GHL_LOCATION_ID": "x",
        "GHL_API_BASE_URL": ghl[1],
        "NOTION_API_KEY": "ntn_of_somebody_else",
        "NOTION_API_BASE_URL": notion[1],
    }
    ended = await asyncio.to_thread(command, "doctor", "--json", PORT="1", **variables)
    assert ended.code == 1
    assert standing(ended, "to ghl") == standing(ended, "to notion") == ["wrong"]
    assert "401" in says(ended, "to ghl")
    assert "somebody" not in ended.out


async def test_a_destination_that_nobody_answers_for_is_wrong(command: Command) -> None:
    async with serve(Starlette()) as running:
        address = running.base_url
    ended = await asyncio.to_thread(command, "doctor", "--json", NOTION_API_KEY="ntn_invented", NOTION_API_BASE_URL=address, PORT="1")
    assert ended.code == 1
    assert "could not be reached" in says(ended, "to notion")


@pytest.mark.parametrize("name", ["GHL_API_KEY", "GHL_LOCATION_ID"])
async def test_half_of_ghls_settings_is_wrong_and_names_the_other_half(command: Command, name: str) -> None:
    ended = command("doctor", "--no-calls", "--json", **{name: "pit-invented"})
    assert ended.code == 1
    assert "is not" in says(ended, "to ghl")


APP = {"GHL_CLIENT_ID": "0123456789abcdef01234567-x1", "GHL_CLIENT_SECRET": "invented-client-secret"}


@pytest.mark.parametrize(
    ("variables", "expected", "words"),
    [
        ({"GHL_CLIENT_ID": "x-1"}, "wrong", "GHL_CLIENT_SECRET is not"),
        ({"GHL_CLIENT_SECRET": "x"}, "wrong", "GHL_CLIENT_ID is not"),
        (APP, "wrong", "POSTROOM_ENCRYPTION_KEYS"),
        (APP | {"POSTROOM_ENCRYPTION_KEYS": new_key()}, "off", "POSTROOM_PUBLIC_URL"),
        (
            APP | {"POSTROOM_ENCRYPTION_KEYS": new_key(), "POSTROOM_PUBLIC_URL": "https://postroom.example.com/"},
            "fine",
            "https://postroom.example.com/api/oauth/ghl/callback",
        ),
    ],
)
async def test_the_app_at_ghl_is_found_with_what_it_lacks(command: Command, variables: dict[str, str], expected: str, words: str) -> None:
    ended = command("doctor", "--no-calls", "--json", **variables)
    assert standing(ended, "ghl app") == [expected]
    assert words in says(ended, "ghl app")
    assert "invented" not in ended.out


async def test_a_location_that_waits_for_its_consent_is_pointed_at(command: Command, postroom: Postroom) -> None:
    given: dict[str, Any] = {"provider": "ghl", "company_id": None, "label": None, "at": datetime.now(UTC)}
    await connections.install(postroom.pool, "ghl:Cork", account="Cork", why="waits for a consent", **given)
    await connections.connect(postroom.pool, "ghl:Dublin", account="Dublin", sealed=b"x", expires_in_s=60, **given)
    ended = command("doctor", "--no-calls", "--json", GHL_LOCATION_ID="Dublin", **APP, POSTROOM_ENCRYPTION_KEYS=new_key())
    assert ended.code == 0
    assert (standing(ended, "to ghl:Cork"), standing(ended, "connections")) == (["warn"], ["fine"])
    assert "postroom connect ghl" in says(ended, "to ghl:Cork")
    assert "Dublin goes by its consent" in says(ended, "to ghl")


async def test_events_that_wait_for_a_dispatcher_are_wrong(command: Command, postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction():
        await stage(connection, Event("report.due", {}))
    ended = command("doctor", "--no-calls", "--json")
    assert (ended.code, standing(ended, "dispatchers")) == (1, ["wrong"])
    assert "postroom worker" in says(ended, "dispatchers")
    assert "WRONG" in command("doctor", "--no-calls").out


async def test_a_stopped_destination_and_a_waiting_token_are_pointed_at(command: Command, postroom: Postroom) -> None:
    await destinations.pause(postroom.pool, "notion", why="maintenance", by="maeve")
    await destinations.open_breaker(postroom.pool, "ghl", why="ghl answered 401", probe_in_s=60, unauthorised=True)
    key = new_key()
    sealed = Sealer([SecretStr(key)]).seal("invented-verification-token")
    await handshakes.offer(postroom.pool, "notion", sealed=sealed, fingerprint=fingerprint("x"), remote=None)
    ended = command("doctor", "--no-calls", "--json")
    assert ended.code == 1
    assert "postroom destinations resume notion" in says(ended, "to notion")
    assert "wrong" in standing(ended, "to ghl")
    assert "postroom handshake" in says(ended, "from notion")


async def test_a_promoted_token_whose_key_is_gone_is_wrong(command: Command, postroom: Postroom) -> None:
    sealed = Sealer([SecretStr(new_key())]).seal("invented-verification-token")
    handshake_id = await handshakes.offer(postroom.pool, "notion", sealed=sealed, fingerprint=fingerprint("x"), remote=None)
    await handshakes.promote(postroom.pool, "notion", handshake_id, by="maeve")
    ended = command("doctor", "--no-calls", "--json", POSTROOM_ENCRYPTION_KEYS=new_key())
    assert (ended.code, standing(ended, "from notion")) == (1, ["wrong"])
    assert "POSTROOM_ENCRYPTION_KEYS" in says(ended, "from notion")


async def test_a_receiver_that_answers_is_asked_whether_it_is_ready(command: Command) -> None:
    async def not_ready(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with serve(not_ready) as running:
        ended = await asyncio.to_thread(command, "doctor", "--json", PORT=str(running.port))
    assert (ended.code, standing(ended, "receiver")) == (1, ["wrong"])


async def test_who_is_told_of_alerts_is_found_and_whether_the_receiver_tells_that_no_dispatcher_is_alive(command: Command) -> None:
    async def ready(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"ready": true, "waiting": 0, "watches": false}'})

    async with serve(ready) as running:
        port = str(running.port)
        silent = await asyncio.to_thread(command, "doctor", "--json", PORT=port)
        told = await asyncio.to_thread(command, "doctor", "--json", PORT=port, POSTROOM_ALERT_URLS="room=slack+https://hooks.example.com/x")
    assert (standing(silent, "alerts"), standing(silent, "receiver")) == (["off"], ["fine"])
    assert "POSTROOM_ALERT_URLS is not set" in says(silent, "alerts")
    assert (standing(told, "alerts"), standing(told, "receiver"), told.code) == (["fine"], ["warn"], 0)
    assert "hooks.example.com" not in told.out


def test_a_database_that_is_away_is_a_finding_among_others(bare: Command) -> None:
    ended = bare("doctor", "--no-calls", "--json", DATABASE_URL="postgresql://app@127.0.0.1:1/postroom")
    assert (ended.code, standing(ended, "database")) == (1, ["wrong"])
    assert standing(ended, "from ghl") == ["fine"]


def test_a_new_key_is_printed_and_nothing_else_is_done(bare: Command) -> None:
    key = bare("doctor", "--new-key").out.strip()
    Sealer([SecretStr(key)])
    assert bare("doctor", "--new-key", "--json").json()["key"] != key
