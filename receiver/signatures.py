"""The cryptography of the front door: keys read once from configuration, and checks that answer with a key's fingerprint or None.

A check never raises, whatever the header or body holds, and compares in constant time. A bad key in the configuration is a ConfigError
that says which one of the list it is and never prints it. What a message means is the business of receiver.sources, not of this module.
"""

import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from outbox.errors import ConfigError

MIN_SECRET_CHARS = 16
MIN_RSA_BITS = 2048
MAX_STANDARD_SIGNATURES = 32  # a rotating sender puts two or three in one header; the bound keeps a hostile header cheap

_HEX_64 = re.compile(r"[0-9a-fA-F]{64}")
_KEY_PIECE = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----|[^\s,;]+", re.DOTALL)
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*)-----END ", re.DOTALL)
_SECRET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")  # part of a source's name, a path and a kind: lower case, no dot
_NAME_RULE = "a name: lower-case letters, digits, - and _, at most 40"
# Points of small order, sign bit cleared: under such a "key" (64 zeros, say) anybody can sign anything.
_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """A public key, ready to verify; the fingerprint is the start of its SPKI's SHA-256."""

    fingerprint: str
    public_key: Ed25519PublicKey = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class RsaKey:
    """A public key for PKCS #1 v1.5 with SHA-256, ready to verify; the fingerprint is the start of its SPKI's SHA-256."""

    fingerprint: str
    signature_bytes: int
    public_key: RSAPublicKey = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class HmacKey:
    """A secret shared with a sender; the fingerprint is the start of the SHA-256 of the secret as it was written in the configuration."""

    fingerprint: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NamedSecret:
    """A secret that a sender shows as it is, kept only as its SHA-256, with the name of who it was given to."""

    name: str
    fingerprint: str
    digest: bytes = field(repr=False)


# Configuration in


def read_ed25519_keys(texts: Iterable[str], *, setting: str) -> tuple[Ed25519Key, ...]:
    """Keys as PEM, base64 of the DER SPKI, base64 of the 32 raw bytes, or 64 hex; a text may hold several. ConfigError for a bad one."""
    keys: dict[str, Ed25519Key] = {}
    for where, piece in _pieces(texts, setting=setting):
        raw = bytes.fromhex(piece) if _HEX_64.fullmatch(piece) else _der(piece, where=where)
        loaded = Ed25519PublicKey.from_public_bytes(raw) if len(raw) == 32 else _load(raw, where=where)
        if not isinstance(loaded, Ed25519PublicKey):
            raise ConfigError(f"{where} is not an Ed25519 key. Give the key that the provider publishes for this header.")
        point = loaded.public_bytes(Encoding.Raw, PublicFormat.Raw)
        if point[:31] + bytes([point[31] & 0x7F]) in _SMALL_ORDER:
            raise ConfigError(f"{where} is a placeholder under which anybody could sign. Give the key that the provider publishes.")
        fingerprint = _spki_fingerprint(loaded)
        keys[fingerprint] = Ed25519Key(fingerprint, loaded)
    return tuple(keys.values())


