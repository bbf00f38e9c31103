"""How the whole suite runs: where its servers keep their files, how many processes run it, how many examples a property gets.

The fixtures are those of outbox.testing, as an app that uses Postroom gets them.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A database is hundreds of files, and each table that is emptied some more: in memory they cost a third of what a disk takes.
MEMORY, ROOM_BYTES = Path("/dev/shm"), 6 << 30
EXAMPLES, EXAMPLES_LONG = 40, 100  # where a test names no number: in `make test`, and otherwise
EVIDENCE = {"crashes", "pooler", "storage"}


@pytest.hookimpl(tryfirst=True)  # outbox.testing looks for its folder as soon as it is configured
def pytest_configure(config: pytest.Config) -> None:
    """Before any test file is imported. The other processes of a run inherit the folder; TMPDIR names another one."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None
    is_short = config.option.markexpr == "not long"
    # The cores may be busy: how long an example takes, or takes to be made up, says nothing.
    settings.register_profile(
        "postroom", max_examples=EXAMPLES if is_short else EXAMPLES_LONG, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("postroom")


def pytest_itemcollected(item: pytest.Item) -> None:
    """What docs/evidence.md tells of is known by its folder."""
    if item.path.relative_to(Path(__file__).parent).parts[0] in EVIDENCE:
        item.add_marker("evidence")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One more than there are cores: now and then each of them waits for a process, a lease or a fault.

    `-n logical`, for the long form, is left to xdist: as many as there are cores, since each test has many processes of its own.
    """
    return None if config.option.numprocesses == "logical" else (os.cpu_count() or 1) + 1
