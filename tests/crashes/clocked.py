"""A dispatcher whose host's clock a test can set: clocked_child as a process of its own, since a fork has its clock already."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from tempfile import TemporaryFile

from tests.crashes.child import bare_environment
from tests.crashes.world import World

START_S = 60.0


class Clocked:
    """One process. `incarnations`: how often it began."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process, self.name = process, name
        self.incarnations = 0

    async def step(self) -> float:
        """Sets its clock to the next of its steps; the seconds by which it then believes to be ahead."""
        self._process.send_signal(signal.SIGUSR2)
        believes = datetime.fromisoformat((await self.hears("stepped")).partition(" ")[2])
        return (believes - datetime.now(UTC)).total_seconds()

    async def hears(self, word: str) -> str:
        """Its next news that begins with this word."""
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            while line := (await self._process.stdout.readline()).decode().strip():
                self.incarnations += line == "ready"
                if line.startswith(word):
                    return line
        raise AssertionError(f"{self.name} ended with {self._process.returncode} before it said {word!r}")

    async def end(self, how: signal.Signals) -> int:
        """Ends it and waits; returns the exit code."""
        if self._process.returncode is None:
            self._process.send_signal(how)
        said, _ = await self._process.communicate()
        self.incarnations += said.decode().split().count("ready")
        assert self._process.returncode is not None
        return self._process.returncode


@asynccontextmanager
async def clocked_dispatcher(world: World, steps_s: Sequence[int]) -> AsyncIterator[Clocked]:
    """Ready, and killed at the end if it still runs."""
    name = f"clocked-{len(world.children)}"
    ghl_url, notion_url = world._urls
    environment = {
        **bare_environment(),
        "DATABASE_URL": world.dsn,
        "GHL_API_KEY": world.ghl.settings.token,
        "GHL_LOCATION_ID": world.ghl.settings.location_id,
        "GHL_API_BASE_URL": ghl_url,
        "NOTION_API_KEY": world.notion.settings.token,
        "NOTION_API_BASE_URL": notion_url,
        "POSTROOM_WORKER_NAME": name,
        "CLOCK_STEPS": ",".join(map(str, steps_s)),
    }
    with TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.crashes.clocked_child",
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        clocked = Clocked(process, name)
        world.beside.append(process.pid)
        try:
            await clocked.hears("ready")
            yield clocked
        finally:
            await clocked.end(signal.SIGKILL)
