"""An event before it is staged, and as a claim hands it out. Owns their shape; knows nothing of the database."""

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel

from outbox.errors import InvalidEvent

KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,119}")
SOURCE = re.compile(r"[a-z][a-z0-9_:-]{0,59}")
SURROGATE = re.compile(r"[\ud800-\udfff]")
ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # not in a text that merely spells it, whose backslash is itself escaped
MAX_PAYLOAD_BYTES = 1_048_576


class State(StrEnum):
    """P7: what an event is, always one of four."""

    PENDING = "pending"
    DONE = "done"
    SKIPPED = "skipped"
    DEAD = "dead"


class Mark(StrEnum):
    """What outbox.states() marks an event with: its state, and of a pending one what it waits for."""

    READY = "ready"
    RUNNING = "running"
    RETRY = "retry"
    SNOOZED = "snoozed"
    DELAYED = "delayed"
    BEHIND = "behind"
    HELD = "held"
    DONE = "done"
    SKIPPED = "skipped"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Event:
    """A fact worth acting on, to be staged.

    `kind` routes it; `key` makes it acceptable once per source; events of one `lane` are handled in staging order;
    `due_at` holds it back until then. The payload is JSON: a dict, a list or a pydantic model.
    """

    kind: str
    payload: Any
    key: str | None = None
    lane: str | None = None
    due_at: datetime | None = None
    source: str = "app"

    def payload_json(self) -> str:
        """The payload as JSON text. Raises InvalidEvent when it is none, or breaks a rule of outbox.stage()."""
        _check_types(self)
        if not KIND.fullmatch(self.kind):
            raise InvalidEvent(f"kind {self.kind[:60]!r} is not a word of letters, digits, dots, dashes or colons (at most 120)")
        if not SOURCE.fullmatch(self.source):
            raise InvalidEvent(f"source {self.source[:60]!r} is not a lower-case word (at most 60)")
        for name, value in (("key", self.key), ("lane", self.lane)):
            if value is not None and (not 1 <= len(value) <= 400 or "\x00" in value):
                raise InvalidEvent(f"{name} has 1 to 400 characters and no NUL")
            if value is not None and SURROGATE.search(value):
                raise InvalidEvent(f"{name} holds half of a surrogate pair, which is no character")
        if self.due_at is not None and self.due_at.tzinfo is None:
            raise InvalidEvent("due_at needs a time zone: datetime.now(UTC) + timedelta(...)")
        try:
            text = (
                self.payload.model_dump_json()
                if isinstance(self.payload, BaseModel)
                else json.dumps(self.payload, allow_nan=False, ensure_ascii=False)
            )
            encoded = text.encode()
        except (TypeError, ValueError, RecursionError) as problem:
            raise InvalidEvent(f"the payload of {self.kind} is not JSON: {problem}") from None
        if len(encoded) > MAX_PAYLOAD_BYTES:
            raise InvalidEvent(
                f"the payload of {self.kind} has {len(encoded)} bytes, the limit is {MAX_PAYLOAD_BYTES}; stage a reference instead"
            )
        if ESCAPED_NUL.search(encoded):
            raise InvalidEvent(f"the payload of {self.kind} holds a NUL character, which Postgres cannot keep in JSON")
        return str(text)


def _check_types(event: Event) -> None:
    """A UUID as a key, or a date as a text, is the usual slip; drivers would each say it in their own way."""
    texts: dict[str, object] = {"kind": event.kind, "source": event.source, "key": event.key or "", "lane": event.lane or ""}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise InvalidEvent(f"{name} is a {type(value).__name__}, not a text: pass str(...)")
    due_at: object = event.due_at
    if due_at is not None and not isinstance(due_at, datetime):
        raise InvalidEvent(f"due_at is a {type(due_at).__name__}, not a datetime")


class Claimed(NamedTuple):
    """An event as a claim hands it to a worker. `lane_key` is the lane's 64-bit name; the order is that of the claim's columns."""

    id: int
    lane_key: int
    urgency: int
    attempt: int
    failures: int
    crashes: int
    source: str
    kind: str
    key: str | None
    lane: str | None
    payload: bytes
    staged_at: datetime

    def json(self) -> Any:
        """The payload, parsed. Raises ValueError when the bytes are no JSON."""
        return json.loads(self.payload)


def digest(source: str, key: str) -> uuid.UUID:
    """The idempotency digest, as outbox.digest() in SQL: 128 bits of sha256(source, key)."""
    return uuid.UUID(bytes=hashlib.sha256(f"{source}\x1f{key}".encode()).digest()[:16])
