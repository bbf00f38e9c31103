"""One sender for each scheme that a source accepts: the source, and how to sign for it. What the contract tests are run over.

Signs with `cryptography` and hmac on its own, so that a fault in receiver.signatures cannot hide itself.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from receiver.sources.base import Handshake, Headers, Incoming, Rejected, Source
from receiver.sources.ghl import GhlSource
from receiver.sources.ghl_workflow import GhlWorkflowSource
from receiver.sources.notion import NotionSource
from receiver.sources.standard_webhooks import StandardWebhooksSource

NOW = datetime(2026, 10, 5, 9, 5, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))

GHL_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NOTION_TOKEN = "example-verification-token-not-real"
WORKFLOW_SECRET = "example-workflow-secret-not-real"
STANDARD_SECRET = "whsec_" + base64.b64encode(b"example standard secret, not real").decode()
STRANGER_SECRET = "example-secret-of-a-stranger"

GHL_EVENT = {
    "type": "ContactCreate",
    "locationId": "wP3Ynm3Z63rIC4zVAgXP",
    "id": "m8614FnsFfCr3exNY8HB",
    "firstName": "Test",
    "email": "someone@example.com",
    "timestamp": "2026-10-05T09:01:34.285Z",
    "webhookId": "9062e8fb-8994-4b3c-bd91-280b42011652",
}
NOTION_EVENT = {
    "id": "d698932b-5cc2-5232-916b-5fa9e2fe0e55",
    "timestamp": "2026-10-05T09:01:34.285Z",
    "type": "page.created",
    "attempt_number": 1,
    "entity": {"id": "d3747944-fb9d-5294-8d9e-01316c6818c5", "type": "page"},
}


def packed(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def as_headers(values: Mapping[str, str], more: Iterable[tuple[bytes, bytes]] = ()) -> Headers:
    return Headers([*((name.encode(), value.encode("latin-1")) for name, value in values.items()), *more])


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def spki(key: ed25519.Ed25519PublicKey | rsa.RSAPublicKey) -> str:
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def pem(key: ed25519.Ed25519PublicKey | rsa.RSAPublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign_ghl(body: bytes, key: ed25519.Ed25519PrivateKey = GHL_KEY) -> dict[str, str]:
    return {"x-ghl-signature": base64.b64encode(key.sign(body)).decode()}


def sign_ghl_rsa(body: bytes) -> dict[str, str]:
    return {"x-wh-signature": base64.b64encode(rsa_key().sign(body, PKCS1v15(), SHA256())).decode()}


def sign_notion(body: bytes, token: str = NOTION_TOKEN) -> dict[str, str]:
    return {"x-notion-signature": "sha256=" + hmac.new(token.encode(), body, hashlib.sha256).hexdigest()}


def sign_standard(body: bytes, *, secret: str = STANDARD_SECRET, message_id: str = "msg_1", timestamp: str = STAMP) -> dict[str, str]:
    signed = f"{message_id}.{timestamp}.".encode("latin-1") + body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": "v1," + base64.b64encode(digest).decode()}


@dataclass(frozen=True)
class Sender:
    """A source, the headers that its sender would put on a body, and one good event."""

    label: str
    source: Source
    unconfigured: Source
    sign: Callable[[bytes], dict[str, str]]
    forge: Callable[[bytes], dict[str, str]]  # the right form, under a stranger's key
    proof: str  # the header that carries the proof
    event: Mapping[str, object]
    kind: str
    signs_the_body: bool = True
    prefix: str = ""  # of the kinds
    needs: Mapping[str, object] = field(default_factory=dict)  # members without which an event has no key or kind

    def accept(self, body: bytes, headers: Mapping[str, str] | None = None, *, now: datetime = NOW) -> Incoming:
        taken = self.source.accept(as_headers(self.sign(body) if headers is None else headers), body, now=now)
        assert not isinstance(taken, Handshake)
        return taken


SENDERS = (
    Sender(
        "ghl",
        GhlSource([spki(GHL_KEY.public_key())]),
        GhlSource([]),
        sign_ghl,
        lambda body: sign_ghl(body, STRANGER_KEY),
        "x-ghl-signature",
        GHL_EVENT,
        "ghl.ContactCreate",
        prefix="ghl.",
        needs={"type": "ContactCreate"},
    ),
    Sender(
        "ghl-rsa",
        GhlSource([], accept_rsa=True, rsa_public_keys=[pem(rsa_key().public_key())]),
        GhlSource([], accept_rsa=True, rsa_public_keys=[]),
        sign_ghl_rsa,
        lambda body: {"x-wh-signature": base64.b64encode(bytes(256)).decode()},
        "x-wh-signature",
        GHL_EVENT,
        "ghl.ContactCreate",
        prefix="ghl.",
        needs={"type": "ContactCreate"},
    ),
    Sender(
        "ghl-workflow",
        GhlWorkflowSource([("booking", WORKFLOW_SECRET)]),
        GhlWorkflowSource([]),
        lambda body: {"x-webhook-secret": WORKFLOW_SECRET},
        lambda body: {"x-webhook-secret": STRANGER_SECRET},
        "x-webhook-secret",
        {"contact_id": "m8614FnsFfCr3exNY8HB", "email": "someone@example.com"},
        "ghl-workflow.contact",
        signs_the_body=False,
        prefix="ghl-workflow.",
    ),
    Sender(
        "ghl-workflow-bearer",
        GhlWorkflowSource([("booking", WORKFLOW_SECRET)]),
        GhlWorkflowSource([]),
        lambda body: {"authorization": f"Bearer {WORKFLOW_SECRET}"},
        lambda body: {"authorization": f"Bearer {STRANGER_SECRET}"},
        "authorization",
        {"type": "AppointmentBooked", "customData": {"contact_id": "m8614FnsFfCr3exNY8HB"}},
        "ghl-workflow.AppointmentBooked",
        signs_the_body=False,
        prefix="ghl-workflow.",
    ),
    Sender(
        "notion",
        NotionSource([NOTION_TOKEN]),
        NotionSource([]),
        sign_notion,
        lambda body: sign_notion(body, STRANGER_SECRET),
        "x-notion-signature",
        NOTION_EVENT,
        "notion.page.created",
        prefix="notion.",
        needs={"id": "d698932b-5cc2-5232-916b-5fa9e2fe0e55", "type": "page.created"},
    ),
    Sender(
        "standard",
        StandardWebhooksSource("shop", [STANDARD_SECRET]),
        StandardWebhooksSource("shop", []),
        sign_standard,
        lambda body: sign_standard(body, secret="whsec_" + base64.b64encode(b"the secret of a stranger").decode()),
        "webhook-signature",
        {"type": "order.paid", "timestamp": "2026-10-05T09:01:34Z", "data": {"id": "o-1"}},
        "standard.shop.order.paid",
        prefix="standard.shop.",
    ),
)

GHL, GHL_RSA, WORKFLOW, BEARER, NOTION, STANDARD = SENDERS


def rejected(sender: Sender, body: bytes, headers: Mapping[str, str] | Headers | None = None) -> Rejected:
    given = headers if isinstance(headers, Headers) else as_headers(sender.sign(body) if headers is None else headers)
    with pytest.raises(Rejected) as caught:
        sender.source.accept(given, body, now=NOW)
    return caught.value
