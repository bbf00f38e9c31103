"""A steady load on a world, and a fleet of processes that is kept at strength while its members are killed.

Both only drive a World; what came of it is in its account.
"""

import asyncio
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

from outbox.store import dead
from outbox.store.dead import Filter
from tests.crashes.child import Child
from tests.crashes.world import Delivery, World

PATIENCE_S = 60.0


@asynccontextmanager
async def under_load(world: World, *, webhooks_per_s: float = 20, changes_per_s: float = 4) -> AsyncIterator[None]:
    """Webhooks over the live receivers (none when there is none) and changes of an app, at this pace, until the block ends.

    What was begun is accepted before it returns, however long the system takes for it.
    """
    ends = asyncio.Event()

    async def post() -> None:
        async with sending_client() as client, asyncio.TaskGroup() as posts:
            async for _ in paced(webhooks_per_s, ends):
                posts.create_task(world._send(client, deliveries(world, 1)[0], until_accepted=True))

    async def change() -> None:
        async for _ in paced(changes_per_s, ends):
            await world.change(1)  # one after the other: they are of few lanes, and their order is looked at

    async with asyncio.TaskGroup() as loads:
        for act, per_s in ((post, webhooks_per_s), (change, changes_per_s)):
            if per_s:
                loads.create_task(act())
        try:
            yield
        finally:
            ends.set()


async def paced(per_s: float, ends: asyncio.Event) -> AsyncIterator[int]:
    """Counts at this pace, until it is told to end; what it fell behind is not caught up in a burst."""
    due = time.monotonic()
    for n in itertools.count():
        yield n
        due = max(due + 1 / per_s, time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(due - time.monotonic()):
                await ends.wait()
        if ends.is_set():
            return


def sending_client() -> httpx.AsyncClient:
    """One for many deliveries: to make one takes longer than to use it."""
    return httpx.AsyncClient(timeout=20, trust_env=False, verify=False)


def deliveries(world: World, n: int) -> list[Delivery]:
    """The next `n` webhooks, noted and not sent yet."""
    return [world._delivery(next(world._count)) for _ in range(n)]


def accepted(world: World) -> int:
    """How many of what was sent have been accepted, by an answer or a commit."""
    return sum(1 for sent in world.ledger.sent if sent.ids)


async def until_accepted(world: World, wanted: int, within_s: float = PATIENCE_S) -> None:
    """Returns when so many have been accepted."""

    async def are() -> bool:
        return accepted(world) >= wanted

    await world.until(are, within_s=within_s, what=f"accepted {wanted}")


@dataclass
class Fleet:
    """Dispatchers and receivers of a world. A member that was killed is replaced at once."""

    world: World
    rng: random.Random
    dispatchers: list[Child] = field(default_factory=list)
    receivers: list[Child] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)

    @classmethod
    async def start(cls, world: World, *, seed: int, dispatchers: int, receivers: int) -> "Fleet":
        """All of them, ready."""
        fleet = cls(world, random.Random(seed))
        fleet.dispatchers += await asyncio.gather(*(world.dispatcher() for _ in range(dispatchers)))
        fleet.receivers += await asyncio.gather(*(world.receiver() for _ in range(receivers)))
        return fleet

    async def kill(self, role: str) -> None:
        """SIGKILL to a random member; another starts in its place."""
        members = self.dispatchers if role == "dispatcher" else self.receivers
        victim = members.pop(self.rng.randrange(len(members)))
        assert await victim.end(signal.SIGKILL) == -signal.SIGKILL
        self.killed[role] += 1

    async def kill_one_at_work(self) -> None:
        """SIGKILL to a dispatcher that has events at work, as soon as there is one."""
        holder = "select w.name from outbox.busy b join outbox.workers w on w.id = b.owner where w.ended_at is null limit 1"
        async with asyncio.timeout(PATIENCE_S):
            while (victim := self._named(await self.world.postroom.value(holder))) is None:  # noqa: ASYNC110 -- rows have no event
                await asyncio.sleep(0.01)
        self.dispatchers.remove(victim)
        assert await victim.end(signal.SIGKILL) == -signal.SIGKILL
        self.killed["dispatcher"] += 1

    def _named(self, name: str | None) -> Child | None:
        return next((child for child in self.dispatchers if child.name == name), None)

    async def replace(self, role: str) -> None:
        """Brings it back to strength; returns when the new one is ready."""
        if role == "dispatcher":
            self.dispatchers.append(await self.world.dispatcher())
        else:
            self.receivers.append(await self.world.receiver())

    async def kill_until(self, is_over: Callable[[], bool], *, every_s: tuple[float, float]) -> None:
        """Kills and replaces again and again, at random moments; two of three are dispatchers."""
        while not is_over():
            await asyncio.sleep(self.rng.uniform(*every_s))
            role = self.rng.choice(("dispatcher", "dispatcher", "receiver"))
            await self.kill(role)
            await self.replace(role)


async def settled_by_hand(world: World, within_s: float = PATIENCE_S) -> int:
    """Waits until everything is settled; what was at work at three deaths of its process lies buried, and is retried as a person would.

    Returns how many those were. Any other dead letter is a failure.
    """
    retried = 0
    while True:
        await world.settled(within_s)
        letters = await dead.find(world.pool, Filter(), limit=200)
        if not letters:
            return retried
        assert {letter["fingerprint"] for letter in letters} == {"poison"}, [dict(letter) for letter in letters]
        retried += len(await dead.retry(world.pool, [letter["id"] for letter in letters], by="otto"))
