"""Embedded: one owner's hold on an embedded server.

A start, under control.lock, so that two never race:
  1. share owners.lock. This waits while a guardian whose owners are all gone is stopping the server;
  2. a guardian is there: the server runs, or recovers. Wait until it is ready and join it; its settings stay as they are;
  3. none is there: whatever else still runs on our cluster (an orphan, a server started by hand, backends that outlived
     their postmaster, an initdb whose caller was killed) is stopped or waited for, never adopted: without a guardian
     it would outlive its owners. Stale pid files and sockets go. Then a new guardian starts a new postmaster.
The share follows a fork of the owner (not an exec): then the server lives as long as that child, too.
"""

import fcntl
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from outbox.embedded import address, guardian, locks, processes
from outbox.embedded.binaries import Binaries
from outbox.embedded.cluster import DATABASE, check_cluster, check_options, make_cluster, write_settings
from outbox.embedded.errors import EmbeddedError
from outbox.embedded.place import Place, find_place
from outbox.log import get_logger

# Commits still reach the operating system before they are answered, so that any kill loses none: only a power cut would.
FAST: Mapping[str, str] = MappingProxyType({"fsync": "off", "full_page_writes": "off"})
SYSTEM_DIR = Path("/var/lib/postroom")
STOP_TIMEOUT_S = guardian.FAST_STOP_S + guardian.IMMEDIATE_STOP_S + 5
ORPHAN_PATIENCE_S = 15
TCP_ATTEMPTS = 3

log = get_logger(__name__)


