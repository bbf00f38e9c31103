"""Any sender that follows the Standard Webhooks specification (standardwebhooks.com), one source for each configured name.

Only its symmetric scheme, v1: HMAC-SHA256 of `webhook-id.webhook-timestamp.body`. The specification's window of five minutes is not the
default here: a message that waited in a queue on its way is not lost, and a replay dies on its id.
"""

import re
from collections.abc import Sequence
from datetime import datetime

from receiver.signatures import check_name, read_standard_secrets, verify_standard
from receiver.sources.base import KEPT_HEADERS, Description, Headers, Incoming, Reason, Rejected
from receiver.sources.fields import check_age, read_object, text_of, type_of

# Far above any sender's queue, far below the 30 days for which a key is remembered.
MAX_AGE_S = 2 * 24 * 3600
MAX_KIND_CHARS = 120

_KEPT = (*KEPT_HEADERS, "webhook-id", "webhook-timestamp")
_SECONDS = re.compile(r"[0-9]{1,12}")


class StandardWebhooksSource:
    """One sender, by its name and its secrets, several while they are being replaced."""

    __slots__ = ("_keys", "_max_age_s", "_sender", "name")

    def __init__(self, sender: str, secrets: Sequence[str], *, max_age_s: int | None = MAX_AGE_S) -> None:
        """`sender` is the last part of the path /api/webhooks/standard/NAME. Raises ConfigError for a bad secret."""
        check_name(sender, where="STANDARD_WEBHOOK_SECRETS: a sender")
        self.name = f"standard:{sender}"
        self._sender = sender
        self._keys = read_standard_secrets(secrets, setting=f"STANDARD_WEBHOOK_SECRETS, {sender}")
        self._max_age_s = max_age_s

    def accept(self, headers: Headers, body: bytes, *, now: datetime) -> Incoming:
        """Verify, then read. Raises Rejected and nothing else."""
        if not self._keys:
            raise Rejected(Reason.NOT_CONFIGURED, f"no secret for {self._sender}: set STANDARD_WEBHOOK_SECRETS")
        message_id, timestamp, signatures = (_required(headers, name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature"))
        # Digits only, and later a body that is an object: so the signed text can be cut into id, time and body in one way only.
        if not _SECONDS.fullmatch(timestamp):
            raise Rejected(Reason.BAD_SIGNATURE, "webhook-timestamp is not a whole number of seconds")
        fingerprint = verify_standard(self._keys, signatures, message_id, timestamp, body)
        if fingerprint is None:
            raise Rejected(Reason.BAD_SIGNATURE, "no v1 signature is of a configured secret over this id, time and body")
        self._check_time(int(timestamp), now=now)
        key = text_of(message_id, field="webhook-id")
        if key is None:
            raise Rejected(Reason.MALFORMED, "webhook-id is blank")
        event_type = type_of(read_object(body).get("type"), field="type") or "message"
        kind = f"standard.{self._sender}.{event_type}"
        if len(kind) > MAX_KIND_CHARS:
            raise Rejected(Reason.MALFORMED, f"type is too long: with the sender's name the kind has more than {MAX_KIND_CHARS} characters")
        return Incoming(
            source=self.name,
            kind=kind,
            key=key,
            lane=None,  # the specification knows no object
            body=body,
            headers=headers.kept(_KEPT),
            fingerprint=fingerprint,
        )

    def describe(self) -> Description:
        """What is configured and what is switched off."""
        return Description(
            source=self.name,
            scheme="Standard Webhooks v1, HMAC-SHA256 (webhook-signature)",
            configured=bool(self._keys),
            keys=tuple(key.fingerprint for key in self._keys),
            max_age_s=self._max_age_s,
            switched_off=() if self._keys else ("every message is turned away: STANDARD_WEBHOOK_SECRETS has none for this name",),
        )

    def _check_time(self, moment: int, *, now: datetime) -> None:
        check_age(moment, self._max_age_s, now=now)
        # The specification's tolerance goes both ways: a time far ahead is a fault, or a message meant to be replayed later.
        if self._max_age_s is not None and moment - now.timestamp() > self._max_age_s:
            raise Rejected(Reason.TOO_NEW, f"webhook-timestamp is more than {self._max_age_s} s ahead")


def standard_sources(pairs: Sequence[tuple[str, str]], *, max_age_s: int | None = MAX_AGE_S) -> dict[str, StandardWebhooksSource]:
    """The sources of `(name, secret)` pairs, by the name in their path. Raises ConfigError for a bad secret."""
    secrets: dict[str, list[str]] = {}
    for sender, secret in pairs:
        secrets.setdefault(sender, []).append(secret)
    return {sender: StandardWebhooksSource(sender, several, max_age_s=max_age_s) for sender, several in secrets.items()}


def _required(headers: Headers, name: str) -> str:
    value = headers.one(name, otherwise=Reason.BAD_SIGNATURE)
    if value is None:
        raise Rejected(Reason.BAD_SIGNATURE, f"no {name} header")
    return value
