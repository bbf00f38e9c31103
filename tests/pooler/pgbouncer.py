"""A PgBouncer of a test's own: found or installed, started as a user that may, ended by its pid.

It stands in front of one embedded Postgres, in transaction mode, with few server connections, and listens on a unix socket in a
temporary folder: no port, no password, nobody else gets in.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import parse_qs, quote, urlsplit

from outbox.embedded import Embedded, temporary_folder
from outbox.embedded.processes import User, clean_environment

PORT = 6432  # of the socket's name only
START_S = 20.0
END_S = 20.0
INSTALL_S = 180.0
PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class NoPgBouncer(Exception):
    """There is none, and it says why."""


def find() -> Path:
    """The program; installed from Debian when it is missing and we are root. Raises NoPgBouncer."""
    if (there := _look()) is not None:
        return there
    if shutil.which("apt-get") is None:
        raise NoPgBouncer("PgBouncer is not installed, and there is no apt-get to install it")
    if os.geteuid() != 0:
        raise NoPgBouncer("PgBouncer is not installed, and only root may: apt-get install pgbouncer")
    said = _install()
    if (there := _look()) is None:
        raise NoPgBouncer(f"PgBouncer cannot be installed: {said}")
    return there


def _look() -> Path | None:
    found = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))
    return Path(found) if found else None


def _install() -> str:
    """The last line of what apt-get said. Its own lock makes others that install wait."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    said = ""
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "pgbouncer"]):
        command = ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, errors="replace", timeout=INSTALL_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} took longer than {INSTALL_S:g} s"
        said = (done.stdout + done.stderr).strip().rpartition("\n")[2]
    return said


@dataclass(slots=True)
class PgBouncer:
    """One PgBouncer. It may be killed and started again."""

    program: Path
    folder: Path
    server: Embedded
    options: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    watch: "subprocess.Popen[bytes] | None" = None

    def dsn(self, dsn: str) -> str:
        """The same database as this connection string of the server, through the pooler."""
        return f"postgresql://postgres@/{urlsplit(dsn).path.lstrip('/')}?host={quote(str(self.folder))}&port={PORT}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Returns when it takes connections."""
        (self.folder / "pgbouncer.ini").write_text(self._settings())
        (self.folder / f".s.PGSQL.{PORT}").unlink(missing_ok=True)  # a killed one leaves it, and a new one would not have it
        user = self._user
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-q", self.folder / "pgbouncer.ini"],
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
            )
        # When the test process is killed, this pipe ends, and PgBouncer with it.
        last_word = f"read _; kill -9 {self.process.pid}"
        self.watch = subprocess.Popen(
            ["/bin/sh", "-c", last_word], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + START_S
        while not self._takes_connections():
            assert self.process.poll() is None, f"PgBouncer ended: {self.log}"
            assert time.monotonic() < until, f"PgBouncer takes no connections: {self.log}"
            time.sleep(0.02)

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Ends it: every client loses its connection."""
        if self.process is not None and self.watch is not None:
            self.watch.kill()  # first: when PgBouncer is gone, its pid may be another's
            self.watch.communicate()
            if self.process.poll() is None:
                self.process.send_signal(how)
            self.process.wait(END_S)
            self.process = None

    @property
    def _user(self) -> User | None:
        """Whom Postgres's socket lets in; PgBouncer itself refuses to run as root."""
        return self.server.place.user

    def _takes_connections(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.folder / f".s.PGSQL.{PORT}"))
            except OSError:
                return False
        return True

    def _settings(self) -> str:
        asked = parse_qs(urlsplit(self.server.dsn()).query)
        settings = {
            "listen_addr": "",
            "unix_socket_dir": str(self.folder),
            "listen_port": str(PORT),
            "auth_type": "any",
            "pool_mode": "transaction",
            "max_client_conn": "400",
            "default_pool_size": "6",
            **self.options,
        }
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        return f"[databases]\n* = host={asked['host'][0]} port={asked['port'][0]} user=postgres\n[pgbouncer]\n{''.join(lines)}"


@contextmanager
def pgbouncer(server: Embedded, *, options: Mapping[str, str] = NO_OPTIONS) -> Iterator[PgBouncer]:
    """A PgBouncer in front of `server`. `options`: its settings by name. Raises NoPgBouncer."""
    program = find()
    with temporary_folder() as folder:
        server.place.hand_over(folder)
        one = PgBouncer(program, folder, server, options)
        one.start()
        try:
            yield one
        finally:
            one.end()
