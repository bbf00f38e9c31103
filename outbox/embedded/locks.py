"""File locks that end with their holder: flock belongs to an open file, and the kernel closes a dead process's files.

A lock is an open file descriptor; to let go is to close it. Nothing here deletes a lock file: a lock on a deleted file
excludes nobody.
"""

import fcntl
import os
import time
from pathlib import Path

from outbox.embedded.errors import EmbeddedError

PAUSE_S = 0.02


def take(path: Path, kind: int, *, until: float, why: str) -> int:
    """The descriptor of `path`, locked as `kind` (LOCK_SH or LOCK_EX). Raises EmbeddedError with `why` when the clock passes `until`."""
    lock = _open(path)
    try:
        # flock has no time limit of its own, and an alarm would disturb the program that we are part of.
        while not _try(lock, kind):
            if time.monotonic() > until:
                raise EmbeddedError(f"{path}: {why}")
            time.sleep(PAUSE_S)
    except BaseException:
        os.close(lock)
        raise
    return lock


def is_free(path: Path, kind: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock of this kind could be had now."""
    lock = _open(path)
    try:
        return _try(lock, kind)
    finally:
        os.close(lock)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as problem:
        raise EmbeddedError(
            f"{path} cannot be opened: {problem.strerror}. "
            f"Run as the user who owns {path.parent}, or name another folder by POSTROOM_DATA_DIR."
        ) from problem


def _try(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
