"""Temporary folders that carry the id of the process they belong to, so that those of a killed one are found and deleted later.

Deletes nothing that has a living process, or in which a server still runs or is about to end.
"""

import os
import re
import shutil
from pathlib import Path

from outbox.embedded import locks
from outbox.embedded.errors import EmbeddedError

_NAME = re.compile(r"postroom-[a-z]+-(\d+)-\w+")


def prefix(what: str) -> str:
    """What a temporary folder's name begins with; something that is nobody else's follows."""
    return f"postroom-{what}-{os.getpid()}-"


def sweep(parent: Path) -> list[Path]:
    """Deletes what dead processes of ours left there, as far as it can; others may do so at the same time. Returns those that are gone."""
    found = [path for path in parent.glob("postroom-*-*-*") if _is_left(path)]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return [path for path in found if not path.exists()]


def _is_left(path: Path) -> bool:
    named = _NAME.fullmatch(path.name)
    return named is not None and path.is_dir() and not path.is_symlink() and not _lives(int(named[1])) and not _serves(path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _serves(folder: Path) -> bool:
    """Also when it was started in another container, where the process's id is another."""
    try:
        return not all(locks.is_free(lock) for lock in folder.glob("*/guardian.lock"))
    except EmbeddedError:
        return True
