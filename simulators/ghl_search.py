"""`POST /contacts/search`: filters, sort, page and `searchAfter` over a list of contacts.

Pure. The official specification leaves both shapes empty; the rules here come from the
official description in prose and from measurements.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from simulators.ghl_rules import Refusal
from simulators.shapes import JsonObject, epoch_ms, parse_instant

MAX_PAGE_LIMIT = 500
MAX_BY_PAGE_NUMBER = 10_000
_DATES = {"dateAdded", "dateUpdated"}
_WORDS = {"email", "website", "assignedTo", "country", "timezone", "type", "dnd"}
_TEXTS = {"phone", "firstNameLowerCase", "lastNameLowerCase", "address", "city", "state", "postalCode", "source", "tags", "companyName"}
_OPERATORS: Mapping[str, frozenset[str]] = {
    "id": frozenset({"eq", "not_eq"}),
    **dict.fromkeys(_DATES, frozenset({"range", "exists", "not_exists"})),
    **dict.fromkeys(_WORDS, frozenset({"eq", "not_eq", "exists", "not_exists"})),
    **dict.fromkeys(_TEXTS, frozenset({"eq", "not_eq", "contains", "not_contains", "exists", "not_exists"})),
}
_SORTABLE = {"firstNameLowerCase", "lastNameLowerCase", "dateAdded", "dateUpdated", "email", "dnd", "source"}
_BOUNDS: Mapping[str, Callable[[int, int], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}
_NEWEST_FIRST: list[JsonObject] = [{"field": "dateAdded", "direction": "desc"}]


def search(contacts: Iterable[JsonObject], body: JsonObject) -> JsonObject:
    """One page of the location's contacts. Each carries the `searchAfter` that continues behind it."""
    _check(body)
    sorts = [(one["field"], one.get("direction", "asc") == "desc") for one in body.get("sort") or _NEWEST_FIRST]
    found = [contact for contact in contacts if contact["locationId"] == body["locationId"] and _matches(contact, body)]
    found.sort(key=lambda contact: str(contact["id"]))
    for field, is_descending in reversed(sorts):
        found.sort(key=lambda contact: _key(contact, field), reverse=is_descending)
    total = len(found)
    limit = int(body["pageLimit"])
    if "searchAfter" in body:
        found = [contact for contact in found if _is_behind(contact, sorts, body["searchAfter"])]
    elif "page" in body:
        found = found[(int(body["page"]) - 1) * limit :]
    return {"contacts": [_shown(contact, sorts) for contact in found[:limit]], "total": total}


def _check(body: JsonObject) -> None:
    limit, page, sorts = body["pageLimit"], body.get("page"), body.get("sort") or []
    faults = []
    if not 1 <= limit <= MAX_PAGE_LIMIT:
        faults.append(
            f"pageLimit must not be greater than {MAX_PAGE_LIMIT}" if limit > MAX_PAGE_LIMIT else "pageLimit must not be less than 1"
        )
    if page is not None and page < 1:
        faults.append("page must not be less than 1")
    if page is not None and "searchAfter" in body:
        faults.append("page and searchAfter cannot be used together")
    if page is not None and page * limit > MAX_BY_PAGE_NUMBER:
        faults.append(f"page reaches at most {MAX_BY_PAGE_NUMBER} records, use searchAfter")
    if len(body.get("query") or "") > 75:
        faults.append("query must be shorter than or equal to 75 characters")
    if len(sorts) > 2:
        faults.append("sort must contain no more than 2 elements")
    if "searchAfter" in body and len(body["searchAfter"]) != max(len(sorts), 1) + 1:
        faults.append("searchAfter must hold the sort values and the id of the last contact")
    if faults:
        raise Refusal(422, faults)
    for one in sorts:
        if str(one.get("field")) not in _SORTABLE:
            raise Refusal(400, f"Invalid field {one.get('field')}")


def _matches(contact: JsonObject, body: JsonObject) -> bool:
    query = (body.get("query") or "").lower()
    if query and not any(query in str(contact.get(field, "")).lower() for field in ("name", "email", "phone")):
        return False
    return all(_passes(contact, one) for one in body.get("filters") or [])


