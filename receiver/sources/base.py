"""What every source keeps to: headers and body in, an Incoming (or a Handshake) out, or the one exception Rejected.

    headers, body, now ── accept ──┬── Incoming    verified and read; to be staged as it is
                                   ├── Handshake   a token offered by a new subscription; proves nothing, an operator decides
                                   └── Rejected    why, in a closed set of reasons and in words an operator may see

Nothing here or in the implementations does I/O, reads a clock or keeps state, so a source may be shared by all requests.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, assert_never

from pydantic import SecretStr

from outbox.errors import PostroomError

MAX_KEPT_HEADER_CHARS = 200
# Kept with the event by every source. Never a signature, a secret, a cookie or an address.
KEPT_HEADERS = ("content-type", "traceparent", "user-agent")


class Reason(StrEnum):
    """Why a request was turned away, in words short enough to count by."""

    BAD_SIGNATURE = "bad_signature"  # missing, unreadable, repeated or wrong
    NOT_CONFIGURED = "not_configured"  # no key or secret to check it with
    WRONG_APP = "wrong_app"  # rightly signed, for another app
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"  # for the intake, which counts the bytes; no source raises it


class Rejected(PostroomError):
    """A request that does not become an event. The detail never holds a secret or a piece of the body."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    @property
    def status(self) -> int:
        """The HTTP status. Whatever has to do with who sent it, or when, is a 401, to be answered with one and the same body."""
        match self.reason:
            case Reason.BAD_SIGNATURE | Reason.NOT_CONFIGURED | Reason.WRONG_APP | Reason.TOO_OLD | Reason.TOO_NEW:
                return 401
            case Reason.MALFORMED:
                return 400
            case Reason.TOO_LARGE:
                return 413
        assert_never(self.reason)


class Headers:
    """A request's headers by lower-case name, values as Latin-1; remembers which came more than once."""

    __slots__ = ("_repeated", "_values")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        self._repeated: set[str] = set()
        for raw_name, raw_value in pairs:
            name = raw_name.lower().decode("latin-1")
            if name in self._values:
                self._repeated.add(name)
            else:
                self._values[name] = raw_value.strip(b" \t").decode("latin-1")

    def one(self, name: str, *, otherwise: Reason) -> str | None:
        """The value, None when absent or empty. Rejected when it came twice: a proxy and we might each believe another one."""
        if name in self._repeated:
            raise Rejected(otherwise, f"the header {name} came more than once")
        return self._values.get(name) or None

    def kept(self, names: Iterable[str]) -> dict[str, str]:
        """Those of the named headers that are there, said once, and printable; cut to a bounded length."""
        return {
            name: value[:MAX_KEPT_HEADER_CHARS]
            for name in names
            if (value := self._values.get(name)) and name not in self._repeated and value.isprintable()
        }


@dataclass(frozen=True, slots=True)
class Incoming:
    """A verified message, ready to be staged."""

    source: str
    kind: str
    key: str
    lane: str | None  # None: the message names no object, so it waits for nothing
    body: bytes  # exactly as received
    headers: Mapping[str, str]  # the few worth keeping
    fingerprint: str  # of the key or secret that matched


@dataclass(frozen=True, slots=True)
class Handshake:
    """A subscription's verification token. Anybody can send one: keep it as a candidate, never let it replace a token in use."""

    source: str
    token: SecretStr
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Description:
    """What a source is set up to accept, for the health page; holds no secret."""

    source: str
    scheme: str
    configured: bool
    keys: tuple[str, ...]  # fingerprints; "name fingerprint" where the secret has a name
    max_age_s: int | None  # None: a message may be of any age
    switched_off: tuple[str, ...]  # in words, with the setting that would switch it on


class Source(Protocol):
    """One sender's rules. Implementations are immutable; new keys mean a new object."""

    @property
    def name(self) -> str:
        """The source as the database has it: `ghl`, `ghl-workflow`, `notion`, `standard:NAME`."""
        ...

    def accept(self, headers: Headers, body: bytes, *, now: datetime) -> Incoming | Handshake:
        """Verify, then read. Raises Rejected and nothing else, whatever the input; `now` is an aware time, only used for the age limit."""
        ...

    def describe(self) -> Description:
        """What is configured and what is switched off."""
        ...
