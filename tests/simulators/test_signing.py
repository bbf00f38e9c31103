"""Signatures as the providers make them, verified here by other means than they were made with."""

import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from simulators.signing import GhlLegacySigner, GhlSigner, sign_notion, sign_standard
from tests.specs import specs_path

BODY = '{"name":"Áda"}'.encode()


def test_a_ghl_signature_fits_exactly_the_signed_bytes() -> None:
    signer = GhlSigner.generate()
    headers = signer.headers(BODY)
    key = load_pem_public_key(signer.public_key_pem.encode())
    assert isinstance(key, Ed25519PublicKey)
    signature = base64.b64decode(headers["X-GHL-Signature"], validate=True)
    assert len(signature) == 64
    key.verify(signature, BODY)
    with pytest.raises(InvalidSignature):
        key.verify(signature, BODY + b" ")


def test_a_ghl_key_survives_its_pem() -> None:
    signer = GhlSigner.generate()
    assert GhlSigner.from_pem(signer.private_key_pem).headers(BODY) == signer.headers(BODY)


def test_the_demo_key_is_the_same_everywhere_and_nobody_elses() -> None:
    assert GhlSigner.for_demo().public_key_pem == GhlSigner.for_demo().public_key_pem
    assert GhlSigner.for_demo().public_key_pem != GhlSigner.generate().public_key_pem
    # The published key of GHL must never be ours to sign with.
    assert "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=" not in GhlSigner.for_demo().public_key_pem


@pytest.mark.parametrize("pem", ["", "no pem", GhlSigner.for_demo().public_key_pem])
def test_what_is_no_private_key_is_refused(pem: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        GhlSigner.from_pem(pem)


def test_the_retired_rsa_signature_fits_too() -> None:
    signer = GhlLegacySigner.generate()
    key = load_pem_public_key(signer.public_key_pem.encode())
    assert isinstance(key, RSAPublicKey)
    key.verify(base64.b64decode(signer.headers(BODY)["X-WH-Signature"]), BODY, PKCS1v15(), SHA256())


def test_notion_signatures_agree_with_the_published_vectors() -> None:
    cases = json.loads(specs_path("notion/webhook-signature-vectors.json").read_text())["vectors"]
    for case in cases:
        signed = sign_notion(base64.b64decode(case["body_base64"]), case["token"])["X-Notion-Signature"]
        given = case["x_notion_signature"]
        is_equal = given.startswith("sha256=") and signed == given.lower()
        assert is_equal == case["valid"], case["name"]


def test_a_standard_webhook_signature_agrees_with_the_specifications_example() -> None:
    headers = sign_standard(
        b'{"test": 2432232314}',
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
