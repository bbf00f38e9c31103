"""Notion's values and blocks as plain Python: every type, unknown types, hostile nesting."""

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.clients.answer import Json
from dispatcher.clients.notion_blocks import line
from dispatcher.clients.notion_models import read_page
from dispatcher.clients.notion_values import NotionDate, NotionFile, NotionPlace, Plain, dashed, plain

PAGE_ID = "11111111-1111-4111-8111-111111111111"
TIME = "2026-10-05T09:01:00.000Z"


def words(*pieces: str) -> list[Json]:
    return [{"type": "text", "plain_text": piece} for piece in pieces]


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("paragraph", {"rich_text": words("a", "b")}, "ab"),
        ("paragraph", {"rich_text": []}, None),
        ("bulleted_list_item", {"rich_text": words("a")}, "- a"),
        ("to_do", {"rich_text": words("a"), "checked": True}, "[x] a"),
        ("to_do", {"rich_text": words("a"), "checked": False}, "[ ] a"),
        ("equation", {"expression": "e=mc^2"}, "e=mc^2"),
        ("bookmark", {"url": "https://example.com"}, "https://example.com"),
        ("image", {"caption": words("a cut")}, "a cut"),
        ("table_row", {"cells": [words("a"), words("b")]}, "a | b"),
        ("divider", {}, None),
        ("not_invented_yet", {"rich_text": words("a")}, "a"),
        ("unsupported", None, None),
    ],
)
def test_each_kind_of_block_is_one_line_or_none(kind: str, content: Json, expected: str | None) -> None:
    assert line({"type": kind, kind: content}) == expected


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("date", {"start": "2026-11-02", "end": "2026-11-03", "time_zone": None}, NotionDate(date(2026, 11, 2), date(2026, 11, 3))),
        (
            "date",
            {"start": "2026-11-02T10:00:00.000+01:00", "end": None, "time_zone": "Europe/Dublin"},
            NotionDate(datetime.fromisoformat("2026-11-02T10:00:00+01:00"), None, "Europe/Dublin"),
        ),
        ("date", None, None),
        ("date", {"start": "soon"}, None),
        ("number", True, None),
        ("checkbox", False, False),
        ("formula", {"type": "number", "number": 3}, 3),
        ("formula", {"type": "boolean", "boolean": True}, True),
        ("formula", {"type": "date", "date": {"start": "2026-11-02"}}, NotionDate(date(2026, 11, 2))),
        ("formula", {"type": "unsupported", "unsupported": {}}, None),
        (
            "rollup",
            {"type": "array", "array": [{"type": "email", "email": "ada@example.com"}, {"type": "number", "number": 1}]},
            ("ada@example.com", 1),
        ),
        ("rollup", {"type": "array", "array": [{"type": "formula", "formula": {"type": "string", "string": "x"}}]}, ("x",)),
        ("rollup", {"type": "incomplete", "incomplete": {}}, None),
        ("rollup", {"type": "date", "date": {"start": "2026-11-02"}}, NotionDate(date(2026, 11, 2))),
        (
            "files",
            [{"name": "a", "type": "external", "external": {"url": "https://example.com/a"}}, {}],
            (NotionFile("a", "https://example.com/a"), NotionFile("", None)),
        ),
        ("unique_id", {"prefix": None, "number": 7}, "7"),
        ("unique_id", {"prefix": "CL", "number": None}, None),
        ("verification", {"state": "verified"}, "verified"),
        ("verification", None, None),
        ("button", {}, None),
        ("place", {"lat": 53.3, "lon": -6.2, "name": "Shop", "address": None}, NotionPlace(53.3, -6.2, "Shop", None)),
        ("people", [{"object": "user"}, {"object": "group", "id": "g"}], ("g",)),
        ("created_by", {"object": "user", "id": "u"}, "u"),
        ("not_invented_yet", {"deep": [1]}, None),
    ],
)
def test_each_type_of_value_becomes_plain(kind: str, content: Json, expected: object) -> None:
    assert plain({"id": "x", "type": kind, kind: content}) == Plain(kind, expected)  # type: ignore[arg-type]  # one table, many types


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text()
    | st.sampled_from(["rollup", "formula", "array", "date", "files", "title"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "type", "rollup", "formula", "array", "date", "start", "files", "title", "name", "url"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_no_value_of_notion_can_raise(value: Json) -> None:
    assert isinstance(plain(value), Plain)
    assert line(value) is None or isinstance(line(value), str)
    page: Json = {"id": PAGE_ID, "created_time": TIME, "last_edited_time": TIME, "properties": value}
    read = read_page(page, destination="notion")
    assert all(known.id == identifier for identifier, known in read.properties.items())


def test_values_nested_without_end_are_cut_off() -> None:
    value: Json = {"type": "number", "number": 1}
    for _ in range(500):
        value = {"type": "rollup", "rollup": {"type": "array", "array": [value]}}
    assert plain(value).value is not None  # tuples in tuples, with nothing in the innermost


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("11111111111141118111111111111111", PAGE_ID),
        (PAGE_ID.upper(), PAGE_ID),
        (f" {PAGE_ID} ", PAGE_ID),
        ("no id", "no id"),
        ("", ""),
    ],
)
def test_ids_are_written_one_way(written: str, expected: str) -> None:
    assert dashed(written) == expected
