"""The real command line, as a user or a script runs it: a process, its output, its exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from cli.system import without_settings
from tests.crashes.patience import Kinds, Patience, family

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, str(ROOT / "postroom.py"))
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which holds one document and nothing else."""
        assert self.out, f"nothing on standard output; ended with {self.code}: {self.err}"
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of ours, and what a test adds."""
    return {**without_settings(os.environ, keep=frozenset({"POSTROOM_PG_BIN"})), "COLUMNS": "160", **more}


def run(*arguments: str | bytes, env: Mapping[str, str], cwd: Path, stdin: str = "", timeout_s: float = PATIENCE_S) -> Ended:
    """Runs a command to its end. Whatever happens, no command shows a traceback."""
    done = subprocess.run(
        [*PROGRAM, *arguments], env=dict(env), cwd=cwd, input=stdin.encode(), capture_output=True, timeout=timeout_s, check=False
    )
    ended = Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in ended.out + ended.err, ended.err
    return ended


class Started:
    """A command that runs on. Its output is in files, so that it never waits for us."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process, self._out, self._err = process, out, err

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def send(self, how: signal.Signals) -> None:
        self.process.send_signal(how)

    def ends(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code."""
        return self.process.wait(timeout_s)

    def document(self) -> dict[str, Any]:
        """The JSON document that it prints once it runs."""

        def whole() -> dict[str, Any] | None:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.err}"
            try:
                found: dict[str, Any] = json.loads(self.out)
            except ValueError:
                return None
            return found

        return until(whole, what="a document on standard output")

    def family(self) -> list[psutil.Process]:
        """The process and all that descend from it, as they are now."""
        mother = psutil.Process(self.pid)
        return [mother, *mother.children(recursive=True)]


@contextmanager
def started(*arguments: str, env: Mapping[str, str], cwd: Path, stdin: int = subprocess.DEVNULL) -> Iterator[Started]:
    """Starts a command and sees to it that it ends."""
    out, err = cwd / f"{arguments[0]}.out", cwd / f"{arguments[0]}.err"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen([*PROGRAM, *arguments], env=dict(env), cwd=cwd, stdin=stdin, stdout=to_out, stderr=to_err)
    command = Started(process, out, err)
    try:
        yield command
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdin is not None:
            process.stdin.close()


def child_pid(command: Started, name: str) -> int | None:
    """The process id of the child that runs this command now."""
    for process in psutil.Process(command.pid).children():
        try:
            if name in process.cmdline():
                return process.pid
        except psutil.NoSuchProcess:  # it ended meanwhile, or just now
            continue
    return None


def until(look: Callable[[], T | None], *, what: str, timeout_s: float = PATIENCE_S, kinds: Callable[[], Kinds] = family) -> T:
    """What `look` returns as soon as it is something. Fails, saying what was waited for.

    Time in which one of `kinds`, by default of us and those that we started, was ready to run and had no core does not count.
    """
    patience = Patience(kinds())
    while True:
        if found := look():
            return found
        assert not patience.is_over(timeout_s, kinds), f"waited {timeout_s:g} s for {what}"
        time.sleep(0.05)


def gone(processes: list[psutil.Process], timeout_s: float = 30) -> list[psutil.Process]:
    """Those of the processes that are still there after a while: none, if all is well."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    return alive
