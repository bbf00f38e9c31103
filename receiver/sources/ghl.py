"""GoHighLevel app webhooks: Ed25519 in X-GHL-Signature over the raw body, with keys that are the platform's, not the app's.

A valid signature therefore only proves "sent by HighLevel": with an app id configured, messages for another app (or for no named app)
are turned away. The old RSA header counts only where it is switched on and the new header is absent: never as a second chance.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime

from receiver.signatures import read_ed25519_keys, read_rsa_keys, verify_ed25519, verify_rsa
from receiver.sources.base import KEPT_HEADERS, Description, Headers, Incoming, Reason, Rejected
from receiver.sources.fields import Object, check_age, member, moment_of, read_object, text_of, type_of

# HighLevel's webhook guide. Global for the platform; a new one is announced by e-mail, so the setting takes a list.
PUBLISHED_ED25519_KEY = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg="
# The legacy key, from the same vendor's WebhookAuthentication page; its header was announced to end on 2026-09-01.
PUBLISHED_RSA_KEY = (
    "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAokvo/r9tVgcfZ5DysOSCFrm602qYV0MaAiNnX9O8KxMbiyRKWeL9JpCpVpt4XHIcBOK4u3cLSqJGOLaPuXw6"
    "dO0t6Q/ZVdAV5Phz+ZtzPL16iCGeK9po6D6JHBpbi989mmzMryUnQJezlYJ3DVfBcsedpinheNnyYeFXolrJvcsjDtfAeRx5ByHQmTnSdFUzuAnC9/GepgLT9SM4nCpv"
    "uxmZMxrJt5Rw+VUaQ9B8JSvbMPpez4peKaJPZHBbU3OdeCVx5klVXXZQGNHOs8gF3kvoV5rTnXV0IknLBXlcKKAQLZcY/Q9rG6Ifi9c+5vqlvHPCUJFT5XUGG5RKgOKU"
    "J062fRtN+rLYZUV+BjafxQauvC8wSWeYja63VSUruvmNj8xkx2zE/Juc+yjLjTXpIocmaiFeAO6fUtNjDeFVkhf5LNb59vECyrHD2SQIrhgXpO4Q3dVNA5rw576PwTzN"
    "h/AMfHKIjE4xQA1SZuYJmNnmVZLIZBlQAF9Ntd03rfadZ+yDiOXCCs9FkHibELhCHULgCsnuDJHcrGNd5/Ddm5hxGQ0ASitgHeMZ0kcIOwKDOzOU53lDza6/Y09T7sYJ"
    "PQe7z0cvj7aE4B+Ax1ZoZGPzpJlZtGXCsu9aTEGEnKzmsFqwcSsnw3JB31IGKAykT1hhTiaCeIY/OwwwNUY2yvcCAwEAAQ=="
)
# Retries go on for up to three days and send the same bytes; one day more. Below the 30 days for which a key is remembered.
MAX_AGE_S = 4 * 24 * 3600

_KEPT = (*KEPT_HEADERS, "deliveryid")  # a delivery id common to all tries of one message, which the vendor's help mentions
_FIRST_WORD = re.compile(r"[A-Z][a-z]+")
_BY_OWN_ID = frozenset({"Contact", "Appointment", "Opportunity", "Location", "User"})
_ABOUT_THE_INSTALLATION = frozenset({"INSTALL", "UNINSTALL", "PLAN_CHANGE", "AppUpdate", "ExternalAuthConnected"})


class GhlSource:
    """GHL app webhooks. `public_keys` None means the published key; an empty list switches the source off."""

    name = "ghl"

    __slots__ = ("_app_ids", "_keys", "_max_age_s", "_rsa_keys")

    def __init__(
        self,
        public_keys: Sequence[str] | None = None,
        *,
        app_id: str | None = None,
        accept_rsa: bool = False,
        rsa_public_keys: Sequence[str] | None = None,
        max_age_s: int | None = MAX_AGE_S,
    ) -> None:
        """`app_id` may be the app's id or its whole client id. Raises ConfigError for a bad key."""
        self._keys = read_ed25519_keys((PUBLISHED_ED25519_KEY,) if public_keys is None else public_keys, setting="GHL_WEBHOOK_PUBLIC_KEYS")
        legacy = (PUBLISHED_RSA_KEY,) if rsa_public_keys is None else rsa_public_keys
        self._rsa_keys = read_rsa_keys(legacy, setting="RSA keys of GHL") if accept_rsa else ()
        # A client id is "<app id>-<suffix>", and the body carries the app id.
        app_id = (app_id or "").strip()
        self._app_ids = frozenset({app_id, app_id.partition("-")[0]} - {""})
        self._max_age_s = max_age_s

    def accept(self, headers: Headers, body: bytes, *, now: datetime) -> Incoming:
        """Verify, then read. Raises Rejected and nothing else."""
        fingerprint = self._verify(headers, body)
        event = _Event(read_object(body))
        if self._app_ids and event.text("appId") not in self._app_ids:
            raise Rejected(Reason.WRONG_APP, "appId in the body is missing or another app's than GHL_APP_ID")
        check_age(moment_of(event.get("timestamp")), self._max_age_s, now=now)
        event_type = type_of(event.get("type"), field="type")
        if event_type is None:
            raise Rejected(Reason.MALFORMED, "the body has no type")
        return Incoming(
            source=self.name,
            kind=f"ghl.{event_type}",
            key=event.text("webhookId") or hashlib.sha256(body).hexdigest(),
            lane=_lane(event_type, event),
            body=body,
            headers=headers.kept(_KEPT),
            fingerprint=fingerprint,
        )

    def describe(self) -> Description:
        """What is configured and what is switched off."""
        fingerprints = [key.fingerprint for key in self._keys] + [key.fingerprint for key in self._rsa_keys]
        off = []
        if not self._app_ids:
            off.append("appId is not checked: GHL_APP_ID is not set")
        if not self._rsa_keys:
            off.append("the legacy header X-WH-Signature is not accepted: GHL_ACCEPT_RSA is off")
        return Description(
            source=self.name,
            scheme="Ed25519 (X-GHL-Signature)" + (", RSA-SHA256 (X-WH-Signature)" if self._rsa_keys else ""),
            configured=bool(self._keys or self._rsa_keys),
            keys=tuple(fingerprints),
            max_age_s=self._max_age_s,
            switched_off=tuple(off),
        )

    def _verify(self, headers: Headers, body: bytes) -> str:
        if not self._keys and not self._rsa_keys:
            raise Rejected(Reason.NOT_CONFIGURED, "no public key: set GHL_WEBHOOK_PUBLIC_KEYS")
        signature = _signature(headers, "x-ghl-signature")
        if signature is not None:
            fingerprint = verify_ed25519(self._keys, signature, body)
        elif self._rsa_keys and (legacy := _signature(headers, "x-wh-signature")) is not None:
            fingerprint = verify_rsa(self._rsa_keys, legacy, body)
        else:
            raise Rejected(Reason.BAD_SIGNATURE, "no X-GHL-Signature header")
        if fingerprint is None:
            raise Rejected(Reason.BAD_SIGNATURE, "the signature is of no configured key over these bytes")
        return fingerprint


