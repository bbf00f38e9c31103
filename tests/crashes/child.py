"""A dispatcher or receiver as a process of its own, which a test may freeze, stop or kill, alone, by its pid.

Its standard output is a line of news each: `ready`, `port N`, `point NAME`. What it logs lies in a file, and is shown when it disappoints.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Self

from tests.crashes.nursery import Nursery
from tests.crashes.patience import Patience

START_S = 60.0  # several at once on few cores
END_S = 40.0


class Child:
    """One process. `reached` is set when an armed point was reached; `name` is the worker's name in outbox.workers."""

    def __init__(self, pid: int, *, name: str, log: Path) -> None:
        self.pid, self.name, self._log = pid, name, log
        self.reached = asyncio.Event()
        self.port: int | None = None
        self.incarnations = 0
        self.point: str | None = None
        self._code: int | None = None
        self._news = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, role: str, *, name: str, environment: Mapping[str, str], log: Path) -> Self:
        """Starts a dispatcher or a receiver and returns at once."""
        ours, theirs = os.pipe()
        try:
            with log.open("wb") as errors:
                child = cls(_nursery().fork(role, environment, output=theirs, log=errors), name=name, log=log)
        finally:
            os.close(theirs)
        news = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(news), os.fdopen(ours, "rb"))
        child._reader = asyncio.create_task(child._read(news, transport), name=f"news of {name}")
        return child

    @property
    def is_alive(self) -> bool:
        return self._code is None

    @property
    def log(self) -> str:
        """What it logged so far."""
        return self._log.read_text(errors="replace")

    async def started(self) -> None:
        """Returns when it is ready, or when it came to an armed point before. Fails when it ended otherwise."""
        async with self._news, asyncio.timeout(START_S):
            await self._news.wait_for(lambda: self.incarnations or self.port or self.reached.is_set() or not self.is_alive)
        assert self.incarnations or self.port or self.reached.is_set(), f"{self.name} did not start:\n{self.log[-4000:]}"

    async def wait_point(self, within_s: float = START_S) -> str:
        """The armed point that it came to. Fails when it ends, or so much time that counts for it is over, without that."""
        patience = Patience([[self.pid]])
        async with self._news:
            while self.is_alive and not self.reached.is_set() and not patience.is_over(within_s, lambda: [[self.pid]]):
                with suppress(TimeoutError):
                    async with asyncio.timeout(within_s):
                        await self._news.wait_for(lambda: self.reached.is_set() or not self.is_alive)
        assert self.point is not None, f"{self.name} came to no armed point within {within_s:g} s:\n{self.log[-4000:]}"
        return self.point

    async def wait_incarnation(self, number: int, within_s: float = START_S) -> None:
        """Returns when it has begun its `number`-th incarnation: a dispatcher that lost its lease begins another."""
        async with self._news, asyncio.timeout(within_s):
            await self._news.wait_for(lambda: self.incarnations >= number)

    def send(self, what: signal.Signals) -> None:
        """Sends a signal to this process only; to one that has ended, nothing."""
        if self.is_alive:
            os.kill(self.pid, what)

    async def wait(self, within_s: float = END_S) -> int:
        """Waits for its end; returns the exit code (the signal's number, negative, when one killed it)."""
        assert self._reader is not None
        async with asyncio.timeout(within_s):
            await asyncio.shield(self._reader)
        assert self._code is not None
        return self._code

    async def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        """Ends it and waits; returns the exit code."""
        self.send(how)
        return await self.wait()

    async def _read(self, news: asyncio.StreamReader, transport: asyncio.BaseTransport) -> None:
        """Until its end: then nobody holds the other end of the pipe any more."""
        async for line in news:
            word, _, rest = line.decode().strip().partition(" ")
            async with self._news:
                match word:
                    case "ready":
                        self.incarnations += 1
                    case "port":
                        self.port = int(rest)
                    case "point":
                        self.point = rest
                        self.reached.set()
                self._news.notify_all()
        transport.close()
        async with self._news:
            self._code = _nursery().code_of(self.pid)
            self._news.notify_all()


@cache
def _nursery() -> Nursery:
    """This process's own; it ends with it."""
    return Nursery()


def bare_environment() -> dict[str, str]:
    """Ours without any setting of Postroom's: a developer's keys must not meet a test's events."""
    own = ("POSTROOM_", "GHL_", "NOTION_", "PHOREST_", "GOOGLE_", "STANDARD_WEBHOOK_", "DATABASE_", "CRASH_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}
