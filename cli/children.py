"""The parent's half: starts child processes, waits until they are ready, starts again what dies, stops them in order.

    starting ──first line──▶ ready ──dies──▶ waiting (longer each time) ──▶ starting …
        └── dies before it ever was ready: ChildFailed            └── stop(): asked, then killed

A child is a session of its own, so that Ctrl-C in a terminal reaches the parent alone; `lifeline` ends it with its parent.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.errors import Failed

PROGRAM = Path(__file__).resolve().parent.parent / "postroom.py"
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
LIVED_LONG_S = 60.0
READY_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run: `postroom` with these arguments. `log` None: its log goes to our standard error."""

    name: str
    arguments: Sequence[str]
    env: Mapping[str, str]
    pass_fds: tuple[int, ...] = ()
    log: Path | None = None
    grace_s: float = 15.0


class ChildFailed(Failed):
    """A child process ended before it was ever ready."""


class Child:
    """One process that is kept running. `lifeline` is the reading end of a pipe that the parent holds open."""

    def __init__(self, spec: Spec, *, lifeline: int, say: Callable[[str], None]) -> None:
        self.spec = spec
        self.starts = 0
        self._lifeline, self._say = lifeline, say
        self._process: asyncio.subprocess.Process | None = None
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def ready(self) -> dict[str, Any]:
        """What the first start said when it was ready. Raises ChildFailed."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                return await asyncio.shield(self._ready)
        except TimeoutError:
            raise ChildFailed(f"{self.spec.name} was not ready after {READY_TIMEOUT_S:g} s.{self._log_end()}") from None

    async def keep(self) -> None:
        """Runs it, again and again, until stop()."""
        wait_s = FIRST_WAIT_S
        try:
            while not self._stopping.is_set():
                started = time.monotonic()
                try:
                    status = await self._run()
                except OSError as problem:  # no process, no memory, no program any more
                    status = problem.errno or 1
                if self._stopping.is_set():
                    return
                if not self._ready.done():
                    self._ready.set_exception(ChildFailed(f"{self.spec.name} did not start ({_how(status)}).{self._log_end()}"))
                    return
                if time.monotonic() - started > LIVED_LONG_S:
                    wait_s = FIRST_WAIT_S
                self._say(f"{self.spec.name} ended ({_how(status)}); starting it again in {wait_s:g} s")
                await self._pause(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Asks it to end, waits, and kills it when it takes too long."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.spec.grace_s):
                await self._ended.wait()
        except TimeoutError:
            self._say(f"{self.spec.name} does not stop; killed")
            self.kill()
            await self._ended.wait()
        if self._ready.done():
            self._ready.exception()  # it may have failed while nobody waited for it

    def kill(self) -> None:
        """Ends it now."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    def _signal(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(how)

    async def _run(self) -> int:
        self.starts += 1
        log = None if self.spec.log is None else os.open(self.spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                PROGRAM,
                *self.spec.arguments,
                "--stop-with-parent",
                stdin=self._lifeline,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=dict(self.spec.env),
                pass_fds=self.spec.pass_fds,
                start_new_session=True,
            )
        finally:
            if log is not None:
                os.close(log)
        if self._stopping.is_set():  # asked while it was being started
            process.terminate()
        await self._listen(process)
        return await process.wait()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Its first line says that it is ready; whatever follows is read away, so that it never waits for us."""
        assert process.stdout is not None
        line = await process.stdout.readline()
        if line and not self._ready.done():
            self._ready.set_result(json.loads(line))
        elif line:
            self._say(f"{self.spec.name} runs again")
        while await process.stdout.read(65536):
            pass

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _log_end(self) -> str:
        if self.spec.log is None or not self.spec.log.exists():
            return " What it said stands above."
        lines = self.spec.log.read_text(errors="replace").splitlines()[-5:]
        return f" The end of {self.spec.log} says why:\n" + "\n".join(f"  {line}" for line in lines)


class Children:
    """Several of them, and the pipe that holds them to us. Use as `async with Children(say=…) as children`."""

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self._say = say
        self._all: list[Child] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._lifeline: tuple[int, int] | None = None

    async def __aenter__(self) -> "Children":
        self._lifeline = os.pipe()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stops them all; the last begun first."""
        for child in reversed(self._all):
            await child.stop()
        for task in self._tasks:
            await task
        assert self._lifeline is not None
        for end in self._lifeline:
            os.close(end)

    def begin(self, spec: Spec) -> Child:
        """Starts one; `await child.ready()` waits for it. The last begun is stopped first."""
        assert self._lifeline is not None
        child = Child(spec, lifeline=self._lifeline[0], say=self._say)
        self._all.append(child)
        self._tasks.append(asyncio.create_task(child.keep(), name=spec.name))
        return child

    def kill(self) -> None:
        """Ends them all now."""
        for child in self._all:
            child.kill()


def _how(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
