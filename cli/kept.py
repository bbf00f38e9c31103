"""What `postroom up` makes for itself and keeps in the data folder: an operator's token and an encryption key.

settings.json, mode 0600. A setting of the environment always wins over it.
"""

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import SecretStr

from cli.errors import Failed
from outbox.config import DatabaseSettings
from outbox.seal import Sealer, new_key

FILE = "settings.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """The token opens the operators' API of this machine's receiver; the key seals what lies in its database."""

    admin_token: str
    encryption_key: str


def read(folder: Path) -> Kept | None:
    """What is kept there, if anything. Raises Failed for a file that cannot be used."""
    path = folder / FILE
    try:
        found = json.loads(path.read_text("utf-8"))
        return Kept(admin_token=str(found["admin_token"]), encryption_key=str(found["encryption_key"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise Failed(
            f"{path} cannot be read, or is not what `postroom up` wrote. Restore it, or move it away: then a new token and key are made, "
            "and Notion tokens that were sealed with the old key must be sent by Notion again."
        ) from None


def read_or_make(folder: Path) -> Kept:
    """What is kept there, made on first use."""
    if (found := read(folder)) is not None:
        return found
    made = Kept(admin_token=secrets.token_urlsafe(32), encryption_key=new_key())
    # Written whole under another name and then linked: a second `up` at the same moment takes the first one's.
    part = folder / f"{FILE}.{os.getpid()}"
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        json.dump(asdict(made), out, indent=2)
        out.write("\n")
    try:
        os.link(part, folder / FILE)
    except FileExistsError:
        return read_or_make(folder)
    finally:
        part.unlink()
    return made


def sealer(settings: DatabaseSettings) -> Sealer:
    """With POSTROOM_ENCRYPTION_KEYS, else with the key that is kept beside the embedded database. Raises ConfigError for a bad key."""
    keys: Sequence[SecretStr] = settings.encryption_keys
    if not keys and settings.database_url is None and (kept := read(settings.data_dir)) is not None:
        keys = (SecretStr(kept.encryption_key),)
    return Sealer(keys)
