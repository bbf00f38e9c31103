"""A command line on the test's own database.

Most tests call the program's main() in this process, which saves each of them half a second of imports; test_processes.py runs
every command as the process that it is.
"""

import io
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

import postroom as program
from outbox.testing import Postroom
from tests.cli.program import Ended, environment

Command = Callable[..., Ended]


def called(*arguments: str, stdin: str = "", **variables: str) -> Ended:
    """main() with these arguments and this environment, in a thread of its own, because commands bring their own event loop."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")

    def call() -> int:
        try:
            program.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    with (
        patch.dict(os.environ, environment(**variables), clear=True),
        patch.object(sys, "argv", ["postroom", *arguments]),
        patch.object(sys, "stdin", given),
        redirect_stdout(out),
        redirect_stderr(err),
        ThreadPoolExecutor(1) as thread,
    ):
        code = thread.submit(call).result()
    ended = Ended(code, *(bytes(said.detach().getvalue()).decode() for said in (_flushed(out), _flushed(err))))  # type: ignore[attr-defined] # BytesIO
    assert "Traceback" not in ended.out + ended.err
    return ended


def _flushed(said: io.TextIOWrapper) -> io.TextIOWrapper:
    said.flush()
    return said


@pytest.fixture
def command(postroom: Postroom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`command("events", "--json")` on the test's database; keyword arguments are variables of the environment."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, stdin: str = "", **variables: str) -> Ended:
        return called(*arguments, stdin=stdin, **{"DATABASE_URL": postroom.dsn, **variables})

    return call


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The same without any database, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return called
