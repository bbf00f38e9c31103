"""Lines that fail under load: what can happen to one, and whose line it is.

A scenario returns how long it took until what had stood still went on. When a line was mended this is counted from then; when it fell
silent for good, from its falling silent: what it carried has to go on over a new one, or at another process.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.crashes.child import Child
from tests.crashes.load import deliveries, paced, sending_client, under_load, until_accepted
from tests.crashes.patience import Patience
from tests.crashes.proxy import Proxy, Way, line_to_database, line_to_port
from tests.crashes.standing import Standing
from tests.crashes.world import Delivery, World

CALL_S = 0.05  # what GHL takes for an answer, so that a fault meets handlers at work


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a line. `lasts_s` None: it is not mended. `alone`: there is no other dispatcher that could take over."""

    says: str
    begin: Callable[[Proxy], Awaitable[None] | int | None]
    lasts_s: float | None = None
    end: Callable[[Proxy], Awaitable[None] | None] = Proxy.flow
    alone: bool = True

    async def strike(self, world: World, line: Proxy) -> Standing:
        """The whole of it; returns what stood still."""
        caught = await Standing.now(world)
        await _whole(self.begin(line))
        if self.lasts_s is None:
            return caught
        await asyncio.sleep(self.lasts_s)
        await _whole(self.end(line))
        return await Standing.now(world)


async def _whole(done: Awaitable[None] | int | None) -> None:
    if isinstance(done, Awaitable):
        await done


FAULTS: Mapping[str, Fault] = {
    "cut": Fault("cut for 3 s", Proxy.cut, 3, Proxy.mend),
    "dropped": Fault("all connections reset, new ones get through", Proxy.drop),
    "stalled": Fault("silent both ways for 5 s", Proxy.stall, 5),
    "deaf": Fault("its answers held back for 5 s", lambda line: line.stall(Way.BACK), 5),
    "slow": Fault("60 ms slower for 5 s", lambda line: line.slow(0.06), 5, lambda line: line.slow(0)),
    "losing": Fault("every seventh answer lost for 5 s", lambda line: line.lose(7), 5, lambda line: line.lose(0)),
    "half-open-there": Fault("half open: the far side is gone and the process does not know", lambda line: line.strand(Way.THERE)),
    "half-open-here": Fault("half open: the process is gone and the far side does not know", lambda line: line.strand(Way.BACK)),
    "silent": Fault("silent for good", Proxy.stall, alone=False),
    "silent-for-40-s": Fault("silent both ways for 40 s, longer than any call may take", Proxy.stall, 40),
}


@dataclass(slots=True)
class Told:
    """What a scenario found, beside the account. `answers` and `slowest_s` (without the time for which it had no core): of a receiver."""

    healed_s: float
    answers: set[int] = field(default_factory=set)
    slowest_s: float = 0.0
    log: str = ""


async def dispatcher_line(world: World, fault: Fault) -> Told:
    """Of a dispatcher to Postgres."""
    world.ghl.faults.add("delay", "**", times=None, delay_s=CALL_S)
    async with line_to_database(world.dsn) as (line, dsn):
        others = [] if fault.alone else [world.dispatcher()]
        victim, *_ = await asyncio.gather(world.dispatcher(dsn=dsn), world.receiver(), *others)
        async with under_load(world, webhooks_per_s=12, changes_per_s=4):
            await until_accepted(world, 25)
            healed_s = await (await fault.strike(world, line)).goes_on(world)
        await world.settled()
        assert victim.is_alive
        return Told(healed_s, log=victim.log)


async def provider_line(world: World, fault: Fault) -> Told:
    """Of a dispatcher to GHL."""
    world.ghl.faults.add("delay", "**", times=None, delay_s=CALL_S)
    async with line_to_port(world._urls[0]) as line:
        victim, _ = await asyncio.gather(world.dispatcher(ghl_base_url=line.base_url), world.receiver())
        async with under_load(world, webhooks_per_s=6, changes_per_s=6):
            await until_accepted(world, 25)
            healed_s = await (await fault.strike(world, line)).goes_on(world)
        await world.settled()
        return Told(healed_s, log=victim.log)


async def receiver_line(world: World, fault: Fault) -> Told:
    """Of one of two receivers to Postgres; healed when it accepts again, or, while it stays silent, when the other one has accepted all."""
    async with line_to_database(world.dsn) as (line, dsn):
        victim, *_ = await asyncio.gather(world.receiver(dsn=dsn), world.receiver(), world.dispatcher())
        async with under_load(world, webhooks_per_s=8, changes_per_s=2), sending_to(world, victim) as sender:
            await until_accepted(world, 20)
            caught = await fault.strike(world, line)
            healed_s = await caught.in_time(world, await (sender.accepted_here() if fault.alone else sender.accepted_elsewhere()))
        await world.settled()
        return Told(healed_s, sender.answers, sender.slowest_s, victim.log)


LINES: Mapping[str, Callable[[World, Fault], Awaitable[Told]]] = {
    "dispatcher": dispatcher_line,
    "receiver": receiver_line,
    "provider": provider_line,
}


class Sender:
    """Sends to one receiver, five a second, whatever it answers; what it did not accept goes to the others."""

    def __init__(self, world: World, receiver: Child) -> None:
        self._world, self._receiver = world, receiver
        self._here, self._elsewhere = 0, 0
        self.ends = asyncio.Event()
        self.answers: set[int] = set()
        self.slowest_s = 0.0

    async def accepted_here(self) -> float:
        """The seconds until something is accepted here."""
        return await self._more(lambda: self._here)

    async def accepted_elsewhere(self) -> float:
        """The seconds until something that was refused here is accepted elsewhere."""
        return await self._more(lambda: self._elsewhere)

    async def _more(self, count: Callable[[], int]) -> float:
        before = count()

        async def are() -> bool:
            return count() > before

        return await self._world.until(are, what="accepted again")

    async def run(self) -> None:
        """Until `ends`."""
        async with sending_client() as client, asyncio.TaskGroup() as sending:
            async for _ in paced(5, self.ends):
                sending.create_task(self._send(client, deliveries(self._world, 1)[0]))

    async def _send(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        both = [os.getpid()], [self._receiver.pid]
        patience, url = Patience(both), f"http://127.0.0.1:{self._receiver.port}{delivery.path}"
        try:
            answer = await client.post(url, headers=dict(delivery.headers), content=delivery.body)
        except httpx.NetworkError:  # a connection that was idle for too long is closed at the moment at which we use it
            await self._world._send(client, delivery, until_accepted=True)
            return
        self.slowest_s = max(self.slowest_s, time.monotonic() - patience.at - patience.starved_s(both))
        self.answers.add(answer.status_code)
        if answer.is_success:
            delivery.sent.accept(answer.json()["id"])
            self._here += 1
        else:
            await self._world._send(client, delivery, until_accepted=True)
            self._elsewhere += 1


@asynccontextmanager
async def sending_to(world: World, receiver: Child) -> AsyncIterator[Sender]:
    """A sender at work until the block ends."""
    sender = Sender(world, receiver)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sender.run())
        try:
            yield sender
        finally:
            sender.ends.set()