class Embedded:
    """A Postgres in `data_dir`, started by its first owner, joined by others, stopped after the last.

    `options` are Postgres settings by name (FAST for tests, where no power cut is expected). With `tcp` it listens on a free port of
    127.0.0.1 as well. `start_timeout_s` must leave time for crash recovery. `system_dir` is where root's server keeps what its
    unprivileged user could not reach in `data_dir`; `place.folder` says where that led. Not for use from several threads.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binaries: Binaries,
        options: Mapping[str, str] = MappingProxyType({}),
        tcp: bool = False,
        start_timeout_s: float = 60,
        system_dir: Path = SYSTEM_DIR,
    ) -> None:
        check_options(options)
        self.place: Place = find_place(data_dir, binaries, system_dir=system_dir)
        self._options = dict(options)
        self._tcp = tcp
        self._start_timeout_s = start_timeout_s
        self._share: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The postmaster's pid; None when no server of this folder lives, whoever started it."""
        return processes.postmaster_of(self.place.cluster)

    @property
    def is_ready(self) -> bool:
        """Whether the server lives and accepts connections."""
        lines = processes.pid_file(self.place.cluster)
        return len(lines) > 7 and lines[7] == "ready" and self.pid is not None

    def dsn(self, database: str = DATABASE) -> str:
        """The connection string, through the socket. Raises EmbeddedError when the server is down."""
        _, port, folder = self._listens()
        return address.socket_dsn(folder, port, database)

    def tcp_dsn(self, database: str = DATABASE) -> str:
        """The connection string through 127.0.0.1, with its password, for programs that cannot use the socket. Raises EmbeddedError."""
        host, port, _ = self._listens()
        password = address.read_password(self.place)
        if not host or password is None:
            raise EmbeddedError(
                f"The server in {self.place.folder} has no TCP port: its first owner asked for none. Stop all owners first."
            )
        return address.tcp_dsn(port, database, password)

    def run_sql(self, sql: str, database: str = "postgres") -> str:
        """What psql prints for `sql`, unaligned, without headings; each statement commits by itself. Raises EmbeddedError."""
        psql: list[str | Path] = [self.place.binaries.psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", self.dsn(database)]
        done = processes.run_as(None, psql, stdin=sql, timeout_s=600)
        if done.returncode != 0:
            raise EmbeddedError(f"Postgres refused what was asked of {database}: {done.stderr.strip()}")
        return done.stdout.removesuffix("\n")

    def start(self) -> str:
        """Starts or joins the server and returns `dsn()`. Changes nothing when we own it already and it runs. Raises EmbeddedError."""
        until = time.monotonic() + self._start_timeout_s
        with self._control(until):
            owned = self._share is not None
            try:
                if self._share is None:
                    self._share = locks.take(
                        self.place.owners_lock, fcntl.LOCK_SH, until=until, why="the server of earlier owners did not stop in time."
                    )
                self._bring_up(until)
                if self._tcp:
                    self._ensure_password()
                return self.dsn()
            except BaseException:
                if not owned:
                    self._let_go()
                raise

    def stop(self) -> None:
        """Lets go of the server; the last owner waits until it is down (fast shutdown). Raises EmbeddedError if it stays."""
        if self._share is None:
            return
        self._let_go()
        until = time.monotonic() + STOP_TIMEOUT_S
        with self._control(until):
            # Free for us alone, or taken by the guardian: there are no other owners.
            if locks.is_free(self.place.owners_lock) or not locks.is_free(self.place.owners_lock, fcntl.LOCK_SH):
                while not locks.is_free(self.place.guardian_lock):
                    if time.monotonic() > until:
                        raise EmbeddedError(f"The server in {self.place.folder} does not stop. Its log: {self.place.log}")
                    time.sleep(locks.PAUSE_S)
                if self.pid is None:
                    address.drop_socket_folder(self.place)
                log.info("embedded postgres stopped", folder=str(self.place.folder))

    def immediate_stop(self) -> None:
        """Crashes the server as SIGQUIT does: no checkpoint, so that the next start recovers. For tests; we stay an owner."""
        self._crash(signal.SIGQUIT)

    def kill(self) -> None:
        """Kills postmaster and backends by SIGKILL. For tests; we stay an owner, and `start()` brings the server back."""
        self._crash(signal.SIGKILL)

    def _crash(self, how: signal.Signals) -> None:
        until = time.monotonic() + STOP_TIMEOUT_S
        with self._control(until):
            while not self._is_deserted():
                # The postmaster alone at first: what it forked just before it died is found by looking again.
                targets = self._processes()
                processes.send(targets if how is signal.SIGKILL else targets[:1], how)
                if time.monotonic() > until:
                    raise EmbeddedError(f"The server in {self.place.folder} outlived {how.name}. Its processes: {targets}")
                time.sleep(locks.PAUSE_S)

    def _bring_up(self, until: float) -> None:
        exists = check_cluster(self.place)
        if exists and self._await_ready(until):
            log.info("embedded postgres joined", folder=str(self.place.folder), pid=self.pid)
            return
        self._clear_remains(until)
        if not exists:
            lock = locks.take(self.place.postgres_lock, fcntl.LOCK_EX, until=until, why="a process of an earlier server still runs.")
            try:
                make_cluster(self.place, durable=self._options.get("fsync", "on") != "off", lock=lock, until=until)
            finally:
                os.close(lock)
        for attempt in itertools.count(1):
            begin = self._launch()
            if self._await_ready(until):
                break
            last = self._log_since(begin)
            # Between our look for a free port and the server's, somebody else may have taken it.
            if not (self._tcp and attempt < TCP_ATTEMPTS and "could not create any TCP/IP sockets" in last):
                raise EmbeddedError(f"The server in {self.place.folder} did not start. The end of {self.place.log} says why:\n{last}")
        log.info("embedded postgres started", folder=str(self.place.folder), pid=self.pid)

    def _launch(self) -> int:
        """Starts a guardian; the length of the log before. Returns when the guardian holds its lock."""
        port = address.tcp_port(self.place) if self._tcp else address.SOCKET_PORT
        write_settings(self.place, self._options, socket_folder=address.socket_folder(self.place), port=port, tcp=self._tcp)
        user = f"{self.place.user.uid}:{self.place.user.gid}" if self.place.user else ""
        command: list[str | Path] = [sys.executable, "-I", "-S", guardian.__file__, self.place.folder, self.place.binaries.postgres, user]
        output = os.open(self.place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            begin = os.fstat(output).st_size
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=processes.clean_environment(),
                start_new_session=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(output)
        if done.returncode != 0:
            raise EmbeddedError(f"The guardian of the server in {self.place.folder} did not start:\n{self._log_since(begin)}")
        return begin

    def _await_ready(self, until: float) -> bool:
        """Waits as long as there is a guardian: True when its server is ready, False when there is no guardian (any more)."""
        while not locks.is_free(self.place.guardian_lock):
            if self.is_ready:
                return True
            if time.monotonic() > until:
                raise EmbeddedError(
                    f"The server in {self.place.folder} was not ready after {self._start_timeout_s:g} s. After a crash it may need longer "
                    f"to recover: raise start_timeout_s and start again. Its log: {self.place.log}\n{self._log_since(0)}"
                )
            time.sleep(locks.PAUSE_S)
        return False

    def _clear_remains(self, until: float) -> None:
        """Ends what still runs on our cluster without a guardian (or after the cluster was deleted), ever less gently, and its traces."""
        harder = itertools.chain((signal.SIGINT, signal.SIGQUIT), itertools.repeat(signal.SIGKILL))
        next_try = 0.0
        while not self._is_deserted():
            now = time.monotonic()
            found = self._processes()
            if now > until:
                raise EmbeddedError(
                    f"{self.place.cluster} is in use, perhaps from another container; processes seen: {found or 'none'}. Stop that server."
                )
            if found and now > next_try:
                how = next(harder)
                log.warning("embedded postgres found without its owner", folder=str(self.place.folder), pids=found, sent=how.name)
                processes.send(found if how is signal.SIGKILL else found[:1], how)
                next_try = now + ORPHAN_PATIENCE_S
            time.sleep(locks.PAUSE_S)
        # None of ours is left, so the number in there is nobody's or a stranger's; Postgres would refuse to start for a stranger's.
        (self.place.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _is_deserted(self) -> bool:
        return locks.is_free(self.place.guardian_lock) and locks.is_free(self.place.postgres_lock) and not self._processes()

    def _processes(self) -> list[int]:
        return processes.processes_of(self.place.cluster, self.place.tag)

    def _ensure_password(self) -> None:
        if address.read_password(self.place) is None:
            password = address.new_password()
            self.run_sql(f"alter role postgres password '{password}'")
            address.write_password(self.place, password)
        self.tcp_dsn()  # refuses when the server that we joined has no port

    def _listens(self) -> tuple[str, int, str]:
        """Host ('' for none), port and socket folder, as the running server wrote them down."""
        lines = processes.pid_file(self.place.cluster)
        if len(lines) < 6 or self.pid is None:
            raise EmbeddedError(f"The server in {self.place.folder} is not running. Its log: {self.place.log}")
        return lines[5], int(lines[3]), lines[4]

    def _log_since(self, begin: int) -> str:
        """The last lines that the server wrote since its log had `begin` bytes."""
        text = self.place.log.read_bytes()[begin:].decode(errors="replace") if self.place.log.exists() else ""
        return "\n".join(f"  {line}" for line in text.splitlines()[-15:]) or "  (it wrote nothing)"

    def _let_go(self) -> None:
        if self._share is not None:
            os.close(self._share)
            self._share = None

    @contextmanager
    def _control(self, until: float) -> Iterator[None]:
        lock = locks.take(
            self.place.control_lock, fcntl.LOCK_EX, until=until, why="another process is still starting or stopping this server."
        )
        try:
            yield
        finally:
            os.close(lock)
