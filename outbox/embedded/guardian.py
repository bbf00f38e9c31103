"""The process between an embedded Postgres and its owners: starts the postmaster, and stops it when no owner is left.

Run as a script of its own (`python -I -S guardian.py FOLDER POSTGRES UID:GID`), standard library only, so that it starts
in a few milliseconds and carries nothing of the program that started it. It leaves that program's session, so that
Ctrl-C in a terminal reaches the owner first. It never restarts a server: that is for the next `start()`.

Its lifeline is owners.lock. Every owner shares it; the kernel takes the share away when an owner ends, also by kill -9.
When the guardian gets the lock for itself there is no owner, and there can be no new one until the server is down.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

FAST_STOP_S = 30.0
IMMEDIATE_STOP_S = 10.0
LOG_BYTES = 16 * 2**20
LOG_CHECK_S = 30.0


def main(folder: Path, postgres: str, user: str) -> int:
    """Serves until the postmaster ends; its exit status."""
    os.chdir("/")
    os.umask(0o077)
    guardian = _open(folder / "guardian.lock")
    fcntl.flock(guardian, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # The lock is held before the caller goes on, and stays with the child: it belongs to the open file.
    if os.fork():
        os._exit(0)
    server = _start(folder, postgres, user)
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))
    threading.Thread(target=_stop_when_deserted, args=(_open(folder / "owners.lock"), server), daemon=True).start()
    threading.Thread(target=_keep_log_small, args=(folder / "postgres.log",), daemon=True).start()
    return server.wait()


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _start(folder: Path, postgres: str, user: str) -> subprocess.Popen[bytes]:
    """The postmaster, as our child. It and its backends inherit postgres.lock, which so tells whether any of them lives."""
    lock = _open(folder / "postgres.lock")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    uid, gid = (int(part) for part in user.split(":")) if user else (None, None)
    try:
        return subprocess.Popen(
            [postgres, "-D", folder / "cluster"],
            stdin=subprocess.DEVNULL,
            pass_fds=[lock],
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            preexec_fn=_stop_request_at_our_death(),  # noqa: PLW1509 (safe: this process has one thread still)
        )
    finally:
        os.close(lock)


def _stop_request_at_our_death() -> Callable[[], object] | None:
    """What a child calls to ask Linux for a fast shutdown should even the guardian be killed; elsewhere the next start stops it."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes
    except ImportError:  # a Python that was built without libffi
        return None
    set_parent_death_signal = 1
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(set_parent_death_signal, signal.SIGINT)


def _stop_when_deserted(owners: int, server: subprocess.Popen[bytes]) -> None:
    """Waits for the end of the last owner, then stops the server: fast, then at once, then by force."""
    fcntl.flock(owners, fcntl.LOCK_EX)
    for what, patience_s in ((signal.SIGINT, FAST_STOP_S), (signal.SIGQUIT, IMMEDIATE_STOP_S), (signal.SIGKILL, 0.0)):
        server.send_signal(what)
        time.sleep(patience_s)  # the main thread ends this process as soon as the server has ended


def _keep_log_small(log: Path) -> None:
    while True:
        with contextlib.suppress(OSError):  # no room, or the folder is gone: not worth the server's life
            cut_log(log)
        time.sleep(LOG_CHECK_S)


def cut_log(log: Path, limit_bytes: int = LOG_BYTES) -> None:
    """Empties a log that is over its limit, after copying it aside. The server goes on in the same file: it was opened for appending."""
    if log.stat().st_size > limit_bytes:
        older = log.with_name(f"{log.name}.1")
        older.unlink(missing_ok=True)
        shutil.copyfile(log, older)
        os.truncate(log, 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
