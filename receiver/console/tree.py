"""A payload as rows of a tree: every number as it was sent, every value as text, and for who may not see values their masks. Pure.

    {"name": "Ada", "tags": ["vip"]}   ─▶   object, 2 fields
                                              name  "Ada"
                                              tags  list, 1 item
                                                      0  "vip"

Nothing is formatted anew: 1e3 stays 1e3, and 9007199254740993 stays exact. What is too much to look at is said to be left out.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from receiver.console import words

MOST_ROWS, DEEPEST = 2_000, 24


class Mark(StrEnum):
    """What a row of a tree is, for its colour and its mask."""

    BRANCH = "branch"
    TEXT = "text"
    NUMBER = "number"
    WORD = "word"  # true, false, null


@dataclass(frozen=True, slots=True)
class Row:
    """`depth` from 0; `name` is a field's, or an index; None: the whole."""

    depth: int
    name: str | None
    mark: Mark
    said: str


@dataclass(frozen=True, slots=True)
class Tree:
    """`is_cut`: it has more rows than are shown. `problem`: why it is no tree."""

    rows: tuple[Row, ...] = ()
    is_cut: bool = False
    problem: str | None = None


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def grow(payload: bytes, *, masked: bool) -> Tree:
    """The tree of a payload; `masked`: names, types and lengths only."""
    try:
        value = json.loads(payload, parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return Tree(problem=f"This is no JSON: {words.size(len(payload))} of something else.")
    rows: list[Row] = []
    for row in _rows(value, None, 0, masked=masked):
        if len(rows) == MOST_ROWS:
            return Tree(tuple(rows), is_cut=True)
        rows.append(row)
    return Tree(tuple(rows))


class _Pairs(list[tuple[str, Any]]):
    """An object with its fields as they stand, repeated ones too."""


def _rows(value: Any, name: str | None, depth: int, *, masked: bool) -> Iterator[Row]:
    match value:
        case _Pairs():
            yield Row(depth, name, Mark.BRANCH, _held(len(value), "object", "field", depth))
            inner: list[tuple[str, Any]] = list(value)
        case list():
            yield Row(depth, name, Mark.BRANCH, _held(len(value), "list", "item", depth))
            inner = [(str(at), one) for at, one in enumerate(value)]
        case _:
            yield _leaf(value, name, depth, masked=masked)
            return
    if depth < DEEPEST:
        for inside, one in inner:
            yield from _rows(one, inside, depth + 1, masked=masked)


def _held(count: int, what: str, one: str, depth: int) -> str:
    deeper = ", too deep to show here" if depth == DEEPEST and count else ""
    return f"{what}, {words.plural(count, one)}{deeper}"


def _leaf(value: Any, name: str | None, depth: int, *, masked: bool) -> Row:
    match value:
        case _Number():
            return Row(depth, name, Mark.NUMBER, f"number, {words.plural(len(value), 'character')}" if masked else str(value))
        case str():
            return Row(depth, name, Mark.TEXT, words.mask(value) if masked else json.dumps(value, ensure_ascii=False))
    return Row(depth, name, Mark.WORD, json.dumps(value))
