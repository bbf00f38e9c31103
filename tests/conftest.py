"""How the whole suite runs: where its servers keep their files, how many processes run it, how many examples a property gets.

The fixtures are those of outbox.testing, as an app that uses Postroom gets them.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# A database is hundreds of files, and each table that is emptied some more: in memory they cost a third of what a disk takes.
MEMORY, ROOM_BYTES = Path("/dev/shm"), 6 << 30
SHORT, EXAMPLES = "short", 40  # where a test names no number; `make test-long` tries Hypothesis's own 100


@pytest.hookimpl(tryfirst=True)  # outbox.testing looks for its folder as soon as it is configured
def pytest_configure(config: pytest.Config) -> None:
    """Before any test file is imported. The other processes of a run inherit the folder; TMPDIR names another one."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None
    if config.option.markexpr == "not long":
        settings.register_profile(SHORT, max_examples=EXAMPLES)
        settings.load_profile(SHORT)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: now and then each of them waits for a process, a lease or a fault."""
    return (os.cpu_count() or 1) + 1
