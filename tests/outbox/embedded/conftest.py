"""Servers and owners for the tests of the embedded Postgres; nothing of them may stay behind."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox.embedded import FAST, Binaries, Embedded, find_binaries
from tests.outbox.embedded.servers import OWNER, ROOT, Make, Own, reachable_folder


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    return find_binaries(os.environ.get("POSTROOM_PG_BIN"))


@pytest.fixture(scope="session")
def seed(binaries: Binaries) -> Iterator[Path]:
    """A finished cluster to copy: making one takes most of a first start's time."""
    with reachable_folder() as folder:
        with Embedded(folder / "seed", binaries=binaries, options=FAST, system_dir=folder / "system") as server:
            pass
        yield server.place.cluster


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for one test."""
    with reachable_folder() as folder:
        yield folder


@pytest.fixture
def make(home: Path, binaries: Binaries, seed: Path) -> Iterator[Make]:
    """Embedded servers with a cluster that is made already, unless `fresh`; stopped at the end."""
    made: list[Embedded] = []

    def embedded(data_dir: Path | None = None, *, fresh: bool = False, **settings: object) -> Embedded:
        arguments = {"binaries": binaries, "options": FAST, "system_dir": home / "system", **settings}
        server = Embedded(data_dir or home / "data", **arguments)  # type: ignore[arg-type]
        if not fresh and not server.place.cluster.exists():
            subprocess.run(["cp", "-a", seed, server.place.cluster], check=True)
        made.append(server)
        return server

    yield embedded
    for server in made:
        server.stop()


@pytest.fixture
def own(home: Path, binaries: Binaries) -> Iterator[Own]:
    """Owners in processes of their own, killed at the end."""
    owners: list[subprocess.Popen[str]] = []

    def owner(data_dir: Path, *, python: str = sys.executable, user: str | None = None) -> subprocess.Popen[str]:
        packages = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
        owners.append(
            subprocess.Popen(
                [python, "-c", OWNER, str(data_dir), str(binaries.folder), str(home / "system")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd="/",
                env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(packages), "PYTHONDONTWRITEBYTECODE": "1"},
                user=user,
                group=pwd.getpwnam(user).pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        )
        return owners[-1]

    yield owner
    for process in owners:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
