"""Notion's values and blocks as plain Python: every type, unknown types, hostile nesting."""

import json
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.clients.answer import Json
from dispatcher.clients.notion_blocks import line
from dispatcher.clients.notion_models import read_data_source, read_page
from dispatcher.clients.notion_values import NotionDate, NotionFile, NotionPlace, Plain, dashed, plain
from tests.dispatcher import patient
from tests.specs import specs_path

SOURCE_ID = "dddddddd-dddd-4ddd-8ddd-dddddddddddd"
DATABASE_ID = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
PAGE_ID = "11111111-1111-4111-8111-111111111111"
TIME = "2026-10-05T09:01:00.000Z"


def words(*pieces: str) -> list[Json]:
    return [{"type": "text", "plain_text": piece} for piece in pieces]


def example(name: str) -> Json:
    cases = json.loads(specs_path("notion/rest-response-examples.json").read_bytes())["cases"]
    return next(case["body"] for case in cases if case["name"] == name)  # type: ignore[no-any-return]  # JSON


def test_the_example_page_is_read_by_property_id() -> None:
    found = read_page(example("page"), destination="notion")
    assert (found.id, found.parent_data_source_id, found.in_trash) == (PAGE_ID, SOURCE_ID, False)
    assert found.last_edited_time == datetime(2026, 10, 5, 9, 1, tzinfo=UTC)
    assert {identifier: (known.name, known.value) for identifier, known in found.properties.items()} == {
        "title": ("Name", "Ada Example"),
        "bDf%5B": ("Notes", "prefers mornings"),
        "XGe%40": ("Email", "ada@example.com"),
        "DbAu": ("Phone", "+353 1 555 0100"),
        "a%3Db1": ("Site", None),
        "n%7C1": ("Visits", 12),
        "ck%3A1": ("VIP", True),
        "st%60a": ("Stage", "Active"),
        "se%3F1": ("Source", None),
        "ms%5E1": ("Tags", ("colour",)),
        "dt%401": ("Next visit", NotionDate(datetime(2026, 11, 2, 10, tzinfo=UTC))),
        "pp%231": ("Owner", ("aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa",)),
        "rl%241": ("Household", ("22222222-2222-4222-8222-222222222222",)),
        "fm%251": ("Full", "Ada Example (12)"),
        "ru%261": ("Spend", 430.5),
        "fl%2A1": ("File", (NotionFile("card.png", "https://files.example.invalid/signed"),)),
        "ui%2B1": ("No", "CL-41"),
        "ct%2C1": ("Made", datetime(2026, 10, 1, 8, 15, tzinfo=UTC)),
        "lb%2D1": ("Edited by", "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"),
    }


def test_the_example_data_source_is_read_by_property_id() -> None:
    found = read_data_source(example("data_source"), destination="notion")
    assert (found.title, found.database_id) == ("Clients", DATABASE_ID)
    assert {known.id: (known.name, known.type) for known in found.columns.values()} == {
        "title": ("Name", "title"),
        "XGe%40": ("Email", "email"),
        "st%60a": ("Stage", "status"),
    }


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


@patient
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
