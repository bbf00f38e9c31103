"""Where an embedded server listens: a unix socket in a folder closed to others, and a TCP port on 127.0.0.1 if wanted.

Whoever can enter the socket's folder (mode 0700: the server's user and root) is let in without a password. That folder
is `socket` in the server's own; where its path is too long for a socket (107 bytes) or has characters that connection
strings give a meaning to, `socket` links to a short folder of ours in the temporary one. On TCP a password is asked,
made at random and kept in the file `password`, mode 0600.
"""

import os
import re
import secrets
import socket
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from outbox.embedded.errors import EmbeddedError
from outbox.embedded.place import Place, can_enter

# 107 bytes with the socket's own name; the lock file beside it is longer, but no socket.
LONGEST_FOLDER = 107 - len("/.s.PGSQL.65535")
# A comma parts hosts in connection strings and in Postgres's own setting.
PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
SOCKET_PORT = 5432


def socket_folder(place: Place) -> Path:
    """The folder for the socket, made when missing and emptied of what a killed server left. Only for a server that is down."""
    folder = _current(place) or _new(place)
    _empty(folder)
    return folder


def drop_socket_folder(place: Place) -> None:
    """Removes the short folder and the link to it, if there is one; the server must be down."""
    if place.socket.is_symlink() and (folder := _current(place)) is not None:
        _empty(folder)
        folder.rmdir()
        place.socket.unlink()


def _empty(folder: Path) -> None:
    for left in folder.glob(".s.PGSQL.*"):
        left.unlink()


def _current(place: Place) -> Path | None:
    """The folder of last time, if it is still there and still safe: anybody may make folders in a temporary one."""
    if not place.socket.is_symlink():
        return place.socket if _fits(place.socket) and place.socket.is_dir() else None
    folder = place.socket.readlink()
    try:
        state = folder.lstat()
    except OSError:
        return None
    owner = place.user.uid if place.user else os.geteuid()
    return folder if stat.S_ISDIR(state.st_mode) and state.st_uid == owner and stat.S_IMODE(state.st_mode) == 0o700 else None


def _new(place: Place) -> Path:
    if _fits(place.socket):
        place.make_folder(place.socket)
        return place.socket
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp")):  # noqa: S108 (a new folder with a random name, mode 0700)
        if _fits(Path(base, "postroom-12345678")) and can_enter(place, Path(base)):
            folder = Path(tempfile.mkdtemp(prefix="postroom-", dir=base))
            place.hand_over(folder)
            place.socket.unlink(missing_ok=True)
            place.socket.symlink_to(folder)
            return folder
    raise EmbeddedError(
        f"The path {place.socket} is too long for a socket, and no temporary folder is short enough. Set TMPDIR to a shorter one."
    )


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder)) <= LONGEST_FOLDER and PLAIN.fullmatch(str(folder)) is not None


def tcp_port(place: Place) -> int:
    """A free port, that of last time if it is still free, so that addresses outlive a restart."""
    kept = place.folder / "port"
    try:
        return _bindable(int(kept.read_text()))
    except (OSError, ValueError, OverflowError):
        port = _bindable(0)
        kept.write_text(f"{port}\n")
        return port


def _bindable(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def new_password() -> str:
    return secrets.token_urlsafe(24)


def read_password(place: Place) -> str | None:
    """The password for TCP, if one was made."""
    try:
        return (place.folder / "password").read_text().strip()
    except FileNotFoundError:
        return None


def write_password(place: Place, password: str) -> None:
    """Keeps the password for its owner alone."""
    file = os.open(place.folder / "password", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "w") as out:
        out.write(f"{password}\n")


def socket_dsn(folder: str, port: int, database: str) -> str:
    """A connection string that asyncpg, psycopg and psql read alike."""
    return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(folder)}&port={port}"


def tcp_dsn(port: int, database: str, password: str) -> str:
    """The same through 127.0.0.1; it carries the password."""
    return f"postgresql://postgres:{password}@127.0.0.1:{port}/{quote(database, safe='')}?sslmode=disable"
