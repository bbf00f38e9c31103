"""Which environment the children of `postroom up` get, and how notes of a timeline are shortened."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import kept, up
from cli.output import brief, plain
from cli.system import GHL, GOOGLE, NOTION, PHOREST, Plan, common, destinations
from dispatcher.config import DispatcherSettings
from receiver.config import ReceiverSettings

OWN = kept.Kept(admin_token="invented-operators-token-1", encryption_key="key")
DEMO_SECRETS = ("GHL_WORKFLOW_SECRETS", "STANDARD_WEBHOOK_SECRETS", "NOTION_WEBHOOK_SECRET", "GHL_WEBHOOK_PUBLIC_KEYS")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def env_for(listening: socket.socket, *simulated: str, **env: str) -> dict[str, str]:
    return common(Plan(Path("/data"), listening, frozenset(simulated), env, webhooks=True), OWN)


def test_what_everybody_knows_opens_only_what_is_simulated(listening: socket.socket) -> None:
    assert not env_for(listening).keys() & set(DEMO_SECRETS)
    assert env_for(listening, GHL).keys() & set(DEMO_SECRETS) == {"GHL_WORKFLOW_SECRETS", "GHL_WEBHOOK_PUBLIC_KEYS"}
    assert env_for(listening, NOTION).keys() & set(DEMO_SECRETS) == {"NOTION_WEBHOOK_SECRET"}
    assert env_for(listening, GHL, NOTION).keys() & set(DEMO_SECRETS) == set(DEMO_SECRETS)


def test_the_receiver_takes_the_settings_made_for_it(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env_for(listening, GHL, NOTION).items():
        monkeypatch.setenv(name, value)
    settings = ReceiverSettings.read()
    assert {"ghl", "ghl-workflow", "standard/demo"} <= settings.fixed_sources().keys()
    assert [admin.name for admin in settings.admins()] == ["local"]
    assert settings.notion_source().describe().configured


def test_what_is_set_wins_over_what_up_makes(listening: socket.socket) -> None:
    env = env_for(listening, GHL, POSTROOM_ADMIN_TOKENS="mine", POSTROOM_ENCRYPTION_KEYS="mine", POSTROOM_LOG_LEVEL="info")
    assert [env[name] for name in ("POSTROOM_ADMIN_TOKENS", "POSTROOM_ENCRYPTION_KEYS", "POSTROOM_LOG_LEVEL")] == ["mine", "mine", "info"]
    assert env_for(listening, POSTROOM_LOG_LEVEL="")["POSTROOM_LOG_LEVEL"] == "warning"


def test_a_real_destination_keeps_its_address_and_token() -> None:
    assert destinations({}) == {}
    for simulated in (GHL, NOTION, GOOGLE, PHOREST):
        made = destinations({simulated: "http://127.0.0.1:1"})
        assert made
        assert all(name.startswith(simulated.upper()) for name in made)


def test_nobody_invented_comes_to_stand_beside_real_contacts() -> None:
    assert up._simulated(DispatcherSettings.read()) == {GHL, NOTION, GOOGLE, PHOREST}
    assert up._simulated(DispatcherSettings.read(ghl_api_key="mine")) == {NOTION}
    assert up._simulated(DispatcherSettings.read(phorest_username="mine", google_client_id="mine")) == {GHL, NOTION}


@pytest.mark.parametrize(
    ("note", "shown"),
    [
        (None, ""),
        ("no route for x", "no route for x"),
        ('{"lead": "created"}', "lead created"),
        (
            '{"taskCreated": true, "tagsApplied": ["a"], "notesCreated": 1, "found": false}',
            "taskCreated, tagsApplied a, notesCreated 1",
        ),
        ("{not json", "{not json"),
        ("x" * 80, "x" * 69 + "…"),
    ],
)
def test_a_note_in_a_table_is_short(note: str | None, shown: str) -> None:
    assert brief(note) == shown


def test_nothing_that_a_terminal_obeys_is_printed() -> None:
    assert plain("a\x1b[31mb\r\n\u202ec") == "a�[31mb���c"
