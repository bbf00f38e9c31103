"""`POST /v1/data_sources/{id}/query`: filter, sort and cut into pages.

Pure. Without sorts the order is that of the ids, that is none at all: Notion promises nothing else.
A cursor names the next row, so rows that move or vanish during a walk show, as they would at Notion.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

from simulators.notion_rules import MAX_PAGE_SIZE, checked_page_size, invalid
from simulators.notion_values import text_of
from simulators.shapes import JsonObject, parse_instant

_BODY = {"filter", "sorts", "start_cursor", "page_size", "archived", "in_trash", "is_archived", "result_type"}
_MAX_NESTING = 2
_TIMESTAMPS = ("created_time", "last_edited_time")
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "before": lambda value, bound: value < bound,
    "after": lambda value, bound: value > bound,
    "on_or_before": lambda value, bound: value <= bound,
    "on_or_after": lambda value, bound: value >= bound,
    "equals": lambda value, bound: value == bound,
}


def query(pages: Sequence[JsonObject], body: JsonObject, *, limit_rows: int) -> JsonObject:
    """One page of the rows that pass. Beyond `limit_rows` the list ends with `request_status` incomplete, though `has_more` is false."""
    for name in body:
        if name not in _BODY:
            raise invalid(f"body failed validation: body.{name} should be not present, instead was defined.")
    wanted = body.get("filter")
    rows = [page for page in pages if wanted is None or _passes(page, wanted, depth=0)]
    rows.sort(key=lambda page: str(page["id"]))
    for sort in reversed(_checked_sorts(body)):
        rows.sort(key=_sort_key(sort), reverse=sort["direction"] == "descending")
    is_cut = len(rows) > limit_rows
    rows, has_more, next_cursor = page_of(rows[:limit_rows], body.get("page_size", MAX_PAGE_SIZE), body, where="body")
    listed: JsonObject = {
        "object": "list",
        "results": rows,
        "has_more": has_more,
        "next_cursor": next_cursor,
        "type": "page_or_data_source",
        "page_or_data_source": {},
    }
    if is_cut and not has_more:
        listed["request_status"] = {"type": "incomplete", "incomplete_reason": "query_result_limit_reached"}
    return listed


def page_of(
    rows: list[JsonObject], page_size: object, asked: Mapping[str, object], *, where: str
) -> tuple[list[JsonObject], bool, str | None]:
    """The rows from the cursor on, whether there are more, and the cursor of those."""
    size = checked_page_size(page_size, where)
    start = 0
    if "start_cursor" in asked:
        cursor = asked["start_cursor"]
        if not isinstance(cursor, str):
            raise invalid(f"{where} failed validation: {where}.start_cursor should be a string or `undefined`, instead was `null`.")
        found = [index for index, row in enumerate(rows) if row["id"] == cursor]
        if not found:
            raise invalid(f"The start_cursor provided is invalid: {cursor}")
        start = found[0]
    end = start + size
    has_more = len(rows) > end
    return rows[start:end], has_more, rows[end]["id"] if has_more else None


def _passes(page: JsonObject, wanted: object, *, depth: int) -> bool:
    if not isinstance(wanted, dict):
        raise invalid("body failed validation: body.filter should be an object.")
    for word, combine in (("and", all), ("or", any)):
        if word in wanted:
            if depth >= _MAX_NESTING or not isinstance(wanted[word], list):
                raise invalid(f"body failed validation: body.filter.{word} should be an array nested at most {_MAX_NESTING} levels.")
            return combine([_passes(page, one, depth=depth + 1) for one in wanted[word]])
    if "timestamp" in wanted:
        return _passes_timestamp(page, wanted)
    return _passes_property(page, wanted)


def _passes_timestamp(page: JsonObject, wanted: JsonObject) -> bool:
    name = wanted["timestamp"]
    if name not in _TIMESTAMPS or not isinstance(wanted.get(name), dict) or "property" in wanted:
        raise invalid("body failed validation: body.filter.timestamp should name the condition beside it, without a property.")
    for condition, bound in wanted[name].items():
        if condition not in _COMPARISONS:
            raise invalid(f"body failed validation: body.filter.{name}.{condition} is not simulated; use {', '.join(_COMPARISONS)}.")
        if not _compares(page[name], condition, bound):
            return False
    return True


def _compares(text: str, condition: str, bound: object) -> bool:
    """A bound without a time of day is compared with the day."""
    at, limit = parse_instant(text), parse_instant(bound) if isinstance(bound, str) else None
    if limit is None:
        raise invalid(f"body failed validation: body.filter.{condition} should be a valid ISO 8601 date string.")
    assert at is not None
    compare = _COMPARISONS[condition]
    if len(str(bound)) == len(date.min.isoformat()):
        return compare(at.date().toordinal(), limit.date().toordinal())
    return compare(at.timestamp(), limit.timestamp())


def _passes_property(page: JsonObject, wanted: JsonObject) -> bool:
    """Equality, containment and emptiness of any type that reads as text: enough to look a row up by a key of one's own."""
    value = _property(page, wanted.get("property"))
    conditions = wanted.get(value["type"])
    if not isinstance(conditions, dict):
        raise invalid(f"body failed validation: body.filter.{value['type']} should be defined, instead was `undefined`.")
    text = text_of(value)
    for condition, bound in conditions.items():
        match condition:
            case "equals":
                is_passed = text == str(bound)
            case "contains":
                is_passed = str(bound) in text
            case "is_empty":
                is_passed = not text
            case "is_not_empty":
                is_passed = bool(text)
            case _:
                raise invalid(f"body failed validation: body.filter.{value['type']}.{condition} is not simulated.")
        if not is_passed:
            return False
    return True


def _property(page: JsonObject, name: object) -> JsonObject:
    properties: dict[str, JsonObject] = page["properties"]
    for known, value in properties.items():
        if name in (known, value["id"]):
            return value
    raise invalid(f"Could not find property with name or id: {name}")


def _checked_sorts(body: JsonObject) -> list[JsonObject]:
    sorts = body.get("sorts") or []
    for sort in sorts if isinstance(sorts, list) else [sorts]:
        if not isinstance(sort, dict) or sort.get("direction") not in ("ascending", "descending"):
            raise invalid("body failed validation: body.sorts.direction should be `ascending` or `descending`.")
        if ("property" in sort) == (sort.get("timestamp") in _TIMESTAMPS):
            raise invalid("body failed validation: body.sorts should name a property or a timestamp.")
    return list(sorts)


def _sort_key(sort: JsonObject) -> Callable[[JsonObject], str]:
    if "property" in sort:
        return lambda page: text_of(_property(page, sort["property"])).lower()
    return lambda page: str(page[sort["timestamp"]])
