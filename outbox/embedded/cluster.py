"""Making a cluster (Postgres's data folder) and writing its settings; a cluster is there whole or not at all.

initdb and the first database are made in `cluster.new`, which is renamed when done: a kill in the middle leaves nothing
that looks finished. Text sorts by bytes, alike on every machine; only UTF-8; times are UTC.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from outbox.embedded.errors import EmbeddedError
from outbox.embedded.place import Place
from outbox.embedded.processes import run_as

DATABASE = "postroom"
SETTINGS_FILE = "postroom.conf"
BUILTIN_LOCALE_MAJOR = 17
OPTION = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)?", re.IGNORECASE)
DEFAULTS: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a ",
}
FIXED: Mapping[str, str] = {
    "unix_socket_permissions": "0700",
    "logging_collector": "off",
    "log_destination": "stderr",
    "ssl": "off",
    # and those that differ from server to server
    "listen_addresses": "",
    "port": "",
    "unix_socket_directories": "",
    "cluster_name": "",
}


def make_cluster(place: Place, *, durable: bool, lock: int, until: float) -> None:
    """A new cluster with an empty database `postroom`. Whoever runs for it holds `lock` too, beyond our own death. Raises EmbeddedError."""
    new = place.folder / "cluster.new"
    shutil.rmtree(new, ignore_errors=True)
    place.make_folder(new)
    initdb: list[str | Path] = [place.binaries.initdb, "-D", new, "-U", "postgres", "-E", "UTF8", "--locale=C", "--data-checksums"]
    initdb += ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-instructions", *([] if durable else ["--no-sync"])]
    if place.binaries.major >= BUILTIN_LOCALE_MAJOR:
        initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # still by bytes, but upper() and lower() know all letters
    _run(place, initdb, lock=lock, until=until)
    # Before the first start, in the single-user mode, so that there is no moment with a cluster but without its database.
    single: list[str | Path] = [place.binaries.postgres, "--single", "-D", new, "-c", "exit_on_error=on"]
    _run(
        place,
        [*single, *([] if durable else ["-c", "fsync=off"]), "postgres"],
        stdin=f"create database {DATABASE}\n",
        lock=lock,
        until=until,
    )
    with (new / "postgresql.conf").open("a") as settings:
        settings.write(f"\n# Written anew at each start; ALTER SYSTEM overrules it.\ninclude_if_exists = '../{SETTINGS_FILE}'\n")
        settings.flush()
        os.fsync(settings.fileno())
    new.rename(place.cluster)
    _sync(place.folder)


def check_cluster(place: Place) -> bool:
    """Whether a cluster is there. Raises EmbeddedError when it is of another version, or something else has its name."""
    if not place.cluster.exists():
        return False
    try:
        version = (place.cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise EmbeddedError(
            f"{place.cluster} exists but is no Postgres cluster. Move it away, or name another folder by POSTROOM_DATA_DIR."
        ) from None
    except PermissionError:
        raise EmbeddedError(
            f"{place.cluster} belongs to another user. Run as that user, or name another folder by POSTROOM_DATA_DIR."
        ) from None
    if version != str(place.binaries.major):
        raise EmbeddedError(
            f"{place.cluster} was made by Postgres {version}, but the programs in {place.binaries.folder} are {place.binaries.version}. "
            f"Set POSTROOM_PG_BIN to a Postgres {version}, or move the folder away to begin anew."
        )
    return True


def check_options(options: Mapping[str, str]) -> None:
    """Raises EmbeddedError for an option that Postgres cannot have, or that the server is driven by."""
    if refused := sorted(name for name, value in options.items() if not OPTION.fullmatch(name) or name.lower() in FIXED or "\n" in value):
        raise EmbeddedError(f"These Postgres options cannot be set here: {', '.join(map(repr, refused))}.")


def write_settings(place: Place, options: Mapping[str, str], *, socket_folder: Path, port: int, tcp: bool) -> None:
    """The settings for the next start: the defaults, then `options`, then what we rely on."""
    fixed = {
        **FIXED,
        "listen_addresses": "127.0.0.1" if tcp else "",
        "port": str(port),
        "unix_socket_directories": str(socket_folder),
        "cluster_name": place.tag,
    }
    lines = [f"{name} = {_quoted(value)}\n" for name, value in {**DEFAULTS, **options, **fixed}.items()]
    part = place.folder / f"{SETTINGS_FILE}.part"
    part.unlink(missing_ok=True)
    part.write_text("".join(lines))
    part.chmod(0o644)  # the server's user reads it; there is no secret in it
    part.replace(place.folder / SETTINGS_FILE)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _run(place: Place, command: Sequence[str | Path], *, lock: int, until: float, stdin: str = "") -> None:
    try:
        done = run_as(place.user, command, stdin=stdin, timeout_s=max(until - time.monotonic(), 1), keep=[lock])
    except subprocess.TimeoutExpired as late:
        raise EmbeddedError(
            f"{command[0]} did not make a cluster in {place.folder} in time. Is the disk very slow? Raise start_timeout_s."
        ) from late
    if done.returncode != 0:
        last = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-15:])
        raise EmbeddedError(f"{command[0]} could not make a cluster in {place.folder} (status {done.returncode}):\n{last}")


def _sync(folder: Path) -> None:
    """Makes a rename in `folder` outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