def read_rsa_keys(texts: Iterable[str], *, setting: str) -> tuple[RsaKey, ...]:
    """RSA keys as PEM or base64 of the DER SPKI, 2048 bits or more. ConfigError for a bad one."""
    keys: dict[str, RsaKey] = {}
    for where, piece in _pieces(texts, setting=setting):
        loaded = _load(_der(piece, where=where), where=where)
        if not isinstance(loaded, RSAPublicKey) or loaded.key_size < MIN_RSA_BITS:
            raise ConfigError(f"{where} is not an RSA key of {MIN_RSA_BITS} bits or more.")
        fingerprint = _spki_fingerprint(loaded)
        keys[fingerprint] = RsaKey(fingerprint, (loaded.key_size + 7) // 8, loaded)
    return tuple(keys.values())


def read_tokens(texts: Iterable[str], *, setting: str) -> tuple[HmacKey, ...]:
    """Verification tokens used as they are (UTF-8) for HMAC, 16 printable characters or more. ConfigError for a bad one."""
    keys: dict[str, HmacKey] = {}
    for number, text in enumerate(texts, 1):
        token = text.strip()
        _check_secret(token, where=f"{setting}: token {number}")
        key = hmac_key(token)
        keys[key.fingerprint] = key
    return tuple(keys.values())


def read_standard_secrets(texts: Iterable[str], *, setting: str) -> tuple[HmacKey, ...]:
    """Standard Webhooks secrets, `whsec_` and base64 of 16 to 128 bytes (the specification says 24 to 64). ConfigError for a bad one."""
    keys: dict[str, HmacKey] = {}
    for number, text in enumerate(texts, 1):
        secret = text.strip()
        decoded = _base64(secret[6:]) if secret.startswith("whsec_") else None
        if decoded is None or not 16 <= len(decoded) <= 128:
            raise ConfigError(
                f"{setting}: secret {number} is not whsec_ followed by base64 of 16 to 128 bytes. Copy it whole from the sender."
            )
        key = HmacKey(_fingerprint(secret.encode()), decoded)
        keys[key.fingerprint] = key
    return tuple(keys.values())


def split_named_secrets(texts: Iterable[str], *, setting: str) -> tuple[tuple[str, str], ...]:
    """`name=secret, name=secret` as pairs; a name comes twice while its secret is being replaced. ConfigError for a bad entry."""
    pairs: list[tuple[str, str]] = []
    entries = [entry for text in texts for part in re.split(r"[,\n]", text) if (entry := part.strip())]
    for number, entry in enumerate(entries, 1):
        name, equals, secret = (part.strip() for part in entry.partition("="))
        if not equals or not secret or not _SECRET_NAME.fullmatch(name):
            raise ConfigError(f"{setting}: entry {number} of {len(entries)} is not name=secret ({_NAME_RULE}).")
        pairs.append((name, secret))
    return tuple(pairs)


def read_named_secrets(pairs: Iterable[tuple[str, str]], *, setting: str) -> tuple[NamedSecret, ...]:
    """Secrets shown in a header, each with its name, 16 printable characters or more. ConfigError for a bad one."""
    secrets: dict[bytes, NamedSecret] = {}
    for number, (name, secret) in enumerate(pairs, 1):
        where = f"{setting}: entry {number}"
        check_name(name, where=where)
        _check_secret(secret, where=where)
        digest = hashlib.sha256(secret.encode()).digest()
        if secrets.setdefault(digest, NamedSecret(name, _fingerprint(secret.encode()), digest)).name != name:
            raise ConfigError(f"{where} repeats a secret under another name; a secret says who sends, so each sender needs its own.")
    return tuple(secrets.values())


def check_name(name: str, *, where: str) -> None:
    """Raises ConfigError unless the name of a sender is fit for a path, a source and a kind."""
    if not _SECRET_NAME.fullmatch(name):
        raise ConfigError(f"{where} has no usable name ({_NAME_RULE}).")


def hmac_key(token: str) -> HmacKey:
    """A verification token as the key it is. Raises nothing: the caller has checked the token."""
    secret = token.encode()
    return HmacKey(_fingerprint(secret), secret)


def is_usable_secret(secret: str) -> bool:
    """Long enough to be a secret, and nothing in it that a header or a form would change."""
    return len(secret) >= MIN_SECRET_CHARS and secret.isprintable() and " " not in secret


# Checks


def verify_ed25519(keys: Sequence[Ed25519Key], signature: str, body: bytes) -> str | None:
    """Whose Ed25519 signature (base64) of exactly these bytes this is."""
    decoded = _base64(signature) if len(signature) == 88 else None
    if decoded is None or len(decoded) != 64:
        return None
    for key in keys:
        try:
            key.public_key.verify(decoded, body)
        except InvalidSignature:
            continue
        return key.fingerprint
    return None


def verify_rsa(keys: Sequence[RsaKey], signature: str, body: bytes) -> str | None:
    """Whose RSA PKCS #1 v1.5 SHA-256 signature (base64) of exactly these bytes this is."""
    decoded = _base64(signature) if len(signature) <= 2048 else None
    if decoded is None:
        return None
    for key in keys:
        if len(decoded) != key.signature_bytes:
            continue
        try:
            key.public_key.verify(decoded, body, PKCS1v15(), SHA256())
        except InvalidSignature:
            continue
        return key.fingerprint
    return None


def verify_prefixed_hex(keys: Sequence[HmacKey], signature: str, body: bytes) -> str | None:
    """Whose `sha256=<64 hex>` HMAC of exactly these bytes this is: the prefix exact, the hex in either case, as Notion's SDK has it."""
    if len(signature) != 71 or not signature.startswith("sha256=") or not _HEX_64.fullmatch(signature, 7):
        return None
    claimed = bytes.fromhex(signature[7:])
    for key in keys:
        if hmac.compare_digest(hmac.digest(key.secret, body, "sha256"), claimed):
            return key.fingerprint
    return None


def verify_standard(keys: Sequence[HmacKey], signatures: str, message_id: str, timestamp: str, body: bytes) -> str | None:
    """Whose `v1,<base64>` HMAC, one of several apart by spaces, of `id.timestamp.body` this is. Other versions are passed over."""
    claimed = [
        decoded
        for part in signatures.split(" ", MAX_STANDARD_SIGNATURES)[:MAX_STANDARD_SIGNATURES]
        if len(part) == 47 and part.startswith("v1,") and (decoded := _base64(part[3:])) is not None
    ]
    if not claimed:
        return None
    # Header values are the wire's bytes as Latin-1; "replace" only keeps this from raising on text that never was a header.
    signed = b"%b.%b.%b" % (message_id.encode("latin-1", "replace"), timestamp.encode("latin-1", "replace"), body)
    for key in keys:
        expected = hmac.digest(key.secret, signed, "sha256")
        if any(hmac.compare_digest(expected, candidate) for candidate in claimed):
            return key.fingerprint
    return None


def match_secret(secrets: Sequence[NamedSecret], shown: str) -> NamedSecret | None:
    """Which of the secrets this is. All are compared, by their hashes, so that neither order nor length shows in the time taken."""
    digest = hashlib.sha256(shown.encode("latin-1", "replace")).digest()
    found: NamedSecret | None = None
    for secret in secrets:
        if hmac.compare_digest(secret.digest, digest):
            found = secret
    return found


def _base64(text: str) -> bytes | None:
    try:
        decoded = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    # Strict mode lets stray bits in the last character pass; there is one spelling of each signature.
    return decoded if binascii.b2a_base64(decoded, newline=False) == text.encode() else None


def _pieces(texts: Iterable[str], *, setting: str) -> list[tuple[str, str]]:
    # A PEM in an .env file often has its line ends as backslash-n.
    pieces = [piece for text in texts for piece in _KEY_PIECE.findall(text.replace("\\n", "\n"))]
    return [(f"{setting}: key {number} of {len(pieces)}", piece) for number, piece in enumerate(pieces, 1)]


def _der(piece: str, *, where: str) -> bytes:
    pem = _PEM.match(piece)
    if pem is not None and pem[1] != "PUBLIC KEY":
        raise ConfigError(f"{where} is a PEM block that is no public key. Give the block that begins with BEGIN PUBLIC KEY.")
    decoded = _base64("".join(pem[2].split()) if pem is not None else piece)
    if decoded is None:
        raise ConfigError(f"{where} is neither PEM, base64 nor hex, or not whole.")
    return decoded


def _load(der: bytes, *, where: str) -> object:
    try:
        return load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        # Without "from": the library's words may quote the key.
        raise ConfigError(f"{where} does not hold a public key.") from None


def _check_secret(secret: str, *, where: str) -> None:
    if not is_usable_secret(secret):
        raise ConfigError(f"{where} is shorter than {MIN_SECRET_CHARS} characters or has spaces or control characters in it.")


def _spki_fingerprint(key: Ed25519PublicKey | RSAPublicKey) -> str:
    return _fingerprint(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _fingerprint(material: bytes) -> str:
    return hashlib.sha256(material).hexdigest()[:8]
