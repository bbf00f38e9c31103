"""The receiver's settings: what is read, and that every mistake is reported at once, by name, without a value."""

import base64

import pytest

from outbox.errors import ConfigError
from receiver.config import ReceiverSettings, Role
from simulators.signing import GhlSigner
from tests.receiver.senders import STANDARD_SECRET, WORKFLOW_SECRET

VARIABLES = [str(field.alias) for field in ReceiverSettings.model_fields.values()]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_any_variable_only_ghls_published_key_counts() -> None:
    own = ReceiverSettings.read()
    described = {name: source.describe() for name, source in own.fixed_sources().items()}
    assert {name: one.configured for name, one in described.items()} == {"ghl": True, "ghl-workflow": False}
    assert not own.notion_source().describe().configured
    assert own.admins() == ()
    assert (own.port, own.host, own.body_limit_bytes) == (8000, "127.0.0.1", 262_144)


def test_a_pem_is_read_with_real_and_with_written_line_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    pem = GhlSigner.for_demo().public_key_pem
    keys = set()
    for text in (pem, pem.replace("\n", "\\n"), f"{pem},{pem}", f"  {pem}  "):
        monkeypatch.setenv("GHL_WEBHOOK_PUBLIC_KEYS", text)
        keys.add(ReceiverSettings.read().fixed_sources()["ghl"].describe().keys)
    assert len(keys) == 1
    assert len(keys.pop()) == 1


def test_several_keys_and_secrets_count_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHL_WEBHOOK_PUBLIC_KEYS", GhlSigner.for_demo().public_key_pem + "," + GhlSigner.generate().public_key_pem)
    monkeypatch.setenv("NOTION_WEBHOOK_SECRET", "token-number-one-1,token-number-two-2")
    monkeypatch.setenv("STANDARD_WEBHOOK_SECRETS", f"shop={STANDARD_SECRET},shop=whsec_{base64.b64encode(b'x' * 24).decode()}")
    own = ReceiverSettings.read()
    assert len(own.fixed_sources()["ghl"].describe().keys) == 2
    assert len(own.notion_source().describe().keys) == 2
    assert len(own.fixed_sources()["standard/shop"].describe().keys) == 2


def test_every_mistake_is_reported_at_once_by_name_and_never_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "PORT": "99999",
        "GHL_WEBHOOK_PUBLIC_KEYS": "sesame-is-no-key",
        "GHL_ACCEPT_RSA": "sesame-maybe",
        "GHL_WORKFLOW_SECRETS": "sesame-without-a-name",
        "NOTION_WEBHOOK_SECRET": "sesame",
        "STANDARD_WEBHOOK_SECRETS": "shop=sesame-without-whsec",
        "POSTROOM_ADMIN_TOKENS": "ana:king:sesame-sesame-sesame",
        "POSTROOM_BODY_LIMIT_BYTES": "sesame",
        "POSTROOM_MAX_WAITING": "0",
        "POSTROOM_WEBHOOK_MAX_AGE_SECONDS": "1",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        ReceiverSettings.read()
    assert all(f"  {name}: " in str(caught.value) for name in wrong)
    assert "sesame" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == len(wrong) + 1


@pytest.mark.parametrize(
    "entry",
    [
        "short",
        "ana:viewer:short",
        "ana:viewer:",
        "ana:viewer",
        "ana:owner:0123456789abcdef",
        ":viewer:0123456789abcdef",
        "ana smith:viewer:0123456789abcdef",
        "ana:viewer:0123456789:abcdef",
        "0123456789abc def0",
        "ana:viewer:0123456789abcdef,bob:viewer:0123456789abcdef",
    ],
)
def test_an_admin_token_that_cannot_be_used_is_a_mistake(entry: str) -> None:
    with pytest.raises(ConfigError, match="POSTROOM_ADMIN_TOKENS"):
        ReceiverSettings.read(admin_tokens=entry)


def test_admin_tokens_have_names_and_roles_and_a_bare_one_is_an_operator() -> None:
    own = ReceiverSettings.read(admin_tokens="ana:viewer:0123456789abcdef, bob:operator:fedcba9876543210,a-bare-token-of-some-length")
    assert [(one.name, one.role) for one in own.admins()] == [
        ("ana", Role.VIEWER),
        ("bob", Role.OPERATOR),
        ("operator", Role.OPERATOR),
    ]


def test_secrets_print_as_stars() -> None:
    own = ReceiverSettings.read(
        admin_tokens="ana:viewer:0123456789abcdef",
        ghl_workflow_secrets=f"booking={WORKFLOW_SECRET}",
        standard_secrets=f"shop={STANDARD_SECRET}",
        notion_secrets="token-number-one-1",
    )
    shown = repr(own) + str(own) + repr(own.admins())
    assert not any(secret in shown for secret in ("0123456789abcdef", WORKFLOW_SECRET, STANDARD_SECRET, "token-number-one-1"))


def test_every_secret_is_known_for_blanking() -> None:
    own = ReceiverSettings.read(
        admin_tokens="ana:viewer:0123456789abcdef,a-bare-token-of-some-length",
        ghl_workflow_secrets=f"booking={WORKFLOW_SECRET}",
        standard_secrets=f"shop={STANDARD_SECRET}",
        notion_secrets="token-number-one-1",
    )
    assert set(own.known_secrets()) == {
        "0123456789abcdef",
        "a-bare-token-of-some-length",
        WORKFLOW_SECRET,
        STANDARD_SECRET,
        "token-number-one-1",
    }


def test_an_age_limit_of_the_settings_counts_for_every_source_with_a_time() -> None:
    own = ReceiverSettings.read(webhook_max_age_s=3600, standard_secrets=f"shop={STANDARD_SECRET}")
    ages = {name: source.describe().max_age_s for name, source in own.fixed_sources().items()}
    assert ages == {"ghl": 3600, "ghl-workflow": None, "standard/shop": 3600}
    assert own.notion_source().describe().max_age_s == 3600
