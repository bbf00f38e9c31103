"""What a deploy looks like from outside: processes that are replaced one after the other, and senders that go on sending.

The processes are the real command line's, told to stop as a platform tells them, or the world's own children where time is short.
"""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import httpx

from simulators.samples import DEMO_VERIFICATION_TOKEN
from simulators.signing import GhlSigner
from tests.crashes.child import bare_environment
from tests.crashes.load import deliveries, paced
from tests.crashes.world import SEALING_KEY, Delivery, World

PROGRAM = (sys.executable, str(Path(__file__).resolve().parents[2] / "postroom.py"))
START_S, END_S = 60.0, 60.0


class Process(Protocol):
    """A receiver or a dispatcher that is ready. `port` None: a dispatcher."""

    @property
    def port(self) -> int | None: ...

    async def end(self, how: signal.Signals = ...) -> int: ...


class Program:
    """`postroom web` or `postroom worker` as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int | None) -> None:
        self._process, self.port = process, port

    @classmethod
    async def start(cls, command: str, environment: Mapping[str, str], *arguments: str) -> "Program":
        """Ready."""
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            command,
            "--stop-with-parent",
            *arguments,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            said = json.loads(await process.stdout.readline())
        return cls(process, said.get("port"))

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends it and waits; returns the exit code."""
        if self._process.returncode is None:
            self._process.send_signal(how)
        async with asyncio.timeout(END_S):
            await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode


def environment_of(world: World) -> dict[str, str]:
    """For both commands, with the world's far sides."""
    ghl_url, notion_url = world._urls
    return {
        **bare_environment(),
        "DATABASE_URL": world.dsn,
        "GHL_API_KEY": world.ghl.settings.token,
        "GHL_LOCATION_ID": world.ghl.settings.location_id,
        "GHL_API_BASE_URL": ghl_url,
        "NOTION_API_KEY": world.notion.settings.token,
        "NOTION_API_BASE_URL": notion_url,
        "GHL_WEBHOOK_PUBLIC_KEYS": GhlSigner.for_demo().public_key_pem,
        "NOTION_WEBHOOK_SECRET": DEMO_VERIFICATION_TOKEN,
        "POSTROOM_ENCRYPTION_KEYS": SEALING_KEY,
        "POSTROOM_GRACE_SECONDS": "4",  # the real commands keep the real rates: what waits for its turn is handed back
    }


class Fleet:
    """Two receivers and two dispatchers, restarted one at a time."""

    def __init__(self, start: Mapping[str, Callable[[], Awaitable[Process]]]) -> None:
        self._start = start
        self.running: dict[str, list[Process]] = {"web": [], "worker": []}
        self.codes: Counter[int] = Counter()

    @classmethod
    @asynccontextmanager
    async def of_children(cls, world: World) -> AsyncIterator["Fleet"]:
        """The world's, which ends them."""
        fleet = cls({"web": world.receiver, "worker": world.dispatcher})
        await fleet._fill()
        yield fleet

    @classmethod
    @asynccontextmanager
    async def of_commands(cls, world: World) -> AsyncIterator["Fleet"]:
        """The command line's."""
        env = environment_of(world)
        fleet = cls({"web": lambda: Program.start("web", env, "--port", "0"), "worker": lambda: Program.start("worker", env)})
        try:
            await fleet._fill()
            yield fleet
        finally:
            for process in (*fleet.running["web"], *fleet.running["worker"]):
                await process.end(signal.SIGKILL)

    async def _fill(self) -> None:
        for kind, processes in self.running.items():
            processes += await asyncio.gather(self._start[kind](), self._start[kind]())

    @property
    def ports(self) -> list[int]:
        """Where its receivers listen, or listened: a sender knows addresses, not processes."""
        return [process.port for process in self.running["web"] if process.port is not None]

    async def restart(self, proven: Callable[[], Awaitable[None]]) -> None:
        """All of them, one after the other: told to stop, waited for, started anew, and `proven` before it is the next one's turn."""
        for kind, processes in self.running.items():
            for n, old in enumerate(list(processes)):
                self.codes[await old.end(signal.SIGTERM)] += 1
                processes[n] = await self._start[kind]()
                await proven()


class Stream:
    """Senders that try the one receiver, and then the other. `failed`: deliveries that neither took."""

    def __init__(self, world: World, ports: Callable[[], list[int]]) -> None:
        self._world, self._ports = world, ports
        self.answers: Counter[int] = Counter()
        self.unanswered: Counter[str] = Counter()
        self.failed: list[str] = []

    @asynccontextmanager
    async def flowing(self, per_s: float, *, keep_alive: bool) -> AsyncIterator[None]:
        """At this pace until the block ends; over connections that are kept, or a new one for each delivery."""
        ends = asyncio.Event()
        limits = httpx.Limits(max_keepalive_connections=20 if keep_alive else 0)

        async def send() -> None:
            async with (
                httpx.AsyncClient(timeout=20, trust_env=False, verify=False, limits=limits) as client,
                asyncio.TaskGroup() as sending,
            ):
                async for n in paced(per_s, ends):
                    sending.create_task(self._send(client, deliveries(self._world, 1)[0], n))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            try:
                yield
            finally:
                ends.set()

    async def _send(self, client: httpx.AsyncClient, delivery: Delivery, n: int) -> None:
        """To the one whose turn it is, else to the other; a kept connection that ends as it is used is no closed door, so again.

        All of it once more: a sender without a core may come to the one before its restart, and to the other in the midst of its own.
        """
        for turn in (n, n, n + 1, n + 1) * 2:
            url = f"http://127.0.0.1:{self._ports()[turn % 2]}{delivery.path}"
            try:
                answer = await client.post(url, headers=dict(delivery.headers), content=delivery.body)
            except httpx.TransportError as problem:
                self.unanswered[type(problem).__name__] += 1
                continue
            self.answers[answer.status_code] += 1
            if answer.is_success:
                delivery.sent.accept(answer.json()["id"])
                return
        self.failed.append(delivery.sent.key)
