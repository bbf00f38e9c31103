"""Notion webhooks: HMAC-SHA256 of the raw body under the subscription's verification token, in X-Notion-Signature.

The handshake carries a token and is signed with that same token, so it proves nothing and is only ever a candidate. There is no key id:
with several subscriptions on one address, each token is tried.
"""

import re
from collections.abc import Sequence
from datetime import datetime

from pydantic import SecretStr

from receiver.signatures import hmac_key, is_usable_secret, read_tokens, verify_prefixed_hex
from receiver.sources.base import KEPT_HEADERS, Description, Handshake, Headers, Incoming, Reason, Rejected
from receiver.sources.fields import MAX_NAME_CHARS, Object, check_age, member, moment_of, read_object, text_of, type_of

# Unacknowledged deliveries are repeated for about 24 hours; a day more. Below the 30 days for which a key is remembered.
MAX_AGE_S = 2 * 24 * 3600
MAX_HANDSHAKE_BYTES = 1024

_KEPT = (*KEPT_HEADERS, "x-notion-timestamp")
_UUID = re.compile(r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})")


class NotionSource:
    """Notion subscriptions, by their verification tokens. Without one, only handshakes get in."""

    name = "notion"

    __slots__ = ("_keys", "_max_age_s")

    def __init__(self, tokens: Sequence[str], *, max_age_s: int | None = MAX_AGE_S) -> None:
        """Raises ConfigError for a bad token."""
        self._keys = read_tokens(tokens, setting="NOTION_WEBHOOK_SECRET")
        self._max_age_s = max_age_s

    def accept(self, headers: Headers, body: bytes, *, now: datetime) -> Incoming | Handshake:
        """A handshake as it is; anything else is verified, then read. Raises Rejected and nothing else."""
        signature = headers.one("x-notion-signature", otherwise=Reason.BAD_SIGNATURE)
        handshake = self._handshake(signature, body)
        if handshake is not None:
            return handshake
        fingerprint = self._verify(signature, body)
        event = read_object(body)
        self._check_age(headers, event, now=now)
        key = text_of(event.get("id"), field="id")
        event_type = type_of(event.get("type"), field="type")
        if key is None or event_type is None:
            raise Rejected(Reason.MALFORMED, "the body has no id or no type")
        return Incoming(
            source=self.name,
            kind=f"notion.{event_type}",
            key=dashed(key),
            lane=_lane(event_type, member(event, "entity")),
            body=body,
            headers=headers.kept(_KEPT),
            fingerprint=fingerprint,
        )

    def describe(self) -> Description:
        """What is configured and what is switched off."""
        return Description(
            source=self.name,
            scheme="HMAC-SHA256 (X-Notion-Signature)",
            configured=bool(self._keys),
            keys=tuple(key.fingerprint for key in self._keys),
            max_age_s=self._max_age_s,
            switched_off=()
            if self._keys
            else ("only the handshake is accepted: NOTION_WEBHOOK_SECRET is not set and no token was promoted",),
        )

    def _handshake(self, signature: str | None, body: bytes) -> Handshake | None:
        if len(body) > MAX_HANDSHAKE_BYTES or b'"verification_token"' not in body:
            return None
        try:
            event = read_object(body)
        except Rejected:
            return None  # nothing unverified learns more about its body than that the signature is wrong
        if event.keys() != {"verification_token"}:
            return None
        token = event["verification_token"]
        if not isinstance(token, str) or len(token) > MAX_NAME_CHARS or not is_usable_secret(token):
            raise Rejected(Reason.MALFORMED, "the handshake's verification_token is not usable as a secret")
        key = hmac_key(token)
        if signature is not None and verify_prefixed_hex((key,), signature, body) is None:
            raise Rejected(Reason.BAD_SIGNATURE, "the handshake is not signed with the token it carries")
        return Handshake(source=self.name, token=SecretStr(token), fingerprint=key.fingerprint)

    def _verify(self, signature: str | None, body: bytes) -> str:
        if not self._keys:
            raise Rejected(Reason.NOT_CONFIGURED, "no verification token: set NOTION_WEBHOOK_SECRET or promote a candidate")
        if signature is None:
            raise Rejected(Reason.BAD_SIGNATURE, "no X-Notion-Signature header")
        fingerprint = verify_prefixed_hex(self._keys, signature, body)
        if fingerprint is None:
            raise Rejected(Reason.BAD_SIGNATURE, "the signature is of no configured token over these bytes")
        return fingerprint

    def _check_age(self, headers: Headers, event: Object, *, now: datetime) -> None:
        """By the body's time, which is signed, and by x-notion-timestamp, which Notion does not document but a proxy may add."""
        check_age(moment_of(event.get("timestamp")), self._max_age_s, now=now)
        stated = headers.one("x-notion-timestamp", otherwise=Reason.MALFORMED)
        if stated is not None:
            moment = moment_of(stated)
            if moment is None:
                raise Rejected(Reason.MALFORMED, "the header x-notion-timestamp is no time (seconds, milliseconds or ISO 8601)")
            check_age(moment, self._max_age_s, now=now)


def dashed(notion_id: str) -> str:
    """An id as Notion's API writes it, lower case with dashes; what is no UUID stays as it is."""
    parts = _UUID.fullmatch(notion_id.lower())
    return "-".join(parts.groups()) if parts is not None else notion_id


def _lane(event_type: str, entity: Object) -> str | None:
    entity_id = text_of(entity.get("id"), field="entity.id")
    if entity_id is None:
        return None
    # Without a type the event's own first word says what it is about: page.created is about a page.
    noun = type_of(entity.get("type"), field="entity.type") or event_type.partition(".")[0]
    return f"notion:{noun}:{dashed(entity_id)}"
