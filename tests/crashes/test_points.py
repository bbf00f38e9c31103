"""The table of points is whole and true: what writes is reached by one, each names a function, and each can be brought about."""

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path

import pytest

import outbox
from outbox.queries import load, stems
from tests.crashes.calls import CALLS
from tests.crashes.playbook import SCENES
from tests.crashes.points import COMMIT, DISPATCHER, EXEMPT, POINTS, RECEIVER, Action, Moment, Point, Spec

WRITES = re.compile(r"\b(insert\s+into|update\s+\w+\.|delete\s+from|pg_notify|pg_terminate_backend|open_days)", re.IGNORECASE)
ROOT = Path(outbox.__file__).parents[1]


def statements() -> dict[str, str]:
    """Every named statement of outbox/queries, by file.name."""
    return {f"{stem}.{name}": text for stem in stems() for name, text in load(stem).items()}


def is_read_only(statement: str) -> bool:
    """As its comment says."""
    return statement.startswith("-- read only:")


def is_of_a_handler(statement: str) -> bool:
    """It is about crm alone, so it is sent in a transaction that ends with a settlement or a staging: handler.commit, api.commit."""
    return "crm." in statement and "outbox." not in statement


def unreached(queries: Mapping[str, str], points: Iterable[Point], exempt: Mapping[str, str]) -> set[str]:
    """The statements that write and that no point waits for."""
    reached = {query for point in points for query in point.queries}
    writing = {name for name, text in queries.items() if not is_read_only(text) and not is_of_a_handler(text)}
    return writing - reached - exempt.keys()


def test_every_statement_that_writes_is_reached_by_a_point_or_exempt_with_a_reason() -> None:
    assert unreached(statements(), POINTS.values(), EXEMPT) == set()


def test_a_statement_without_a_point_is_noticed() -> None:
    known = unreached(statements(), POINTS.values(), EXEMPT)
    added = {
        **statements(),
        "busy.added": "-- a new one\nupdate outbox.busy set owner = null",
        "busy.looked": "-- read only: a look\nselect 1",
    }
    assert unreached(added, POINTS.values(), EXEMPT) - known == {"busy.added"}
    without = [point for point in POINTS.values() if "busy.wait" not in point.queries]
    assert unreached(statements(), without, EXEMPT) - known == {"busy.wait"}


def test_what_is_called_read_only_writes_nothing() -> None:
    assert [name for name, text in statements().items() if is_read_only(text) and WRITES.search(text)] == []


def test_exempt_and_reached_statements_are_there_and_no_statement_is_both() -> None:
    reached = {query for point in POINTS.values() for query in point.queries} - {COMMIT}
    assert reached | EXEMPT.keys() <= statements().keys()
    assert reached & EXEMPT.keys() == set()
    assert all(EXEMPT.values())


@pytest.mark.parametrize("name", POINTS)
def test_a_point_names_a_function_with_the_arguments_it_is_known_by(name: str) -> None:
    point = POINTS[name]
    module = importlib.import_module(point.module)
    function = reduce(getattr, point.attribute.split("."), module)
    assert callable(function)
    assert point.only.keys() <= inspect.signature(function).parameters.keys()


@pytest.mark.parametrize("name", [name for name, point in POINTS.items() if point.module.startswith("outbox.store.")])
def test_a_point_sends_the_statements_that_it_is_said_to_send(name: str) -> None:
    point = POINTS[name]
    module = importlib.import_module(point.module)
    sent = set(re.findall(r"\[\"(\w+)\"\]", inspect.getsource(module)))
    assert {query.partition(".")[2] for query in point.queries if query != COMMIT} <= sent


def test_every_point_can_be_brought_about() -> None:
    assert CALLS.keys() == RECEIVER.keys()
    assert SCENES.keys() <= DISPATCHER.keys()
    assert not DISPATCHER.keys() & RECEIVER.keys()


def test_calls_outside_are_made_in_one_place_so_that_its_points_are_all_there_are() -> None:
    importing = re.compile(r"^(?:import|from) (?:httpx|aiohttp|requests|urllib\.request|http\.client)\b", re.MULTILINE)
    found = [
        str(path.relative_to(ROOT))
        for end in ("dispatcher", "receiver")
        for path in (ROOT / end).rglob("*.py")
        if importing.search(path.read_text())
    ]
    assert sorted(found) == ["dispatcher/clients/http.py", "dispatcher/clients/wire.py"]  # the one asks the other to send


def test_a_spec_says_what_happens_where_and_at_which_time() -> None:
    assert Spec.parse("before:claim") == Spec(Action.KILL, Moment.BEFORE, "claim", 1)
    assert Spec.parse("tell:during:journal.done#3") == Spec(Action.TELL, Moment.DURING, "journal.done", 3)


@pytest.mark.parametrize(
    "text", ["claim", "before:nothing", "beside:claim", "burn:before:claim", "before:claim#0", "during:answer", "tell:lose:after:claim"]
)
def test_a_spec_that_names_no_point_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Spec.parse(text)
