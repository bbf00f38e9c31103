"""The receiver's variables: who may send, with which keys, who may look and act, and the bounds.

Every key and secret is read once while the settings are made, so that a bad one is a ConfigError at the start and not a 401 later.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError

from outbox.config import GoogleSettings, Secrets, Words
from outbox.errors import ConfigError
from receiver.signatures import MIN_SECRET_CHARS, is_usable_secret, split_named_secrets
from receiver.sources import ghl, notion, standard_webhooks
from receiver.sources.base import Source
from receiver.sources.ghl import GhlSource
from receiver.sources.ghl_workflow import GhlWorkflowSource
from receiver.sources.notion import NotionSource
from receiver.sources.standard_webhooks import standard_sources

_OPERATOR_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class Role(StrEnum):
    """What a token may do."""

    VIEWER = "viewer"  # reads
    OPERATOR = "operator"  # reads and acts

    def includes(self, other: "Role") -> bool:
        """Whether this role may do what the other may."""
        return self is Role.OPERATOR or other is Role.VIEWER


_ORIGIN = re.compile(r"https?://(?:[a-z0-9-]+\.)*[a-z0-9-]+(?::\d{1,5})?")
_VARIABLE = re.compile(r"^[A-Z_]{6,}[:,] ")
_ROLES = frozenset(Role)


@dataclass(frozen=True, slots=True)
class AdminToken:
    """Whose token it is and what it may do; the token itself is kept only as its SHA-256."""

    name: str
    role: Role
    digest: bytes = field(repr=False)


class ReceiverSettings(GoogleSettings):
    """Where the receiver listens, whom it believes, and how much it takes."""

    port: int = Field(8000, alias="PORT", ge=0, le=65535, description="Port that the receiver listens on; 0 takes a free one.")
    host: str = Field("127.0.0.1", alias="POSTROOM_HOST", description="Address that the receiver listens on; 0.0.0.0 for all.")
    public_url: AnyHttpUrl | None = Field(
        None,
        alias="POSTROOM_PUBLIC_URL",
        description="Where browsers and providers reach the receiver, as https://postroom.example.com. Absent: no links are made.",
    )
    ghl_public_keys: str | None = Field(
        None,
        alias="GHL_WEBHOOK_PUBLIC_KEYS",
        description="Ed25519 keys of GHL's webhooks, PEM or base64, several apart by commas. Absent: the key that GHL publishes.",
    )
    ghl_accept_rsa: bool = Field(False, alias="GHL_ACCEPT_RSA", description="Whether GHL's legacy header X-WH-Signature counts.")
    ghl_app_id: str | None = Field(
        None, alias="GHL_APP_ID", description="Id of your GHL app; messages for another are turned away. Absent: not checked."
    )
    ghl_workflow_secrets: Secrets = Field(
        (), alias="GHL_WORKFLOW_SECRETS", description="name=secret for each GHL workflow that sends. Absent: none may."
    )
    notion_secrets: Secrets = Field(
        (),
        alias="NOTION_WEBHOOK_SECRET",
        description="Verification tokens of Notion's subscriptions. Absent: those that an operator promoted.",
    )
    standard_secrets: Secrets = Field(
        (), alias="STANDARD_WEBHOOK_SECRETS", description="name=whsec_… for each Standard Webhooks sender. Absent: none may."
    )
    installation: str = Field(
        "Postroom", alias="POSTROOM_NAME", min_length=1, max_length=60, description="What the console calls this installation."
    )
    embed_origins: Words = Field(
        (),
        alias="POSTROOM_EMBED_ORIGINS",
        description="Apps that may show the light in their pages, as https://app.example.com, several apart by commas. Absent: none may.",
    )
    admin_tokens: Secrets = Field(
        (),
        alias="POSTROOM_ADMIN_TOKENS",
        description="name:role:token for each person, roles viewer and operator; a bare token is an operator. Absent: the API is closed.",
    )
    cron_secret: SecretStr | None = Field(
        None, alias="CRON_SECRET", description="Bearer token of an external scheduler that calls /api/cron. Absent: it may not."
    )
    body_limit_bytes: int = Field(
        262_144, alias="POSTROOM_BODY_LIMIT_BYTES", ge=1_024, le=1_048_576, description="The largest body that is taken, in bytes."
    )
    max_waiting: int = Field(
        5_000, alias="POSTROOM_MAX_WAITING", ge=1, le=100_000, description="Webhooks that may wait for their commit in one receiver."
    )
    webhook_max_age_s: int | None = Field(
        None,
        alias="POSTROOM_WEBHOOK_MAX_AGE_SECONDS",
        ge=60,
        le=30 * 24 * 3600,
        description="Older messages are turned away. Absent: each source's own limit, above its sender's last retry.",
    )

    @field_validator("ghl_public_keys")
    @classmethod
    def _check_ghl_keys(cls, value: str | None) -> str | None:
        if value is not None:
            _checked(lambda: GhlSource([value]))
        return value

    @field_validator("ghl_workflow_secrets")
    @classmethod
    def _check_workflow_secrets(cls, value: Secrets) -> Secrets:
        _checked(lambda: GhlWorkflowSource(split_named_secrets(_plain(value), setting="GHL_WORKFLOW_SECRETS")))
        return value

    @field_validator("notion_secrets")
    @classmethod
    def _check_notion_secrets(cls, value: Secrets) -> Secrets:
        _checked(lambda: NotionSource(_plain(value)))
        return value

    @field_validator("standard_secrets")
    @classmethod
    def _check_standard_secrets(cls, value: Secrets) -> Secrets:
        _checked(lambda: standard_sources(split_named_secrets(_plain(value), setting="STANDARD_WEBHOOK_SECRETS")))
        return value

    @field_validator("embed_origins")
    @classmethod
    def _check_origins(cls, value: Words) -> Words:
        origins = tuple(one.lower().rstrip("/") for one in value)
        if not all(_ORIGIN.fullmatch(one) for one in origins):  # what is written here goes into a header
            raise PydanticCustomError("origin", "an origin is a scheme and a host, as https://app.example.com")
        return origins

    @field_validator("cron_secret")
    @classmethod
    def _check_cron_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_usable_secret(value.get_secret_value()):
            raise PydanticCustomError("secret", "a secret has {n} characters or more, none of them a space", {"n": MIN_SECRET_CHARS})
        return value

    @field_validator("admin_tokens")
    @classmethod
    def _check_admin_tokens(cls, value: Secrets) -> Secrets:
        _checked(lambda: read_admin_tokens(_plain(value)))
        return value

    def admins(self) -> tuple[AdminToken, ...]:
        """Who may use the operators' API."""
        return read_admin_tokens(_plain(self.admin_tokens))

    def fixed_sources(self) -> dict[str, Source]:
        """All sources but Notion's, by the part of the path behind /api/webhooks/."""
        workflow = split_named_secrets(_plain(self.ghl_workflow_secrets), setting="GHL_WORKFLOW_SECRETS")
        standard = split_named_secrets(_plain(self.standard_secrets), setting="STANDARD_WEBHOOK_SECRETS")
        keys = None if self.ghl_public_keys is None else [self.ghl_public_keys]
        return {
            "ghl": GhlSource(
                keys, app_id=self.ghl_app_id, accept_rsa=self.ghl_accept_rsa, max_age_s=self.webhook_max_age_s or ghl.MAX_AGE_S
            ),
            "ghl-workflow": GhlWorkflowSource(workflow),
            **{
                f"standard/{name}": source
                for name, source in standard_sources(standard, max_age_s=self.webhook_max_age_s or standard_webhooks.MAX_AGE_S).items()
            },
        }

    def notion_source(self, promoted: tuple[SecretStr, ...] = ()) -> NotionSource:
        """Notion with the configured tokens and those that operators promoted."""
        return NotionSource(_plain((*self.notion_secrets, *promoted)), max_age_s=self.webhook_max_age_s or notion.MAX_AGE_S)

    def known_secrets(self) -> tuple[str, ...]:
        """Every secret of these settings as its sender would write it, so that none is ever kept with a rejected request."""
        named = [entry.partition("=")[2].strip() for entry in _plain((*self.ghl_workflow_secrets, *self.standard_secrets))]
        tokens = [secret.rpartition(":")[2] for secret in _plain(self.admin_tokens)]
        cron = [] if self.cron_secret is None else [self.cron_secret.get_secret_value()]
        return tuple(secret for secret in (*named, *tokens, *cron, *_plain(self.notion_secrets)) if secret)


