"""Secrets at rest: sealed by the newest key, opened by any of the list, and by no other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from outbox.errors import ConfigError
from outbox.seal import Sealer, fingerprint, new_key

OLD, NEW, OTHER = (SecretStr(new_key()) for _ in range(3))


@given(st.text(st.characters(codec="utf-8")))
def test_what_was_sealed_is_opened_and_not_readable_between(secret: str) -> None:
    sealed = Sealer([NEW]).seal(secret)
    assert Sealer([NEW]).open(sealed).get_secret_value() == secret
    assert len(secret) < 4 or secret.encode() not in sealed
    assert Sealer([NEW]).seal(secret) != sealed, "equal secrets must not look equal"


def test_a_new_key_seals_while_the_old_one_still_opens() -> None:
    before = Sealer([OLD]).seal("token")
    rotated = Sealer([NEW, OLD])
    assert rotated.open(before).get_secret_value() == "token"
    after = rotated.seal("token")
    assert Sealer([NEW]).open(after).get_secret_value() == "token"
    with pytest.raises(ConfigError):
        Sealer([OLD]).open(after)


@pytest.mark.parametrize(
    "sealed", [Sealer([OLD]).seal("token"), b"", b"no token", b"\xff" * 100], ids=["another key", "nothing", "no token", "no text"]
)
def test_what_no_key_opens_says_which_setting_to_mend(sealed: bytes) -> None:
    with pytest.raises(ConfigError, match=r"POSTROOM_ENCRYPTION_KEYS has none of the keys .* add the old key behind the new one") as caught:
        Sealer([NEW, OTHER]).open(sealed)
    assert NEW.get_secret_value() not in str(caught.value)
    assert caught.value.__cause__ is None


def test_without_keys_nothing_is_sealed_or_opened() -> None:
    sealer = Sealer([])
    assert not sealer.ready
    assert Sealer([NEW]).ready
    with pytest.raises(ConfigError, match="POSTROOM_ENCRYPTION_KEYS is not set, so a secret cannot be kept"):
        sealer.seal("token")
    with pytest.raises(ConfigError, match="POSTROOM_ENCRYPTION_KEYS is not set, so a kept secret cannot be read"):
        sealer.open(b"")


@pytest.mark.parametrize(
    "wrong", ["short", "ü" * 44, "A" * 43 + "!", new_key() + new_key()], ids=["short", "not ASCII", "not base64", "two in one"]
)
def test_a_wrong_key_is_named_by_its_setting_and_not_shown(wrong: str) -> None:
    with pytest.raises(ConfigError, match="POSTROOM_ENCRYPTION_KEYS: each key is 32 bytes in URL-safe base64") as caught:
        Sealer([NEW, SecretStr(wrong)])
    assert wrong not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_fingerprint_names_a_secret_without_telling_it() -> None:
    assert fingerprint("token") == fingerprint("token") == "3c469e9d"
    assert fingerprint("token") != fingerprint("other")
