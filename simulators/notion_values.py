"""Property values: from plain Python for tests, from the write shape of the API, and back to text.

Pure. Knows the types that a client list uses; values of other types pass through as they are, like at Notion's own SDK.
"""

from collections.abc import Mapping
from typing import Any

from simulators.notion_rules import Refusal, invalid
from simulators.shapes import JsonObject, parse_instant

MAX_TEXT = 2_000
_MAX_ITEMS = 100
_READ_ONLY = {
    "formula",
    "rollup",
    "created_time",
    "last_edited_time",
    "created_by",
    "last_edited_by",
    "unique_id",
    "button",
    "verification",
}
_MAX_CHARS = {"email": 200, "phone_number": 200, "url": MAX_TEXT}
_PLAIN_ANNOTATIONS = {"bold": False, "italic": False, "strikethrough": False, "underline": False, "code": False, "color": "default"}


def rich_text(content: str) -> list[JsonObject]:
    """Text as Notion stores it, in pieces of at most 2,000 characters."""
    return [_text_item(content[start : start + MAX_TEXT]) for start in range(0, len(content), MAX_TEXT)]


def plain_text(items: list[JsonObject]) -> str:
    return "".join(item["plain_text"] for item in items)


def blank_value(schema: Mapping[str, Any]) -> JsonObject:
    kind = schema["type"]
    empty: Any = (
        [] if kind in ("title", "rich_text", "multi_select", "people", "relation", "files") else False if kind == "checkbox" else None
    )
    return {"id": schema["id"], "type": kind, kind: empty}


def built_value(schema: Mapping[str, Any], plain: object) -> JsonObject:
    """A value from plain Python: text, a number, a bool, a list of option names, an ISO date. A dict is taken as the write shape."""
    if isinstance(plain, dict):
        return written_value("value", schema, plain)
    kind = schema["type"]
    match kind, plain:
        case "title" | "rich_text", str():
            return {"id": schema["id"], "type": kind, kind: rich_text(plain)}
        case "select" | "status", str():
            given: Any = {"name": plain}
        case "multi_select", list() | tuple():
            given = [{"name": name} for name in plain]
        case "date", str():
            given = {"start": plain}
        case _:
            given = plain
    return written_value("value", schema, {kind: given})


def written_value(name: str, schema: Mapping[str, Any], given: object) -> JsonObject:
    """A value as a client sends it, checked and completed to what is read back."""
    kind = schema["type"]
    if kind in _READ_ONLY:
        raise invalid(f"{name} is not a property that can be written.")
    if not isinstance(given, dict) or kind not in given:
        raise invalid(f"{name} is expected to be {kind}.")
    return {"id": schema["id"], "type": kind, kind: _checked(name, kind, given[kind])}


def text_of(value: Mapping[str, Any]) -> str:
    """What a person reads in the cell; used for sorting and filtering."""
    inner = value[value["type"]]
    match value["type"]:
        case "title" | "rich_text":
            return plain_text(inner)
        case "select" | "status":
            return inner["name"] if inner else ""
        case "multi_select":
            return ", ".join(option["name"] for option in inner)
        case "date":
            return inner["start"] if inner else ""
        case _:
            return "" if inner is None else str(inner)


def _checked(name: str, kind: str, value: Any) -> Any:
    match kind:
        case "title" | "rich_text":
            return [_checked_text(name, item) for item in _checked_list(name, value)]
        case "email" | "phone_number" | "url":
            if value is not None and (not isinstance(value, str) or not 0 < len(value) <= _MAX_CHARS[kind]):
                raise invalid(f"{name}.{kind} should be null or a text of 1 to {_MAX_CHARS[kind]} characters.")
        case "number":
            if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
                raise _wrong(name, kind)
        case "checkbox":
            if not isinstance(value, bool):
                raise _wrong(name, kind)
        case "select" | "status":
            return None if value is None else _option(name, value)
        case "multi_select":
            return [_option(name, one) for one in _checked_list(name, value)]
        case "date":
            return None if value is None else _checked_date(name, value)
        case _:
            pass
    return value


def _checked_list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MAX_ITEMS:
        raise invalid(f"body.properties.{name} should be an array of at most {_MAX_ITEMS}.")
    return value


def _checked_text(name: str, item: Any) -> JsonObject:
    content = item.get("text", {}).get("content") if isinstance(item, dict) and isinstance(item.get("text", {}), dict) else None
    if not isinstance(content, str):
        raise invalid(f"body.properties.{name}.text.content should be a string.")
    if len(content) > MAX_TEXT:
        raise invalid(f"body.properties.{name}.text.content.length should be ≤ `{MAX_TEXT}`, instead was `{len(content)}`.")
    return {**_text_item(content), "annotations": {**_PLAIN_ANNOTATIONS, **item.get("annotations", {})}}


def _checked_date(name: str, value: Any) -> JsonObject:
    if not isinstance(value, dict) or not isinstance(value.get("start"), str) or parse_instant(value["start"]) is None:
        raise invalid(f"body.properties.{name}.date.start should be a valid ISO 8601 date string.")
    return {"start": value["start"], "end": value.get("end"), "time_zone": value.get("time_zone")}


def _option(name: str, value: Any) -> JsonObject:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise invalid(f"body.properties.{name}.name should be a string.")
    return {"id": f"opt-{value['name'].lower()}", "name": value["name"], "color": "default"}


def _wrong(name: str, kind: str) -> Refusal:
    return invalid(f"{name} is expected to be {kind}.")


def _text_item(content: str) -> JsonObject:
    return {
        "type": "text",
        "text": {"content": content, "link": None},
        "annotations": dict(_PLAIN_ANNOTATIONS),
        "plain_text": content,
        "href": None,
    }
