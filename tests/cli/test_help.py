"""Every command explains itself: what it does, with an example, and what its exit code means."""

import pytest
from typer.testing import CliRunner

from cli.errors import EXIT_CODES
from postroom import COMMANDS, assembled
from tests.cli.conftest import Command

GROUPS = {
    "events": ("show", "find", "replay"),
    "dead": ("groups", "note", "show", "retry", "discard"),
    "plans": ("show", "start", "continue", "stop", "resume"),
    "lanes": ("show", "run", "bury", "release"),
    "destinations": ("pause", "resume"),
    "syncs": ("runs", "pause", "resume", "cancel", "release"),
    "handshake": ("show", "promote"),
    "connect": ("ghl",),
    "phorest": ("import", "rollback"),
    "send": ("ghl", "notion", "ghl-workflow", "standard"),
}
PATHS: list[tuple[str, ...]] = [(name,) for name in COMMANDS] + [(group, name) for group, names in GROUPS.items() for name in names]
APP = assembled(COMMANDS)


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(APP, [*arguments, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert result.exit_code == 0
    return " ".join(result.output.split())


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_shows_an_example_of_itself(path: tuple[str, ...]) -> None:
    text = shown(*path)
    assert "Example" in text
    assert f"postroom {' '.join(path)}" in text.partition("Example")[2]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_command_says_what_its_exit_codes_mean(name: str) -> None:
    assert EXIT_CODES in (shown(name) if name else shown())


@pytest.mark.parametrize("path", [path for path in PATHS if path not in {("web",), ("worker",), ("send",), ("phorest",)}], ids=" ".join)
def test_every_command_that_answers_can_answer_in_json(path: tuple[str, ...]) -> None:
    assert "--json" in shown(*path)


def test_the_program_lists_its_commands_and_says_where_to_begin(bare: Command) -> None:
    ended = bare("--help")
    assert ended.code == 0
    assert "postroom up" in ended.out
    assert all(name in ended.out for name in COMMANDS)


def test_the_program_without_a_command_shows_its_help_as_bad_usage(bare: Command) -> None:
    ended = bare()
    assert ended.code == 2
    assert "Usage: postroom" in ended.out + ended.err


def test_the_program_names_its_version(bare: Command) -> None:
    assert bare("--version").out.startswith("postroom ")
