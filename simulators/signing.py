"""Keys and signatures as the providers make them: the sending half, for simulators, samples and tests.

Refuses to verify anything: that is the receiver's work, and sharing code with it would let both be wrong together.
The demo keys come from a text in this file. Everybody has them: never configure them outside a demo.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key

_DEMO_SEED = b"postroom demo key: invented, public, not for production"


@dataclass(frozen=True, slots=True)
class GhlSigner:
    """Signs raw bodies like GHL's `X-GHL-Signature`: Ed25519, base64, over exactly the bytes sent."""

    key: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> Self:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def for_demo(cls) -> Self:
        """The same pair in every process, so that sender, simulator and receiver of a demo agree without a file. NOT FOR PRODUCTION."""
        return cls(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(_DEMO_SEED).digest()))

    @classmethod
    def from_pem(cls, private_key_pem: str) -> Self:
        """ValueError when it is not an unencrypted Ed25519 private key."""
        key = load_pem_private_key(private_key_pem.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 private key: GHL signs with Ed25519")
        return cls(key)

    @property
    def private_key_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def public_key_pem(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def headers(self, body: bytes) -> dict[str, str]:
        return {"X-GHL-Signature": base64.b64encode(self.key.sign(body)).decode()}


@dataclass(frozen=True, slots=True)
class GhlLegacySigner:
    """Signs like GHL's retired `X-WH-Signature`: RSA PKCS#1 v1.5 with SHA-256, base64. The real key had 4096 bits, slow to make."""

    key: RSAPrivateKey

    @classmethod
    def generate(cls, bits: int = 2048) -> Self:
        return cls(generate_private_key(public_exponent=65537, key_size=bits))

    @property
    def public_key_pem(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def headers(self, body: bytes) -> dict[str, str]:
        return {"X-WH-Signature": base64.b64encode(self.key.sign(body, PKCS1v15(), SHA256())).decode()}


def sign_notion(body: bytes, token: str) -> dict[str, str]:
    """Notion's header: HMAC-SHA256 over the raw body, keyed with the subscription's verification token."""
    return {"X-Notion-Signature": "sha256=" + hmac.new(token.encode(), body, hashlib.sha256).hexdigest()}


def sign_standard(body: bytes, *, secret: str, message_id: str, timestamp: int) -> dict[str, str]:
    """The three Standard Webhooks headers. `secret` is `whsec_` and base64; `timestamp` in seconds since 1970."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}