def _passes(contact: JsonObject, one: JsonObject) -> bool:
    if "group" in one:
        combine = any if one["group"] == "OR" else all
        return combine([_passes(contact, inner) for inner in one.get("filters") or []])
    field, operator, wanted = str(one.get("field")), str(one.get("operator")), one.get("value")
    operators = _OPERATORS["phone"] if field.startswith("customFields.") else _OPERATORS.get(field)
    if operators is None:
        raise Refusal(400, f"Invalid field {field}")
    if operator not in operators:
        raise Refusal(422, f"Invalid Operator {operator} passed for field {_snake(field)}")
    value = _value(contact, field)
    match operator:
        case "range":
            return _is_within(contact, field, wanted)
        case "exists" | "not_exists":
            return (value not in (None, "", [])) == (operator == "exists")
        case "contains" | "not_contains":
            return _contains(value, wanted, field) == (operator == "contains")
        case _:
            return _equals(value, wanted) == (operator == "eq")


def _value(contact: JsonObject, field: str) -> object:
    if field.startswith("customFields."):
        field_id = field.partition(".")[2]
        return next((custom["value"] for custom in contact["customFields"] if custom["id"] == field_id), None)
    return contact.get("address1" if field == "address" else field)


def _is_within(contact: JsonObject, field: str, bounds: object) -> bool:
    if not isinstance(bounds, dict) or not bounds or not bounds.keys() <= _BOUNDS.keys():
        raise Refusal(422, f"Invalid value passed for field {_snake(field)}")
    value = _key(contact, field)
    assert isinstance(value, int)
    return all(_BOUNDS[name](value, _as_ms(bound, field)) for name, bound in bounds.items())


def _as_ms(bound: object, field: str) -> int:
    """Both ISO text and milliseconds are seen in live use."""
    if isinstance(bound, int) and not isinstance(bound, bool):
        return bound
    at: datetime | None = parse_instant(bound) if isinstance(bound, str) else None
    if at is None:
        raise Refusal(422, f"Invalid value passed for field {_snake(field)}")
    return epoch_ms(at)


def _equals(value: object, wanted: object) -> bool:
    if isinstance(value, list):
        return wanted in value if not isinstance(wanted, list) else all(item in value for item in wanted)
    return str(value).lower() == str(wanted).lower()


def _contains(value: object, wanted: object, field: str) -> bool:
    pieces = wanted if isinstance(wanted, list) else [wanted]
    if any(len(str(piece)) < 3 for piece in pieces):
        raise Refusal(422, f"Invalid value passed for field {_snake(field)}: at least 3 characters")
    texts = [str(item).lower() for item in value] if isinstance(value, list) else [str(value or "").lower()]
    return any(str(piece).lower() in text for piece in pieces for text in texts)


def _key(contact: JsonObject, field: str) -> int | str:
    value = contact.get(field)
    if field in _DATES:
        at = parse_instant(str(value))
        return epoch_ms(at) if at else 0
    return str(value or "").lower()


def _is_behind(contact: JsonObject, sorts: list[tuple[str, bool]], after: list[object]) -> bool:
    for (field, is_descending), given in zip(sorts, after, strict=False):
        value = _key(contact, field)
        bound = given if isinstance(given, type(value)) else type(value)()
        if value != bound:
            return (value < bound) if is_descending else (value > bound)  # type: ignore[operator] # both of one type by the line above
    return str(contact["id"]) > str(after[-1])


def _shown(contact: JsonObject, sorts: list[tuple[str, bool]]) -> JsonObject:
    """A found contact differs from a fetched one: `address` for `address1`, the birthday as milliseconds, and its `searchAfter`."""
    shown = {name: value for name, value in contact.items() if name not in ("address1", "dateOfBirth", "name")}
    shown["contactName"] = contact.get("name")
    shown["address"] = contact.get("address1")
    birthday = parse_instant(contact.get("dateOfBirth", ""))
    shown["dateOfBirth"] = epoch_ms(birthday) if birthday else None
    return {**shown, "searchAfter": [*(_key(contact, field) for field, _ in sorts), contact["id"]]}


def _snake(field: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter.group().lower(), field)