def read_admin_tokens(entries: tuple[str, ...]) -> tuple[AdminToken, ...]:
    """`name:role:token`, or a bare token for the operator named operator. Raises ConfigError, which never quotes an entry."""
    read: dict[bytes, AdminToken] = {}
    for number, entry in enumerate(entries, 1):
        where = f"entry {number} of {len(entries)}"
        name, role, token = entry.split(":", 2) if entry.count(":") >= 2 else ("operator", "operator", entry)
        if ":" in token or not _OPERATOR_NAME.fullmatch(name) or role not in _ROLES:
            raise ConfigError(f"{where} is neither name:role:token (roles viewer and operator; no colon in the token) nor a bare token")
        if not is_usable_secret(token):
            raise ConfigError(f"{where}: the token is shorter than {MIN_SECRET_CHARS} characters or has spaces or control characters in it")
        digest = hashlib.sha256(token.encode()).digest()
        if digest in read:
            raise ConfigError(f"{where} repeats the token of another entry; a token says who acts, so each person needs an own one")
        read[digest] = AdminToken(name, Role(role), digest)
    return tuple(read.values())


def _plain(secrets: tuple[SecretStr, ...]) -> tuple[str, ...]:
    return tuple(secret.get_secret_value() for secret in secrets)


def _checked(read: Callable[[], object]) -> None:
    """Turns our ConfigError into what pydantic gathers, so that all mistakes are reported together."""
    try:
        read()
    except ConfigError as problem:
        message = _VARIABLE.sub("", str(problem))  # the report names the variable already
        raise PydanticCustomError("setting", "{message}", {"message": message}) from None
