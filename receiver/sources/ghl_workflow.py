"""GoHighLevel workflow actions ("Webhook", "Custom Webhook"): unsigned by nature, so each connection shows a secret of its own.

The secret says who sends; nothing in the body is believed about that. The body is whatever a person mapped, so every field is optional.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from receiver.signatures import NamedSecret, match_secret, read_named_secrets
from receiver.sources.base import KEPT_HEADERS, Description, Headers, Incoming, Reason, Rejected
from receiver.sources.fields import Object, member, read_object, text_of, type_of


class GhlWorkflowSource:
    """GHL workflow webhooks, by `(name, secret)` pairs; one name may have several secrets while they are being replaced."""

    name = "ghl-workflow"

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Sequence[tuple[str, str]]) -> None:
        """Raises ConfigError for a bad pair."""
        self._secrets = read_named_secrets(secrets, setting="GHL_WORKFLOW_SECRETS")

    def accept(self, headers: Headers, body: bytes, *, now: datetime) -> Incoming:
        """Compare the secret, then read. Raises Rejected and nothing else."""
        secret = self._match(headers)
        event = read_object(body)
        contact_id = _contact_id(event)
        event_type = _event_type(event) or ("message" if contact_id is None else "contact")
        return Incoming(
            source=self.name,
            kind=f"ghl-workflow.{event_type}",
            key=f"{secret.name}:{_key(headers, event, body, now=now)}",
            lane=None if contact_id is None else f"ghl:contact:{contact_id}",
            body=body,
            headers=headers.kept(KEPT_HEADERS),
            fingerprint=secret.fingerprint,
        )

    def describe(self) -> Description:
        """What is configured and what is switched off."""
        return Description(
            source=self.name,
            scheme="shared secret (X-Webhook-Secret or Authorization: Bearer)",
            configured=bool(self._secrets),
            keys=tuple(f"{secret.name} {secret.fingerprint}" for secret in self._secrets),
            max_age_s=None,
            switched_off=() if self._secrets else ("every message is turned away: GHL_WORKFLOW_SECRETS is not set",),
        )

    def _match(self, headers: Headers) -> NamedSecret:
        if not self._secrets:
            raise Rejected(Reason.NOT_CONFIGURED, "no secret: set GHL_WORKFLOW_SECRETS")
        shown = headers.one("x-webhook-secret", otherwise=Reason.BAD_SIGNATURE) or _bearer(headers)
        if shown is None:
            raise Rejected(Reason.BAD_SIGNATURE, "neither X-Webhook-Secret nor a bearer token")
        secret = match_secret(self._secrets, shown)
        if secret is None:
            raise Rejected(Reason.BAD_SIGNATURE, "the secret is none of the configured ones")
        return secret


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = (headers.one("authorization", otherwise=Reason.BAD_SIGNATURE) or "").partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None


def _key(headers: Headers, event: Object, body: bytes, *, now: datetime) -> str:
    """The sender's own key, or what stands in for one.

    Workflow messages carry no id and no time. The hash of the body alone would swallow the second of two genuine messages that say the
    same ("appointment booked", again next month); so the minute is part of it: a repeat within the minute is one event, a later one is new.
    A repeat across the turn of a minute becomes two: twice is a smaller harm than not at all.
    """
    for name in ("idempotency-key", "x-idempotency-key"):
        key = text_of(headers.one(name, otherwise=Reason.MALFORMED), field=f"the header {name}")
        if key is not None:
            return key
    webhook_id = text_of(event.get("webhookId"), field="webhookId")
    return webhook_id or f"{hashlib.sha256(body).hexdigest()}@{now.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def _event_type(event: Object) -> str | None:
    return (
        type_of(event.get("type"), field="type")
        or type_of(event.get("event"), field="event")
        or type_of(member(event, "customData").get("event"), field="customData.event")
    )


def _contact_id(event: Object) -> str | None:
    return (
        text_of(event.get("contact_id"), field="contact_id")
        or text_of(event.get("contactId"), field="contactId")
        or text_of(member(event, "contact").get("id"), field="contact.id")
        or text_of(member(event, "customData").get("contact_id"), field="customData.contact_id")
    )
