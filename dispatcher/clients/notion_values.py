"""Notion's property values and rich text as plain Python. Pure; nothing Notion sends can make it raise.

A type that is not known passes through as None with its name: new types appear, and one of them must not stop a sync.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, TypeAlias, Union

from dispatcher.clients.answer import Json, items, member

_NESTING: Final = 3  # a formula in a rollup's array is two deep; deeper is nothing Notion sends
_HEX32: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class NotionDate:
    """A day or a moment, or a span of them. `time_zone` is a name, and then the moments are local to it."""

    start: date | datetime
    end: date | datetime | None = None
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class NotionFile:
    """`url` of a file kept by Notion is signed and lives an hour: fetch, do not store."""

    name: str
    url: str | None


@dataclass(frozen=True, slots=True)
class NotionPlace:
    lat: float | None
    lon: float | None
    name: str | None
    address: str | None


Value: TypeAlias = Union[str, int, float, bool, date, datetime, NotionDate, NotionFile, NotionPlace, tuple["Value", ...], None]  # noqa: UP007 -- it is recursive


@dataclass(frozen=True, slots=True)
class Plain:
    """`type` is Notion's name of the type; `value` by type: text, number, flag, name of the option, tuple of names or ids, date, …"""

    type: str
    value: Value


def plain(value: Json) -> Plain:
    """A property value ({"id", "type", "<type>": …}) as plain Python."""
    return _plain(value, nesting=0)


def _plain(value: Json, *, nesting: int) -> Plain:
    kind = member(value, "type")
    if not isinstance(kind, str):
        return Plain("unknown", None)
    content = member(value, kind)
    if kind == "formula":
        return Plain(kind, _plain(content, nesting=nesting + 1).value if nesting < _NESTING else None)
    if kind == "rollup":
        return Plain(kind, _rollup(content, nesting=nesting + 1) if nesting < _NESTING else None)
    read = _READERS.get(kind)
    return Plain(kind, read(content) if read else None)


def _rollup(content: Json, *, nesting: int) -> Value:
    if member(content, "type") == "array":
        return tuple(_plain(item, nesting=nesting).value for item in items(member(content, "array")))
    return _plain(content, nesting=nesting).value


def rich_text(value: Json) -> str:
    """The text of an array of rich text items, without its formatting."""
    return "".join(piece for item in items(value) if isinstance(piece := member(item, "plain_text"), str))


def moment(value: Json) -> datetime | None:
    """A timestamp with its zone; None for anything else."""
    when = _day_or_moment(value)
    return when if isinstance(when, datetime) and when.tzinfo else None


def dashed(identifier: str) -> str:
    """An id as the API writes it, from any way of writing it; text that is no id comes back as it is."""
    bare = identifier.strip().replace("-", "").lower()
    if not _HEX32.fullmatch(bare):
        return identifier
    return "-".join((bare[:8], bare[8:12], bare[12:16], bare[16:20], bare[20:]))


def _day_or_moment(value: Json) -> date | datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
    except ValueError:
        return None


def _date(value: Json) -> Value:
    start = _day_or_moment(member(value, "start"))
    return None if start is None else NotionDate(start, _day_or_moment(member(value, "end")), _string(member(value, "time_zone")))


def _string(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Json) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _flag(value: Json) -> bool | None:
    return value if isinstance(value, bool) else None


def _name(value: Json) -> str | None:
    return _string(member(value, "name"))


def _id(value: Json) -> str | None:
    return _string(member(value, "id"))


def _names(value: Json) -> Value:
    return tuple(name for item in items(value) if (name := _name(item)) is not None)


def _ids(value: Json) -> Value:
    return tuple(found for item in items(value) if (found := _id(item)) is not None)


def _files(value: Json) -> Value:
    return tuple(NotionFile(_name(item) or "", _file_url(item)) for item in items(value))


def _file_url(item: Json) -> str | None:
    kind = member(item, "type")
    return _string(member(item, kind, "url")) if isinstance(kind, str) else None


def _unique_id(value: Json) -> str | None:
    prefix, number = _string(member(value, "prefix")), _number(member(value, "number"))
    if number is None:
        return None
    return f"{prefix}-{number}" if prefix else str(number)


def _place(value: Json) -> Value:
    if not isinstance(value, dict):
        return None
    return NotionPlace(_number(value.get("lat")), _number(value.get("lon")), _name(value), _string(value.get("address")))


_READERS: Final[Mapping[str, Callable[[Json], Value]]] = {
    "title": rich_text,
    "rich_text": rich_text,
    "number": _number,
    "email": _string,
    "phone_number": _string,
    "url": _string,
    "checkbox": _flag,
    "select": _name,
    "status": _name,
    "multi_select": _names,
    "date": _date,
    "people": _ids,
    "relation": _ids,
    "files": _files,
    "created_time": moment,
    "last_edited_time": moment,
    "created_by": _id,
    "last_edited_by": _id,
    "unique_id": _unique_id,
    "verification": lambda value: _string(member(value, "state")),
    "place": _place,
    # What formulas and rollups hold:
    "string": _string,
    "boolean": _flag,
}
