"""Folders of killed processes are swept away; those of living ones, and of servers that still run, are not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from outbox.embedded import FAST, Embedded, find_binaries, leftovers, temporary_folder


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def made(parent: Path, name: str) -> Path:
    folder = parent / name
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres" / "file").write_text("something")
    return folder


def test_what_a_dead_process_left_is_swept_and_nothing_else(tmp_path: Path, dead: int) -> None:
    left = [made(tmp_path, f"postroom-{what}-{dead}-0e140ea9") for what in ("test", "server", "crashes")]
    kept = [made(tmp_path, f"postroom-test-{os.getpid()}-1"), made(tmp_path, "postroom-8flvg6r1"), made(tmp_path, f"other-test-{dead}-1")]
    aside = made(tmp_path, "aside")
    link = tmp_path / f"postroom-test-{dead}-link"
    link.symlink_to(aside)
    assert sorted(leftovers.sweep(tmp_path)) == sorted(left)
    assert not any(folder.exists() for folder in left)
    assert all((folder / "postgres" / "file").exists() for folder in (*kept, aside))
    assert link.is_symlink()
    assert leftovers.sweep(tmp_path) == []


def test_a_folder_whose_server_still_runs_is_left_until_it_has_ended(dead: int) -> None:
    with temporary_folder() as parent:
        folder = parent / f"postroom-test-{dead}-1"
        folder.mkdir(mode=0o755)
        with Embedded(folder / "postgres", binaries=find_binaries(os.environ.get("POSTROOM_PG_BIN")), options=FAST) as server:
            assert leftovers.sweep(parent) == []
            assert server.is_ready
        assert leftovers.sweep(parent) == [folder]


def test_a_temporary_folder_carries_its_process() -> None:
    with temporary_folder() as folder:
        assert folder.name.startswith(f"postroom-server-{os.getpid()}-")
        assert folder not in leftovers.sweep(folder.parent)
        assert folder.is_dir()
