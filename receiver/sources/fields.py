"""Reading a message's body: what may be a key, a kind, a lane or a time. Everything unusable is Rejected as malformed, never guessed at.

A detail names the field and never quotes it: the body may hold anything.
"""

import re
from datetime import UTC, datetime
from typing import TypeAlias

from pydantic_core import from_json

from receiver.sources.base import Reason, Rejected

MAX_NAME_CHARS = 200

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
_DIGITS = re.compile(r"[0-9]{1,15}")
_MILLISECONDS_FROM = 100_000_000_000  # as seconds this is the year 5138, as milliseconds 1973

Object: TypeAlias = dict[str, object]


def read_object(body: bytes) -> Object:
    """The body as a JSON object. The last of duplicate names counts; NaN, invalid UTF-8 and nesting beyond 200 levels are malformed."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Rejected(
            Reason.MALFORMED, f"the body is not JSON: {error}"
        ) from None  # the parser's words are a fault and a place, no content
    if not isinstance(value, dict):
        raise Rejected(Reason.MALFORMED, "the body is JSON but not an object")
    return value


def member(container: Object, name: str) -> Object:
    """A nested object, empty when there is none under that name."""
    value = container.get(name)
    return value if isinstance(value, dict) else {}


def text_of(value: object, *, field: str) -> str | None:
    """A string fit for a key or a lane; None when absent, null or blank.

    A whole number that is not negative counts as its digits: senders where people map the fields send ids so.
    """
    if isinstance(value, str):
        if not value or value.isspace():
            return None
        if len(value) > MAX_NAME_CHARS:
            raise Rejected(Reason.MALFORMED, f"{field} is longer than {MAX_NAME_CHARS} characters")
        if not value.isprintable():
            raise Rejected(Reason.MALFORMED, f"{field} has control characters in it")
        return value
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return str(value)
    raise Rejected(Reason.MALFORMED, f"{field} is not a string")


def type_of(value: object, *, field: str) -> str | None:
    """A provider's event type, kept as it is; None when absent, null or empty. Types nobody has heard of pass."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _TYPE.fullmatch(value):
        raise Rejected(Reason.MALFORMED, f"{field} is not an event type (letters, digits and _ . : -, at most 100)")
    return value


def moment_of(value: object) -> float | None:
    """An ISO 8601 time, or seconds or milliseconds since 1970, as seconds since 1970; None when it is none of these."""
    if isinstance(value, str):
        if _DIGITS.fullmatch(value):
            value = int(value)
        else:
            return _iso_moment(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) >= 2**63:
        return None  # too large for a float
    return value / 1000 if abs(value) >= _MILLISECONDS_FROM else float(value)


def check_age(moment: float | None, max_age_s: int | None, *, now: datetime) -> None:
    """Rejected when the moment is known and longer ago than the limit. A time ahead of ours passes: clocks differ."""
    if moment is not None and max_age_s is not None and now.timestamp() - moment > max_age_s:
        raise Rejected(Reason.TOO_OLD, f"sent more than {max_age_s} s ago")


def _iso_moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # The providers write UTC; a time without a zone is taken as that.
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
