"""Modules of the user's own at the command line: found in the folder, told by the doctor, and refused before anything starts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_doctor_command import says, standing

TEXT = """
from dispatcher.handling import Done, Route
async def greet(event, ctx):
    return Done()
ROUTES = {"salon.booked": Route(greet, destination="salon")}
"""


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module in the folder that the command is called in."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_salon.py").write_text(TEXT)
    (tmp_path / "own_spoiled.py").write_text(TEXT.replace("(event, ctx)", "()").replace("salon.booked", "salon.moved"))
    yield
    for name in ("own_salon", "own_spoiled"):
        sys.modules.pop(name, None)


def test_the_doctor_says_what_a_module_adds_and_what_is_wrong_with_another(command: Command) -> None:
    ended = command("doctor", "--no-calls", "--json", POSTROOM_MODULES="own_salon,own_spoiled,own_missing")
    assert ended.code == 1
    assert standing(ended, "module own_salon") == ["fine"]
    assert "1 route (salon.booked)" in says(ended, "module own_salon")
    assert standing(ended, "module own_spoiled") == standing(ended, "module own_missing") == ["wrong"]
    assert "greet(), which does not take (event, ctx)" in says(ended, "module own_spoiled")
    assert "No module named 'own_missing'" in says(ended, "module own_missing")


def test_the_doctor_says_that_there_is_none(command: Command) -> None:
    assert standing(command("doctor", "--no-calls", "--json"), "modules") == ["off"]


@pytest.mark.parametrize("program", ["worker", "up"])
def test_nothing_starts_with_a_module_that_cannot_be_used(bare: Command, tmp_path: Path, program: str) -> None:
    ended = bare(program, POSTROOM_MODULES="own_salon,own_spoiled")
    assert ended.code == 1
    assert "own_spoiled (named by POSTROOM_MODULES) routes salon.moved to greet(), which does not take (event, ctx)" in ended.err
    assert not (tmp_path / ".postroom").exists()


def test_a_destination_of_a_module_can_be_paused(command: Command) -> None:
    assert command("destinations", "pause", "salon").code == 2
    assert command("destinations", "pause", "salon", POSTROOM_MODULES="own_salon").code == 0
    assert '"salon"' in command("destinations", "--json").out
