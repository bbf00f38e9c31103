"""What the tests of the embedded Postgres share: folders, owners in processes of their own, and looking at processes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import psycopg
import pytest

import outbox
from outbox.embedded import Embedded, temporary_folder

ROOT = Path(outbox.__file__).parents[1]

# An owner in a process of its own: says the DSN, then waits for the end of its input, and ends without a word to the server.
OWNER = """
import sys
from pathlib import Path
from outbox.embedded import FAST, Embedded, find_binaries
server = Embedded(Path(sys.argv[1]), binaries=find_binaries(sys.argv[2]), options=FAST, system_dir=Path(sys.argv[3]))
print(server.start(), server.pid, flush=True)
sys.stdin.read()
"""

Make = Callable[..., Embedded]
Own = Callable[..., "subprocess.Popen[str]"]


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that the server's user can reach, too; at the end no process may be left that names it or works in it."""
    with temporary_folder() as folder:
        try:
            yield folder
            wait_for(lambda: not left_behind(folder))
        finally:
            for process in left_behind(folder):
                process.kill()


def answer(owner: "subprocess.Popen[str]") -> tuple[str, int]:
    """The DSN and the postmaster's pid that an owner tells once its server is ready."""
    assert owner.stdout is not None
    dsn, pid = owner.stdout.readline().split()
    return dsn, int(pid)


def left_behind(folder: Path) -> list[psutil.Process]:
    """Processes that name the folder or work below it."""
    found = []
    for process in psutil.process_iter():
        try:
            named = str(folder) in " ".join(process.cmdline()) or process.cwd().startswith(str(folder))
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and named:
                found.append(process)
        except psutil.Error:
            continue
    return found


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.01)


def guardian_of(server: Embedded) -> int:
    assert server.pid is not None
    return psutil.Process(server.pid).ppid()


async def read_by_both(dsn: str, query: str) -> set[object]:
    """The answers of asyncpg and psycopg."""
    connection = await asyncpg.connect(dsn)
    try:
        first = await connection.fetchval(query)
    finally:
        await connection.close()
    with psycopg.connect(dsn) as other:
        row = other.execute(query.encode()).fetchone()
    return {first, row[0] if row else None}


def python_for(user: str) -> str:
    """An interpreter like ours that `user` may run: ours may lie in root's home."""
    for python in (sys.executable, shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")):
        try:
            if python and subprocess.run([python, "-c", ""], user=user, cwd="/").returncode == 0:
                return python
        except PermissionError:
            continue
    pytest.skip(f"no Python {sys.version_info.major}.{sys.version_info.minor} that {user} may run")
