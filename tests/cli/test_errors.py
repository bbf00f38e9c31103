"""What goes wrong ends as one line on standard error and an exit code; never as a traceback, never with a secret."""

import re
import socket
from pathlib import Path

import pytest
import typer

from cli.errors import Code, Failed, Usage, explain
from outbox.errors import DatabaseUnavailable
from outbox.testing import Postroom
from tests.cli.conftest import Command


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["events", "show", "x"], "'ID'"),
        (["events", "show", "0"], "'ID'"),
        (["events", "show", str(2**63)], "'ID'"),
        (["events", "--limit", "0"], "--limit"),
        (["events", "--state", "lost"], "--state"),
        (["events", "replay"], "--all"),
        (["dead", "retry"], "--all"),
        (["dead", "--since", "yesterday"], "--since"),
        (["dead", "--since", "9999-12-31T23:59:59-23:00"], "--since"),
        (["dead", "discard", "1"], "--reason"),
        (["destinations", "pause", "ghl", "--for", "soon"], "--for"),
        (["stage", "report.due"], "--payload"),
        (["stage", "report.due", "--payload", "{"], "not JSON"),
        (["stage", "report.due", "--payload", "[" * 100_000], "not JSON"),
        (["stage", "report.due", "--payload", "9" * 5000], "--payload"),
        (["stage", "report.due", "--payload", "@no-such-file"], "No such file"),
        (["stage", "report.due", "--payload", "@."], "--payload @."),
        (["stage", "report.due", "--payload", "{}", "--due-at", "noon"], "--due-at"),
        (["simulate", "--ghl-port", "70000"], "--ghl-port"),
        (["migrate", "now"], "now"),
        (["evnets"], "events"),
        (["--json", "events"], "--json"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_bad_usage_is_said_in_one_line_with_its_own_exit_code(bare: Command, arguments: list[str], says: str) -> None:
    ended = bare(*arguments)
    assert (ended.code, ended.out) == (Code.USAGE, "")
    assert says in ended.err
    assert re.fullmatch(r"postroom: .+\n", ended.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["stage", "no kind!", "--payload", "{}"],
        ["stage", "report.due", "--payload", "NaN"],
        ["stage", "report.due", "--payload", '"\\u0000"'],
        ["stage", "report.due", "--payload", '"\\ud800"'],
        ["stage", "report.due", "--payload", "{}", "--source", "Mine"],
        ["stage", "report.due", "--payload", "{}", "--key", ""],
        ["stage", "report.due", "--payload", "{}", "--lane", "x" * 401],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
async def test_an_event_that_breaks_a_rule_is_refused_and_nothing_is_staged(
    command: Command, postroom: Postroom, arguments: list[str]
) -> None:
    ended = command(*arguments)
    assert ended.code == Code.FAILED
    assert re.fullmatch(r"postroom: .+\n", ended.err)
    assert await postroom.staged() == []


def test_a_database_that_is_away_has_an_exit_code_of_its_own(bare: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = bare("events", DATABASE_URL=f"postgresql://app:hunter2@127.0.0.1:{port}/postroom")
    assert ended.code == Code.DATABASE_AWAY
    assert "Postgres did not answer" in ended.err
    assert "hunter2" not in ended.err


@pytest.mark.parametrize("url", ["garbage", "mysql://x", "postgresql://[::1/x", "postgresql://h:port/x"])
def test_a_database_url_that_cannot_be_read_says_what_one_looks_like(bare: Command, url: str) -> None:
    ended = bare("events", DATABASE_URL=url)
    assert ended.code == Code.FAILED
    assert "DATABASE_URL cannot be read" in ended.err


async def test_a_database_that_is_not_there_is_said_as_postgres_says_it(command: Command, postroom: Postroom) -> None:
    ended = command("events", DATABASE_URL=re.sub(r"/test_\w+", "/no_such_database", postroom.dsn))
    assert ended.code == Code.DATABASE_AWAY
    assert "no_such_database" in ended.err


async def test_a_database_without_the_schema_says_what_to_run(command: Command, postroom: Postroom) -> None:
    ended = command("events", DATABASE_URL=re.sub(r"/test_\w+", "/template1", postroom.dsn))
    assert ended.code == Code.FAILED
    assert "postroom migrate" in ended.err


def test_without_any_database_a_command_makes_none_and_says_what_to_do(bare: Command, tmp_path: Path) -> None:
    for arguments in (["events"], ["dead", "groups"], ["stage", "report.due", "--payload", "{}"]):
        ended = bare(*arguments)
        assert ended.code == Code.FAILED
        assert "postroom up" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_all_settings_that_cannot_be_used_are_named_together_and_no_value_is_shown(bare: Command) -> None:
    ended = bare("doctor", POSTROOM_RETENTION_DAYS="soon", PORT="high", POSTROOM_ADMIN_TOKENS="short", GHL_WEBHOOK_PUBLIC_KEYS="no-key")
    assert ended.code == Code.FAILED
    for name in ("POSTROOM_RETENTION_DAYS", "PORT", "POSTROOM_ADMIN_TOKENS", "GHL_WEBHOOK_PUBLIC_KEYS"):
        assert name in ended.out
    assert "short" not in ended.out.replace("shorter", "")
    assert "no-key" not in ended.out
    [line, *more] = bare("events", POSTROOM_RETENTION_DAYS="soon", POSTROOM_LOG_LEVEL="loud").err.splitlines()
    assert "cannot be used" in line
    assert len(more) == 2


def test_what_nobody_expects_is_one_line_with_a_hint_and_no_secret() -> None:
    line, code = explain(RuntimeError("broken with token pit-1234567890\nand more"))
    assert code == Code.FAILED
    assert "RuntimeError: broken with token ***" in line
    assert "POSTROOM_LOG_LEVEL=debug" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (Failed("no"), Code.FAILED),
        (Usage("no"), Code.USAGE),
        (typer.BadParameter("no"), Code.USAGE),
        (DatabaseUnavailable("away"), Code.DATABASE_AWAY),
        (KeyboardInterrupt(), Code.INTERRUPTED),
        (ExceptionGroup("several", [ExceptionGroup("inner", [DatabaseUnavailable("away")]), ValueError("x")]), Code.DATABASE_AWAY),
        (FileNotFoundError(2, "No such file or directory", "key.pem"), Code.FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_error_has_its_exit_code(problem: BaseException, code: Code) -> None:
    assert explain(problem)[1] == code
