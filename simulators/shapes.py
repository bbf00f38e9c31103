"""JSON objects, times and ids as the providers write them.

Owns only these notations. JSON is typed loosely on purpose: the simulators store documents whose shape belongs to somebody else.
"""

import json
import random
import string
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]
Clock: TypeAlias = Callable[[], datetime]

_ALPHANUMERIC = string.ascii_letters + string.digits


def utc_now() -> datetime:
    return datetime.now(UTC)


def iso_ms(at: datetime) -> str:
    """Milliseconds and a Z, as both providers write instants."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def floored_to_minute(at: datetime) -> datetime:
    """Notion's `created_time` and `last_edited_time` know no seconds."""
    return at.replace(second=0, microsecond=0)


@lru_cache(maxsize=65_536)  # a search compares the same few instants again and again
def parse_instant(text: str) -> datetime | None:
    """An ISO 8601 date or instant, UTC where it names no zone; None when it is neither."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def epoch_ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def compact(document: JsonObject) -> bytes:
    """Bytes as JavaScript's JSON.stringify would make them: no spaces, text unescaped."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def parsed(raw: bytes) -> object:
    """JSON that can be sent back: ValueError also for NaN, lone surrogates, and nesting too deep to read."""
    try:
        document: object = json.loads(raw)
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("nested too deep") from None
    return document


def without_nones(document: JsonObject) -> JsonObject:
    """Sparse, as real GHL payloads are: what is not known is left out, never null."""
    return {name: value for name, value in document.items() if value is not None}


def new_rng(seed: int | None = None) -> random.Random:
    """Ids and chances of one simulator. Unseeded by default, so that a restarted simulator never repeats a webhook id."""
    return random.Random(seed)  # noqa: S311 (invented ids, no secret depends on it)


def ghl_id(rng: random.Random) -> str:
    return "".join(rng.choices(_ALPHANUMERIC, k=20))


def uuid_id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def dashed(text: str) -> str | None:
    """A Notion id in its dashed form, from either form; None when it is no id."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
