"""Settings: read once, refused all together and without a value, secrets never shown."""

from typing import Literal

import pytest
from pydantic import Field, ValidationError

from outbox.config import DatabaseSettings, Secrets, Settings, Words
from outbox.errors import ConfigError

SECRET = "s3cret-value"


class Sample(Settings):
    """One of each kind."""

    port: int = Field(8000, alias="SAMPLE_PORT", ge=1, le=65535)
    mode: Literal["quick", "slow"] = Field("quick", alias="SAMPLE_MODE")
    keys: Secrets = Field((), alias="SAMPLE_KEYS")
    names: Words = Field((), alias="SAMPLE_NAMES")
    token: str = Field(alias="SAMPLE_TOKEN")


def test_every_fault_is_reported_at_once_by_variable_and_without_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_PORT", f"{SECRET}-port")
    monkeypatch.setenv("SAMPLE_MODE", f"{SECRET}-mode")
    with pytest.raises(ConfigError) as caught:
        Sample.read()
    first, *lines = str(caught.value).splitlines()
    assert first == "These settings cannot be used:"
    assert [line.strip().partition(":")[0] for line in lines] == ["SAMPLE_MODE", "SAMPLE_PORT", "SAMPLE_TOKEN"]
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None, "the original quotes the values"


def test_an_override_is_reported_by_the_variable_it_stands_for() -> None:
    with pytest.raises(ConfigError, match="SAMPLE_PORT: Input should be less than or equal to 65535"):
        Sample.read(port=70000, token="x")


def test_an_empty_variable_is_not_set_and_lists_lose_their_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_PORT", "")
    monkeypatch.setenv("SAMPLE_TOKEN", "x")
    monkeypatch.setenv("SAMPLE_NAMES", " a, b ,,c,")
    monkeypatch.setenv("SAMPLE_KEYS", f"{SECRET}1, {SECRET}2")
    settings = Sample.read()
    assert (settings.port, settings.names) == (8000, ("a", "b", "c"))
    assert [key.get_secret_value() for key in settings.keys] == [f"{SECRET}1", f"{SECRET}2"]


def test_the_case_of_a_variable_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("sample_token", "x")
    with pytest.raises(ConfigError, match="SAMPLE_TOKEN: Field required"):
        Sample.read()


def test_secrets_print_as_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:{SECRET}@localhost/shop")
    monkeypatch.setenv("POSTROOM_ENCRYPTION_KEYS", f"{SECRET},{SECRET}")
    settings = DatabaseSettings.read()
    assert settings.database_url is not None
    assert SECRET in settings.database_url.get_secret_value()
    for shown in (str(settings), repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown
        assert "***" in shown


def test_settings_are_frozen() -> None:
    settings = DatabaseSettings.read()
    with pytest.raises(ValidationError, match="frozen"):
        settings.retention_days = 31  # type: ignore[misc]


def test_p2_retention_cannot_be_set_below_thirty_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTROOM_RETENTION_DAYS", "29")
    monkeypatch.setenv("POSTROOM_LOG_LEVEL", "loud")
    with pytest.raises(ConfigError) as caught:
        DatabaseSettings.read()
    assert "POSTROOM_RETENTION_DAYS: Input should be greater than or equal to 30" in str(caught.value)
    assert "POSTROOM_LOG_LEVEL: Input should be 'debug', 'info', 'warning' or 'error'" in str(caught.value)
