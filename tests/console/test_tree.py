"""Payloads as trees: numbers exact, masks tight, everything bounded."""

import json

from receiver.console.tree import DEEPEST, MOST_ROWS, grow


def said(payload: bytes, *, masked: bool = False) -> list[tuple[int, str | None, str]]:
    return [(row.depth, row.name, row.said) for row in grow(payload, masked=masked).rows]


def test_numbers_and_repeated_fields_are_shown_as_they_were_sent() -> None:
    rows = said(b'{"n": 9007199254740993.10, "e": 1e3, "a": 1, "a": "two"}')
    assert rows == [
        (0, None, "object, 4 fields"),
        (1, "n", "9007199254740993.10"),
        (1, "e", "1e3"),
        (1, "a", "1"),
        (1, "a", '"two"'),
    ]


def test_a_mask_keeps_names_types_and_lengths_and_no_value() -> None:
    rows = said(b'{"name": "Ada Lovelace", "phone": "+1 555 0100", "age": 36, "vip": true, "tags": ["gold"]}', masked=True)
    assert [text for _, _, text in rows] == [
        "object, 5 fields",
        "A…e (12)",
        "+…0 (11)",
        "number, 2 characters",
        "true",
        "list, 1 item",
        "… (4)",
    ]


def test_what_is_too_deep_too_long_or_no_json_is_said_to_be() -> None:
    deep = grow(b"[" * 900 + b"]" * 900, masked=False)
    long = grow(json.dumps(list(range(MOST_ROWS))).encode(), masked=False)
    broken = grow(b"\xff\x00 no", masked=False)
    assert (len(deep.rows), deep.rows[-1].said) == (DEEPEST + 1, "list, 1 item, too deep to show here")
    assert (len(long.rows), long.is_cut) == (MOST_ROWS, True)
    assert (broken.rows, broken.problem) == ((), "This is no JSON: 5 B of something else.")
