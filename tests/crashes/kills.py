"""One scenario of the crash matrix: a process is killed at a named point, or Postgres while a process stands there. Then it is added up."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from outbox.embedded import Embedded
from tests.crashes.calls import CALLS
from tests.crashes.child import Child
from tests.crashes.healing import Interrupted
from tests.crashes.ledger import Account
from tests.crashes.playbook import scene_of
from tests.crashes.points import POINTS, RECEIVER, Moment
from tests.crashes.world import World

T = TypeVar("T")
MENDS_WITHIN_S = 100.0


@dataclass(frozen=True, slots=True)
class Place:
    """A moment at a point of the table."""

    moment: Moment
    name: str

    def __str__(self) -> str:
        return f"{self.moment}:{self.name}"

    @property
    def spec(self) -> str:
        """As it is armed."""
        return f"{self}#{POINTS[self.name].nth}"

    @property
    def is_receiver(self) -> bool:
        return self.name in RECEIVER

    @property
    def role(self) -> str:
        return "receiver" if self.is_receiver else "dispatcher"


def places_of(name: str) -> list[Place]:
    """All moments of a point."""
    return [Place(moment, name) for moment in POINTS[name].moments]


@dataclass(frozen=True, slots=True)
class Healed:
    """What came of a scenario."""

    place: Place
    account: Account
    healed_s: float


class Victim:
    """A process that comes to its point. `caught`: what is interrupted there; `asking`: what a receiver is asked meanwhile."""

    def __init__(self, world: World, place: Place, child: Child, asking: asyncio.Task[None] | None) -> None:
        self.world, self.place, self.child, self._asking = world, place, child, asking
        self.caught: Interrupted | None = None

    @classmethod
    @asynccontextmanager
    async def at(cls, world: World, place: Place, action: str) -> AsyncIterator["Victim"]:
        """Stands there, or is dead already. At the end of the block what held others up goes on."""
        spec = f"{action}:{place.spec}"
        if place.is_receiver:
            asked = CALLS[place.name]
            if asked.prepare is not None:
                await asked.prepare(world)
            child = await world.receiver(points=[spec])
            asking = asyncio.create_task(asked.ask(world))
            try:
                await child.wait_point()
                yield cls(world, place, child, asking)
            except BaseException:
                asking.cancel()
                raise
        else:
            scene = scene_of(place.name)
            async with scene.play(world):
                child = await world.dispatcher(points=[*scene.also, spec], env=scene.env)
                if scene.act is not None:
                    await scene.act(world, child)
                assert await child.wait_point(scene.within_s) == str(place)
                yield cls(world, place, child, None)

    @property
    def needs_another(self) -> bool:
        """It was told to stop and does not come back by itself; or it comes back to its housekeeping only a minute later."""
        scene = None if self.place.is_receiver else scene_of(self.place.name)
        return scene is not None and (scene.act is not None or scene.mended is not None)

    async def interrupted(self, *, everywhere: bool = False) -> Interrupted:
        """What is at work or could be."""
        flows = not self.place.is_receiver and scene_of(self.place.name).flows
        return await Interrupted.now(self.world, everywhere=everywhere, held=flows)

    async def replaced(self) -> None:
        """Another process takes its place."""
        await (self.world.receiver() if self.place.is_receiver else self.world.dispatcher())

    async def healed(self, killed: float) -> Healed:
        """Waits until what was interrupted goes on and everything is settled; adds up."""
        world, place = self.world, self.place
        assert self.caught is not None
        if self._asking is not None:
            await self._asking
            await world.post(2)
            healed_s = await self.caught.in_time(world, since=killed)
            await world.dispatcher()
        else:
            healed_s = await self.caught.healed(world, since=killed)
        holds, dead = (CALLS[place.name].holds, 0) if place.is_receiver else (scene_of(place.name).mended, scene_of(place.name).dead)
        await world.settled()
        if holds is not None:
            await world.until(lambda: holds(world), within_s=MENDS_WITHIN_S, what=f"right after {place}")
        account = await world.account()
        told = f"killed {place}: {account}\n{world.logs()}"
        assert account.is_clean, told
        assert (account.undone, account.dead) == (0, dead), told
        return Healed(place, account, healed_s)


async def together(*waits: Coroutine[Any, Any, T]) -> list[T]:
    """What all of them returned. None is left half-way when another fails: what they hold is put away, and all failures are told."""
    ended = await asyncio.gather(*waits, return_exceptions=True)
    failed = [one for one in ended if isinstance(one, BaseException)]
    if failed:
        raise failed[0] if len(failed) == 1 else BaseExceptionGroup("several scenarios failed", failed)
    return [one for one in ended if not isinstance(one, BaseException)]


async def killed_there(world: World, place: Place) -> Healed:
    """The process kills itself at its point; another takes its place."""
    async with Victim.at(world, place, "kill") as victim:
        assert await victim.child.wait() == -signal.SIGKILL
        victim.caught = await victim.interrupted()
    await victim.replaced()
    return await victim.healed(victim.caught.at)


async def postgres_killed_there(server: Embedded, worlds: Sequence[World], places: Sequence[Place]) -> list[Healed]:
    """Processes, each in a world of its own on one server, stand at their points; Postgres is killed under all of them at once."""
    async with AsyncExitStack() as stack:
        standing = [Victim.at(world, place, "tell") for world, place in zip(worlds, places, strict=True)]
        victims = await together(*(stack.enter_async_context(one) for one in standing))
        for victim in victims:
            victim.caught = await victim.interrupted(everywhere=True)
        await asyncio.to_thread(server.kill)
        for victim in victims:
            victim.child.send(signal.SIGUSR1)
        await asyncio.to_thread(server.start)
        back = time.monotonic()  # P9 leaves Postgres's own recovery out
    for victim in victims:
        if victim.needs_another:
            await victim.replaced()
    return await together(*(victim.healed(back) for victim in victims))
