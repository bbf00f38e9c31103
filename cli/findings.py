"""What `postroom doctor` says: findings, and those that need nothing but the environment. A look never raises for what it looks at.

fine   works            off     not set up, and what that switches off
warn   works, but look  wrong   does not work: says what to do
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from cli import kept
from cli.errors import explain
from cli.output import count
from dispatcher.config import DispatcherSettings
from outbox.config import DatabaseSettings
from outbox.errors import ConfigError, PostroomError
from receiver.config import ReceiverSettings
from receiver.sources.base import Description


class Standing(StrEnum):
    FINE = "fine"
    OFF = "off"
    WARN = "warn"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. `do` says what to do about it; None: nothing."""

    area: str
    standing: Standing
    says: str
    do: str | None = None

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AllSettings:
    database: DatabaseSettings
    receiver: ReceiverSettings
    dispatcher: DispatcherSettings


def fine(area: str, says: str) -> Finding:
    return Finding(area, Standing.FINE, says)


def off(area: str, says: str, do: str | None = None) -> Finding:
    return Finding(area, Standing.OFF, says, do)


def warn(area: str, says: str, do: str) -> Finding:
    return Finding(area, Standing.WARN, says, do)


def wrong(area: str, says: str, do: str | None = None) -> Finding:
    return Finding(area, Standing.WRONG, says, do)


def failed(area: str, problem: BaseException) -> Finding:
    """What stopped a check."""
    return wrong(area, explain(problem)[0])


def read_settings() -> tuple[AllSettings | None, list[Finding]]:
    """The environment, with a finding for each variable that cannot be used."""
    read: list[Any] = []
    found: list[Finding] = []
    for kind in (DatabaseSettings, ReceiverSettings, DispatcherSettings):
        try:
            read.append(kind.read())
        except ConfigError as problem:
            found += [wrong("settings", line.strip(), "Correct or unset the variable.") for line in str(problem).splitlines()[1:]]
    if found:
        return None, found
    return AllSettings(*read), [fine("settings", "every variable that this shell sets can be used")]


def keys(settings: AllSettings) -> list[Finding]:
    """What protects secrets and the operators' API."""
    try:
        return [_encryption(settings), _operators(settings)]
    except PostroomError as problem:
        return [failed("encryption", problem)]


def _encryption(settings: AllSettings) -> Finding:
    if kept.sealer(settings.database).ready:
        return fine("encryption", "secrets at rest can be sealed")
    says = "POSTROOM_ENCRYPTION_KEYS is not set: verification tokens that Notion sends cannot be kept"
    return off("encryption", says, "Set it to what `postroom doctor --new-key` prints.")


def alerts(settings: AllSettings) -> Finding:
    """Whether anybody is told when something goes wrong."""
    if channels := settings.dispatcher.channels():
        return fine("alerts", "told to " + ", ".join(one.name for one in channels))
    says = "POSTROOM_ALERT_URLS is not set: nobody is told of anything, nor by `postroom web` that no dispatcher is alive"
    return off("alerts", says, "Set name=url for the dispatcher and for the receiver.")


def _operators(settings: AllSettings) -> Finding:
    if admins := settings.receiver.admins():
        return fine("operators", f"{count(len(admins), 'token')}: " + ", ".join(f"{one.name} ({one.role})" for one in admins))
    folder = settings.database.data_dir
    if settings.database.database_url is None and kept.read(folder) is not None:
        return fine("operators", f"one token, made by `postroom up`, in {folder / kept.FILE}")
    return off("operators", "POSTROOM_ADMIN_TOKENS is not set: the operators' API is closed", "Set name:role:token for each person.")


def sources(settings: AllSettings) -> list[Finding]:
    """Who may send; all but Notion, whose tokens may lie in the database."""
    return [source(one.describe()) for one in settings.receiver.fixed_sources().values()]


def source(about: Description) -> Finding:
    """One sender."""
    area = f"from {about.source}"
    notes = f" ({'; '.join(about.switched_off)})" if about.switched_off else ""
    if about.configured:
        return fine(area, f"{about.scheme}, {count(len(about.keys), 'key')}{notes}")
    return off(area, "; ".join(about.switched_off) or "not set up")
