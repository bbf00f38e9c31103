"""docs/api.md names every route of the API, and no other; every metric and every problem type that it names exists."""

import re
from pathlib import Path

from outbox.testing import Postroom
from receiver.api.table import build_table
from tests.receiver.running import started

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "api.md").read_text("utf-8")


def test_every_route_is_documented_and_no_other() -> None:
    documented = re.findall(r"^### ([A-Z]+) (\S+)$", DOC, re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == {(operation.method, operation.path) for operation in build_table()}


def test_every_route_for_operators_says_so() -> None:
    texts = dict(re.findall(r"^### [A-Z]+ (\S+)\n+(.*)$", DOC, re.MULTILINE))
    for_viewers_too = ("/api/events", "/api/appointments", "/api/plans", "/api/find")
    for operation in build_table():
        if operation.role is not None and operation.method != "GET" and operation.path not in for_viewers_too:
            assert texts[operation.path].startswith("Operator."), operation.path


async def test_the_documented_metrics_are_those_there_are(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        await talk.webhook("ghl", ({}, b"{}"))
        served = set(re.findall(r"^# TYPE (\S+) ", (await talk.client.get("/metrics")).text, re.MULTILINE))
    assert set(re.findall(r"`(postroom_[a-z_]+)", DOC)) == served


def test_the_problem_types_of_the_examples_exist() -> None:
    code = "".join(path.read_text("utf-8") for package in ("receiver", "outbox") for path in (ROOT / package).rglob("*.py"))
    for word in re.findall(r"urn:postroom:([a-z-]+)", DOC):
        assert f'"{word}"' in code
