"""What a statement of the engine really does: its plan as a worker's connection runs it, with the rows and pages it touched.

A session keeps the plan it made when it was asked to until the tables are analyzed, as a worker's prepared statements do. Nothing
here judges time.
"""

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from outbox import db
from outbox.db import ENGINE_SETTINGS, Connection
from outbox.queries import load

Node: TypeAlias = dict[str, Any]
Statement: TypeAlias = tuple[str, str]  # the file and the name
BY_PLACE_OR_INDEX = ("Index Scan", "Index Only Scan", "Tid Scan")
THROWN_AWAY = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
CONDITIONS = ("Index Cond", "TID Cond")
ONE_ROW = ("event_ids",)  # a sequence


@dataclass(frozen=True, slots=True)
class Explained:
    """One run of a statement, rolled back."""

    plan: Node

    def nodes(self) -> Iterator[Node]:
        """Every node of the plan, the outermost first."""
        return _nodes(self.plan)

    def table_scans(self) -> list[Node]:
        """The nodes that read a table."""
        return [node for node in self.nodes() if "Relation Name" in node and "Scan" in node["Node Type"]]

    def rows(self) -> int:
        """The most rows that any node brought up, those it threw away included."""
        return max(_rows(node) for node in self.nodes())

    def buffers(self) -> int:
        """Pages touched, at most: what runs after the main query (deletes whose rows nobody asks for) is added to the whole."""
        late = [node for node in self.nodes() if node.get("Subplan Name", "").startswith("CTE")]
        return sum(int(node["Shared Hit Blocks"] + node["Shared Read Blocks"]) for node in (self.plan, *late))

    def unbounded(self) -> list[str]:
        """Scans that will grow with their table, whatever they cost today: not by index or place, or by an index without a condition."""
        return [
            f"{node['Node Type']} on {node['Relation Name']} {node.get('Index Name', '')}".strip()
            for node in self.table_scans()
            if node["Relation Name"] not in ONE_ROW
            and (node["Node Type"] not in BY_PLACE_OR_INDEX or not any(condition in node for condition in CONDITIONS))
        ]

    def text(self) -> str:
        """The plan as a tree, for the message of a failure."""
        return "\n".join(_lines(self.plan, 0))


class Session:
    """A connection whose statements are planned when it is told to."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._prepared: dict[Statement, str] = {}

    async def plan(self, statements: Iterable[Statement]) -> None:
        """Plans them now, with what the planner believes now."""
        for stem, name in statements:
            await self.add((stem, name), load(stem)[name])

    async def add(self, statement: Statement, text: str) -> None:
        """One that stands in no file: a function's body, which no plan of its caller shows."""
        types, name = [type_.name for type_ in (await self.connection.prepare(text)).get_parameters()], "_".join(statement)
        self._prepared[statement] = name
        await self.connection.execute(f"prepare {name} {_in_brackets(types)} as {text}")
        await self.connection.execute(f"explain execute {name} {_in_brackets(['null'] * len(types))}")

    async def explain(self, statement: Statement, *values: object) -> Explained:
        """Runs it and rolls it back."""
        if statement not in self._prepared:
            await self.plan([statement])
        given = _in_brackets([_literal(value) for value in values])
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            answer = await self.connection.fetchval(f"explain (analyze, buffers, format json) execute {self._prepared[statement]} {given}")
        finally:
            await transaction.rollback()
        return Explained(json.loads(answer)[0]["Plan"])


@asynccontextmanager
async def session(dsn: str, *, settings: Mapping[str, str] = ENGINE_SETTINGS) -> AsyncIterator[Session]:
    """A session with the settings of a worker's engine connections."""
    connection = await db.connect(dsn, name="postroom:test", settings=settings, timeout_s=60)
    try:
        yield Session(connection)
    finally:
        connection.terminate()


def _in_brackets(words: list[str]) -> str:
    return f"({', '.join(words)})" if words else ""


def _literal(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"'{value}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case Iterable():
            return _literal("{" + ",".join("null" if element is None else _element(element) for element in value) + "}")
    raise TypeError(f"no literal for {type(value).__name__}")


def _element(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else str(value)


def _nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _rows(node: Node) -> int:
    each: float = node["Actual Rows"] + sum(node.get(name, 0) for name in THROWN_AWAY)
    return round(each * int(node["Actual Loops"]))


def _lines(node: Node, depth: int) -> Iterator[str]:
    where = " ".join(str(node[name]) for name in ("Subplan Name", "Relation Name", "Index Name", "CTE Name") if name in node)
    conditions = "  ".join(f"{name}: {node[name]}" for name in (*CONDITIONS, "Filter", "Join Filter") if name in node)
    yield f"{'  ' * depth}{node['Node Type']} {where}  [{_rows(node)} rows in {node['Actual Loops']:g} loops]  {conditions}"
    for inner in node.get("Plans", ()):
        yield from _lines(inner, depth + 1)