class _Event:
    """A message's fields, flat as they are really sent; what is missing there is looked for in `data`, as the vendor's guide has it."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, outer: Object) -> None:
        self._outer = outer
        self._inner = member(outer, "data")

    def get(self, name: str) -> object:
        value = self._outer.get(name)
        return value if value is not None else self._inner.get(name)

    def text(self, name: str) -> str | None:
        return text_of(self.get(name), field=name)

    def appointment_id(self) -> str | None:
        nested = self.get("appointment")
        inner = text_of(nested.get("id"), field="appointment.id") if isinstance(nested, dict) else None
        return inner or self.text("id")


def _signature(headers: Headers, name: str) -> str | None:
    value = headers.one(name, otherwise=Reason.BAD_SIGNATURE)
    return None if value == "N/A" else value  # some of the vendor's own code sends this for "unsigned"


def _lane(event_type: str, event: _Event) -> str | None:
    """The object a message is about. What belongs to a contact (notes, tasks, messages) queues with it, or else under its own id."""
    if event_type in _ABOUT_THE_INSTALLATION:
        return _named("location", event.text("locationId") or event.text("companyId"))
    word = _FIRST_WORD.match(event_type)
    noun = word[0] if word is not None else ""
    if noun == "Appointment":
        return _named("appointment", event.appointment_id())
    if noun in _BY_OWN_ID:
        return _named(noun.lower(), event.text("id"))
    contact_id = event.text("contactId")
    if contact_id is not None:
        return _named("contact", contact_id)
    return _named(noun.lower(), event.text("id")) if noun else None


def _named(noun: str, object_id: str | None) -> str | None:
    return None if object_id is None else f"ghl:{noun}:{object_id}"
