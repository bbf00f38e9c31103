"""The processes of one embedded server: who they are, and running programs as the server's user.

A process is ours by proof, never by its name: the postmaster by its pid file and its command or working folder, the
others by the title that `cluster_name` gives them, which carries the hash of our folder. /proc/PID/cmdline is readable
without privileges even where a container's root may not look at another user's working folder.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class User:
    """Whom the server runs as when we are root, because Postgres refuses to run as root."""

    name: str
    uid: int
    gid: int


def run_as(
    user: User | None, command: Sequence[str | Path], *, stdin: str = "", timeout_s: float = 30, keep: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """What became of `command`, run as `user` (None: as ourselves); it inherits `keep`. Raises OSError, TimeoutExpired."""
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        env=clean_environment(),
        timeout=timeout_s,
        pass_fds=keep,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """What programs need of our environment: nothing that steers Postgres (PGPORT, PGOPTIONS, LANG…), none of our secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def postmaster_of(cluster: Path) -> int | None:
    """The pid in the cluster's postmaster.pid, when that process lives and serves this very cluster."""
    lines = pid_file(cluster)
    pid = int(lines[0]) if lines and lines[0].isdigit() else 0
    command = _commands([pid]).get(pid) if pid else None
    if command is None:
        return None
    if command.endswith(f" -D {cluster}"):
        return pid
    try:  # a server that somebody started by hand, with the folder spelt in another way
        return pid if (PROC / str(pid) / "cwd").samefile(cluster) else None
    except OSError:
        return None


def processes_of(cluster: Path, tag: str) -> list[int]:
    """The pids of every living process of the server on `cluster` whose cluster_name is `tag`, the postmaster first."""
    postmaster = postmaster_of(cluster)
    commands = _commands(None)
    # Without its pid file (deleted with the folder, say) the postmaster still has its command; so has, for a moment, what it just forked.
    same = [pid for pid, command in commands.items() if pid != postmaster and command.endswith(f"postgres -D {cluster}")]
    titled = [pid for pid, command in commands.items() if command.startswith(f"postgres: {tag}: ")]
    return [*([] if postmaster is None else [postmaster]), *sorted(same), *titled]


def pid_file(cluster: Path) -> list[str]:
    """The lines of postmaster.pid: pid, folder, start, port, socket folder, address, memory key, status. Empty when there is none."""
    try:
        return [line.strip() for line in (cluster / "postmaster.pid").read_text(errors="surrogateescape").splitlines()]
    except OSError:
        return []


def send(pids: Sequence[int], what: signal.Signals) -> None:
    """Sends the signal to each that still lives."""
    for pid in pids:
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            continue


def _commands(pids: Sequence[int] | None) -> dict[int, str]:
    """The command line of each of `pids` (None: of all) that lives; a zombie has none."""
    if not (PROC / "self" / "cmdline").exists():
        return _commands_by_ps(pids)
    commands: dict[int, str] = {}
    for pid in (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()) if pids is None else pids:
        try:
            command = (PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if command:
            commands[pid] = os.fsdecode(command).rstrip("\0").replace("\0", " ")
    return commands


def _commands_by_ps(pids: Sequence[int] | None) -> dict[int, str]:
    """The same where there is no /proc."""
    who = ["-ax"] if pids is None else ["-p", ",".join(map(str, pids))]
    lines = run_as(None, ["ps", "-ww", *who, "-o", "pid=,stat=,command="]).stdout.splitlines()
    rows = (line.split(None, 2) for line in lines)
    return {int(row[0]): row[2] for row in rows if len(row) == 3 and row[0].isdigit() and not row[1].startswith("Z")}
