"""The keys that a configuration may hold, and the checks under them, against the providers' own vectors."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from outbox.errors import ConfigError
from receiver.signatures import (
    match_secret,
    read_ed25519_keys,
    read_named_secrets,
    read_rsa_keys,
    read_standard_secrets,
    read_tokens,
    split_named_secrets,
    verify_ed25519,
    verify_prefixed_hex,
    verify_rsa,
    verify_standard,
)
from receiver.sources.ghl import PUBLISHED_ED25519_KEY, PUBLISHED_RSA_KEY
from tests.receiver.senders import GHL_KEY, STRANGER_KEY, pem, rsa_key, sign_ghl, sign_ghl_rsa, sign_standard, spki
from tests.specs import specs_path

PUBLIC = GHL_KEY.public_key()
RAW = PUBLIC.public_bytes(Encoding.Raw, PublicFormat.Raw)
BODY = b'{"type":"ContactCreate"}'


@pytest.mark.parametrize(
    "text",
    [
        pem(PUBLIC),
        pem(PUBLIC).replace("\n", "\\n"),
        pem(PUBLIC).replace("\n", " "),
        pem(PUBLIC).replace("\n", "\r\n"),
        spki(PUBLIC),
        base64.b64encode(RAW).decode(),
        RAW.hex(),
        RAW.hex().upper(),
    ],
    ids=["pem", "pem with backslash-n", "pem on one line", "pem with crlf", "spki", "raw base64", "hex", "upper-case hex"],
)
def test_every_spelling_of_an_ed25519_key_is_the_same_key(text: str) -> None:
    (key,) = read_ed25519_keys([text], setting="KEYS")
    assert verify_ed25519([key], sign_ghl(BODY)["x-ghl-signature"], BODY) == key.fingerprint
    assert key == read_ed25519_keys([spki(PUBLIC)], setting="KEYS")[0]


def test_one_text_may_hold_several_keys_and_a_key_said_twice_counts_once() -> None:
    text = f"{pem(PUBLIC)}, {spki(STRANGER_KEY.public_key())}\n{RAW.hex()}"
    keys = read_ed25519_keys([text, spki(PUBLIC)], setting="KEYS")
    assert len(keys) == 2
    for signer in (GHL_KEY, STRANGER_KEY):
        assert verify_ed25519(keys, sign_ghl(BODY, signer)["x-ghl-signature"], BODY) is not None


def test_the_published_keys_are_the_ones_that_the_vendor_published() -> None:
    assert read_ed25519_keys([PUBLISHED_ED25519_KEY], setting="KEYS")[0].fingerprint == "5a2c1b27"
    assert read_rsa_keys([PUBLISHED_RSA_KEY], setting="KEYS")[0].fingerprint == "2f62045d"


PRIVATE_PEM = GHL_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ELLIPTIC = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("not a key", "neither PEM, base64 nor hex"),
        (RAW.hex()[:-1], "neither PEM, base64 nor hex"),
        (base64.b64encode(RAW).decode().rstrip("="), "neither PEM, base64 nor hex"),
        (base64.b64encode(b"thirty-three bytes are no key !!!").decode(), "does not hold a public key"),
        (pem(PUBLIC)[:60], "neither PEM, base64 nor hex"),
        (PRIVATE_PEM, "no public key"),
        (spki(rsa_key().public_key()), "not an Ed25519 key"),
        (base64.b64encode(ELLIPTIC).decode(), "not an Ed25519 key"),
        ("0" * 64, "placeholder"),
        ("01" + "00" * 31, "placeholder"),
        ("00" * 31 + "80", "placeholder"),
    ],
    ids=["words", "short hex", "unpadded", "odd length", "cut pem", "private", "rsa", "elliptic", "zeros", "identity", "zeros with sign"],
)
def test_a_bad_ed25519_key_is_named_by_its_place_and_never_printed(bad: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_ed25519_keys([spki(PUBLIC), bad], setting="GHL_WEBHOOK_PUBLIC_KEYS")
    message = str(caught.value)
    assert message.startswith("GHL_WEBHOOK_PUBLIC_KEYS: key 2 of ")
    assert words in message
    assert bad[30:50] not in message or len(bad) < 30
    assert caught.value.__cause__ is None


def test_a_key_under_which_anybody_could_sign_really_is_one() -> None:
    """The reason for refusing points of small order: this signature was made without any private key."""
    forged = b"\x01" + bytes(63)
    ed25519.Ed25519PublicKey.from_public_bytes(b"\x01" + bytes(31)).verify(forged, BODY)


def test_a_short_rsa_key_is_refused() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    with pytest.raises(ConfigError, match=r"KEYS: key 1 of 1 is not an RSA key of 2048 bits"):
        read_rsa_keys([pem(weak)], setting="KEYS")


GOOD = sign_ghl(BODY)["x-ghl-signature"]


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "N/A",
        GOOD[:-1],
        GOOD[:-2],
        GOOD + "=",
        GOOD[:-4] + "====",
        GOOD + "\n",
        " " + GOOD,
        GOOD[:40] + "\n" + GOOD[41:],
        GOOD.replace("=", "A"),
        "é" * 88,
        "\x00" * 88,
        "\ud800" * 88,
        "-" * 86 + "==",
        base64.b64encode(bytes(64)).decode(),
        base64.b64encode(b"\xff" * 64).decode(),
        GHL_KEY.sign(BODY).hex(),
        "A" * 1_000_000,
    ],
    ids=range(18),
)
def test_what_is_no_signature_is_none_and_no_error(signature: str) -> None:
    keys = read_ed25519_keys([spki(PUBLIC)], setting="KEYS")
    legacy = read_rsa_keys([pem(rsa_key().public_key())], setting="KEYS")
    tokens = read_tokens(["example-token-0001"], setting="TOKENS")
    standard = read_standard_secrets(["whsec_" + base64.b64encode(bytes(32)).decode()], setting="SECRETS")
    secrets = read_named_secrets([("a", "example-secret-0001")], setting="SECRETS")
    assert verify_ed25519(keys, signature, BODY) is None
    assert verify_rsa(legacy, signature, BODY) is None
    for prefix in ("", "sha256="):
        assert verify_prefixed_hex(tokens, prefix + signature, BODY) is None
    for prefix in ("", "v1,"):
        assert verify_standard(standard, prefix + signature, "\ud800", signature, BODY) is None
    assert match_secret(secrets, signature) is None


def test_stray_bits_at_the_end_of_base64_are_not_another_spelling_of_a_signature() -> None:
    assert GOOD[-3] != "/"
    keys = read_ed25519_keys([spki(PUBLIC)], setting="KEYS")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    neighbour = alphabet[alphabet.index(GOOD[-3]) | 1]
    twin = f"{GOOD[:-3]}{neighbour}=="
    assert base64.b64decode(twin) == base64.b64decode(GOOD)
    assert verify_ed25519(keys, twin, BODY) is None


def test_an_rsa_signature_of_these_bytes_passes_and_of_others_does_not() -> None:
    keys = read_rsa_keys([PUBLISHED_RSA_KEY, pem(rsa_key().public_key())], setting="KEYS")
    signature = sign_ghl_rsa(BODY)["x-wh-signature"]
    assert verify_rsa(keys, signature, BODY) == keys[1].fingerprint
    assert verify_rsa(keys, signature, BODY + b" ") is None


def test_notions_vectors_hold() -> None:
    vectors: list[dict[str, Any]] = json.loads(specs_path("notion/webhook-signature-vectors.json").read_text())["vectors"]
    assert len(vectors) >= 15
    for vector in vectors:
        keys = read_tokens([vector["token"]], setting="TOKENS")
        found = verify_prefixed_hex(keys, vector["x_notion_signature"], base64.b64decode(vector["body_base64"]))
        assert (found is not None) == vector["valid"], vector["name"]


def test_the_standard_webhooks_reference_vector_holds() -> None:
    keys = read_standard_secrets(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], setting="SECRETS")
    signature, message_id, timestamp = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"
    body = b'{"test": 2432232314}'
    assert verify_standard(keys, signature, message_id, timestamp, body) == keys[0].fingerprint
    assert verify_standard(keys, signature, message_id, "1614265331", body) is None
    assert verify_standard(keys, signature, message_id + "x", timestamp, body) is None
    assert verify_standard(keys, signature, message_id, timestamp, body + b" ") is None


def test_one_right_signature_among_several_is_enough_and_their_number_is_bounded() -> None:
    keys = read_standard_secrets(["whsec_" + base64.b64encode(bytes(32)).decode()], setting="SECRETS")
    right = sign_standard(BODY, secret="whsec_" + base64.b64encode(bytes(32)).decode(), timestamp="1")["webhook-signature"]
    wrong = "v1," + base64.b64encode(bytes(32)).decode()
    assert verify_standard(keys, f"v1a,AAAA v2,{right[3:]} {wrong} {right}", "msg_1", "1", BODY) == keys[0].fingerprint
    assert verify_standard(keys, " ".join([wrong] * 32 + [right]), "msg_1", "1", BODY) is None
    assert verify_standard(keys, right.replace("v1,", "V1,"), "msg_1", "1", BODY) is None


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "example-secret-0001",
        "whsec_",
        "whsec_not base64",
        "whsec_" + base64.b64encode(bytes(15)).decode(),
        "whsec_" + "A" * 200,
        "whpk_AAAA",
    ],
)
def test_a_bad_standard_secret_is_named_by_its_place_and_never_printed(bad: str) -> None:
    with pytest.raises(ConfigError, match="SECRETS: secret 2 is not whsec_") as caught:
        read_standard_secrets(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", bad], setting="SECRETS")
    assert not bad[6:] or bad[6:] not in str(caught.value)


@pytest.mark.parametrize("bad", ["", "tiny-token", "has a space in it, yes", "with-a-control\x00-character", "with-a-line\nbreak-inside"])
def test_a_bad_token_is_named_by_its_place_and_never_printed(bad: str) -> None:
    with pytest.raises(ConfigError, match="TOKENS: token 2 is shorter than 16") as caught:
        read_tokens(["example-token-0001", bad], setting="TOKENS")
    assert not bad or bad not in str(caught.value)


def test_named_secrets_are_split_at_commas_and_at_the_first_equals_sign() -> None:
    assert split_named_secrets(["a=one==, b-2=two,\n", "a=three"], setting="S") == (("a", "one=="), ("b-2", "two"), ("a", "three"))
    assert split_named_secrets(["", " , "], setting="S") == ()


@pytest.mark.parametrize(
    "bad", ["=secret-without-name", "name-without-secret", "booking=", "Upper=secret", "dotted.name=secret", "a b=secret", "x" * 41 + "=s"]
)
def test_a_bad_entry_of_named_secrets_is_named_by_its_place_and_never_printed(bad: str) -> None:
    with pytest.raises(ConfigError, match=r"S: entry 2 of 3 is not name=secret") as caught:
        split_named_secrets([f"a=one,{bad}", "b=two"], setting="S")
    assert "one" not in str(caught.value)
    assert bad not in str(caught.value)


def test_a_secret_given_to_two_names_is_refused_because_it_says_who_sends() -> None:
    with pytest.raises(ConfigError, match="S: entry 2 repeats a secret under another name"):
        read_named_secrets([("a", "example-secret-0001"), ("b", "example-secret-0001")], setting="S")
    assert len(read_named_secrets([("a", "example-secret-0001"), ("a", "example-secret-0001")], setting="S")) == 1


def test_a_secret_outside_ascii_matches_the_bytes_on_the_wire() -> None:
    secrets = read_named_secrets([("a", "geheimnis-für-büro-münchen")], setting="S")
    assert match_secret(secrets, "geheimnis-für-büro-münchen".encode().decode("latin-1")) == secrets[0]


def test_no_key_shows_its_secret_when_printed() -> None:
    printed = repr(
        (
            read_tokens(["example-token-0001"], setting="T"),
            read_named_secrets([("a", "example-secret-0001")], setting="S"),
            read_standard_secrets(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], setting="S"),
        )
    )
    assert "example" not in printed
    assert "secret=" not in printed
    assert "digest=" not in printed
