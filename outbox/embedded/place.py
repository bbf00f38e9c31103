"""Where an embedded server lives and whom it runs as: its folder, the files in it, and the user when we are root.

Not as root all is simple: the folder is the one that was named, the user is ourselves. Root needs an unprivileged user
for Postgres, and opens no folder's permissions for it: what that user cannot reach is kept under /var/lib/postroom instead.
Only folders made here (`cluster`, `socket`) are ever given to that user.
"""

import hashlib
import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from outbox.embedded import leftovers
from outbox.embedded.binaries import Binaries, copy_to
from outbox.embedded.errors import EmbeddedError
from outbox.embedded.processes import User, run_as
from outbox.log import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """One server's folder, programs and user (None: ourselves)."""

    folder: Path
    binaries: Binaries
    user: User | None

    @property
    def cluster(self) -> Path:
        """Postgres's own data folder."""
        return self.folder / "cluster"

    @property
    def socket(self) -> Path:
        """The socket's folder, or a link to it where this path is too long for a socket."""
        return self.folder / "socket"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def tag(self) -> str:
        """The server's cluster_name: shown in the title of each of its processes, alike for nobody else."""
        return f"postroom-{_key(self.folder)}"

    @property
    def control_lock(self) -> Path:
        """Held while somebody starts or stops the server."""
        return self.folder / "control.lock"

    @property
    def owners_lock(self) -> Path:
        """Shared by every owner; the guardian stops the server when it can have it alone."""
        return self.folder / "owners.lock"

    @property
    def guardian_lock(self) -> Path:
        """Held as long as the guardian lives, which is as long as its postmaster does."""
        return self.folder / "guardian.lock"

    @property
    def postgres_lock(self) -> Path:
        """Inherited by initdb, postmaster and backends: free when none of them is left."""
        return self.folder / "postgres.lock"

    def make_folder(self, path: Path) -> None:
        """A new folder that only the server's user (and root) may enter."""
        path.mkdir(mode=0o700)
        self.hand_over(path)

    def hand_over(self, path: Path) -> None:
        """Gives a folder that we have just made to the server's user."""
        if self.user is not None:
            os.chown(path, self.user.uid, self.user.gid, follow_symlinks=False)


def find_place(data_dir: Path, binaries: Binaries, *, system_dir: Path) -> Place:
    """The place for `data_dir`, which is made when missing; below `system_dir` when root's server user cannot reach it."""
    folder = Path(os.path.realpath(data_dir))
    if "\n" in str(folder):
        raise EmbeddedError(f"Postgres cannot keep data in a folder with a line break in its name: {str(folder)!r}. Name another one.")
    _make(folder)
    if os.geteuid() != 0:
        return Place(folder, binaries, None)
    user = _server_user(folder / "cluster")
    substitute = system_dir / _key(folder)
    # What was begun there stays there, also when the folder has become reachable since.
    begun_there = (substitute / "cluster").is_dir() and not (folder / "cluster").is_dir()
    if begun_there or not _can_enter(user, folder):
        _make(substitute)
        (substitute / "origin.txt").write_text(f"{folder}\n", errors="surrogateescape")
        log.info("embedded postgres keeps its data elsewhere", user=user.name, cannot_reach=str(folder), folder=str(substitute))
        folder = substitute
    if not _can_run(user, binaries.initdb):
        copy = copy_to(binaries, system_dir)
        log.info("embedded postgres runs from a copy", user=user.name, cannot_reach=str(binaries.folder), folder=str(copy.folder))
        binaries = copy
    return Place(folder, binaries, user)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for a server of tests, deleted at the end, which root's server user can reach too, unlike pytest's `tmp_path`.

    What the server keeps in it is closed to others. Stop the server first.
    """
    with tempfile.TemporaryDirectory(prefix=leftovers.prefix("server")) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def can_enter(place: Place, folder: Path) -> bool:
    """Whether the server's user can reach what lies in `folder`."""
    return place.user is None or _can_enter(place.user, folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise EmbeddedError(f"The folder {folder} cannot be made: {problem.strerror}. Name another one by POSTROOM_DATA_DIR.") from problem


def _server_user(cluster: Path) -> User:
    """Who serves when we are root: the owner of the data that is there, else `postgres`, else `nobody`."""
    try:
        owner = cluster.stat()
    except OSError:
        owner = None
    if owner is not None and owner.st_uid != 0:
        return User(str(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return User(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "Postgres refuses to run as root, and there is no user `postgres` or `nobody` to run it as. Add one, or run as another user."
    )


def _can_enter(user: User, folder: Path) -> bool:
    return _succeeds(user, "/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder))


def _can_run(user: User, program: Path) -> bool:
    return _succeeds(user, str(program), "--version")


def _succeeds(user: User, *command: str) -> bool:
    """Asks by doing: modes alone do not tell, for there are access lists and mount options too."""
    try:
        return run_as(user, command).returncode == 0
    except PermissionError:
        return False


def _key(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
