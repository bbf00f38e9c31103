"""Sealing of secrets at rest: Fernet with a list of keys, the first seals, all open. Owns no storage."""

import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from outbox.errors import ConfigError

KEY_LETTERS = 44


class Sealer:
    """Seals and opens. Without keys it refuses, naming the variable to set."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        try:
            fernets = [Fernet(_whole(key.get_secret_value())) for key in keys]
        except ValueError:
            raise ConfigError(
                "POSTROOM_ENCRYPTION_KEYS: each key is 32 bytes in URL-safe base64; make one with `postroom doctor --new-key`"
            ) from None
        self._fernet = MultiFernet(fernets) if fernets else None

    @property
    def ready(self) -> bool:
        """Whether there is a key to seal with."""
        return self._fernet is not None

    def seal(self, secret: str) -> bytes:
        """The secret, sealed with the newest key. Raises ConfigError without keys."""
        if self._fernet is None:
            raise ConfigError("POSTROOM_ENCRYPTION_KEYS is not set, so a secret cannot be kept")
        return self._fernet.encrypt(secret.encode())

    def open(self, sealed: bytes) -> SecretStr:
        """What was sealed. Raises ConfigError when no key of the list fits."""
        if self._fernet is None:
            raise ConfigError("POSTROOM_ENCRYPTION_KEYS is not set, so a kept secret cannot be read")
        try:
            return SecretStr(self._fernet.decrypt(sealed).decode())
        except InvalidToken:
            raise ConfigError(
                "POSTROOM_ENCRYPTION_KEYS has none of the keys that a kept secret was sealed with; add the old key behind the new one"
            ) from None


def _whole(key: str) -> str:
    """The key. Raises ValueError when it is two that lack their comma: base64 would read the first and forget the other."""
    if len(key) != KEY_LETTERS:
        raise ValueError("a key has 44 letters")
    return key


def new_key() -> str:
    """A fresh key for POSTROOM_ENCRYPTION_KEYS."""
    return Fernet.generate_key().decode()


def fingerprint(secret: str) -> str:
    """A short public name of a secret: the first 8 hex digits of its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]
