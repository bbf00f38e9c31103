"""P6, P7 and P9 at random moments: processes killed every second or so under load, and Postgres under all of them; every id is added up.

The seed is printed; POSTROOM_CRASH_SEED sets it. It fixes whom a kill hits and how long the pauses are, not where the victim stands.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable

import pytest

from outbox.embedded import Embedded
from tests.crashes.evidence import Row
from tests.crashes.healing import Interrupted
from tests.crashes.load import Fleet, settled_by_hand, under_load, until_accepted
from tests.crashes.standing import Standing
from tests.crashes.world import World

Keep = Callable[[Row], None]
HERE = ".venv/bin/pytest tests/crashes/test_random_kills.py"
SETTLES_WITHIN_S = 240.0
CALL_S = 0.05  # what GHL takes for an answer, so that a kill meets handlers at work


def seed() -> int:
    """Another one each time, unless it is given."""
    chosen = int(os.environ.get("POSTROOM_CRASH_SEED", "0")) or random.randrange(1, 1_000_000)
    print(f"POSTROOM_CRASH_SEED={chosen}")  # noqa: T201 -- pytest shows it when the test fails
    return chosen


async def send(world: World, events: int) -> None:
    """Webhooks, and at most 600 changes of an app (a tenth of the events, but half of all calls), side by side."""
    changes = min(600, events // 3)
    async with asyncio.TaskGroup() as sending:
        sending.create_task(world.post(events - changes))
        sending.create_task(world.change(changes))


async def add_up(world: World, scenario: str, healed_s: float, evidence: Keep, *, select: str) -> None:
    account = await world.account()
    told = f"{scenario}: {account}\n{world.logs()}"
    assert account.is_clean, told
    assert account.accepted >= len(world.ledger.sent), told  # each of them is looked for; an alert of a slow run is an event as well
    assert (account.undone, account.dead) == (0, 0), told
    assert account.done + account.skipped == account.accepted, told
    evidence(Row(scenario, account.accepted, account.lost, account.duplicated, healed_s, f'{HERE} -k "{select}"'))


async def killed_at_random(world: World, evidence: Keep, *, events: int, every_s: tuple[float, float], name: str, select: str) -> Fleet:
    """Healing is timed at one more kill, when the others have settled: what was at work at two deaths runs one at a time (poison)."""
    world.ghl.faults.add("delay", "**", times=None, delay_s=CALL_S)
    fleet = await Fleet.start(world, seed=seed(), dispatchers=3, receivers=2)
    sending = asyncio.create_task(send(world, events))
    await fleet.kill_until(sending.done, every_s=every_s)
    await sending
    buried = await settled_by_hand(world, SETTLES_WITHIN_S)
    async with under_load(world, webhooks_per_s=10, changes_per_s=4):
        await until_accepted(world, events + 20)
        await fleet.kill_one_at_work()
        healed_s = await (await Interrupted.now(world)).healed(world)
        await fleet.replace("dispatcher")
    await settled_by_hand(world, SETTLES_WITHIN_S)
    killed = f"{fleet.killed['dispatcher']} dispatchers and {fleet.killed['receiver']} receivers killed"
    scenario = f"random kills: {name}; {killed}, {buried} events buried as poison and retried"
    await add_up(world, scenario, healed_s, evidence, select=select)
    return fleet


async def test_p9_processes_killed_at_random_lose_nothing_and_do_nothing_twice(world: World, evidence: Keep) -> None:
    fleet = await killed_at_random(world, evidence, events=150, every_s=(0.2, 0.6), name="a short run", select="lose_nothing")
    assert fleet.killed.total() >= 2


@pytest.mark.long
async def test_p9_processes_killed_at_random_over_thousands_of_events(world: World, evidence: Keep) -> None:
    fleet = await killed_at_random(world, evidence, events=5000, every_s=(1.0, 2.0), name="a long run", select="over_thousands")
    assert fleet.killed.total() >= 10


async def postgres_stopped(server: Embedded, world: World, evidence: Keep, *, events: int, times: int, name: str, select: str) -> None:
    """Three times of four as SIGQUIT does (`immediate`), else by SIGKILL of all its processes."""
    rng = random.Random(seed())
    world.ghl.faults.add("delay", "**", times=None, delay_s=CALL_S)
    await Fleet.start(world, seed=1, dispatchers=3, receivers=2)
    healed: list[float] = []
    sending = asyncio.create_task(send(world, events))
    for part in range(times):
        await until_accepted(world, events * (part + 1) // (times + 1), SETTLES_WITHIN_S)
        caught = await Standing.now(world)
        await asyncio.to_thread(server.immediate_stop if rng.random() < 0.75 else server.kill)
        await asyncio.sleep(rng.uniform(0, 1))
        await asyncio.to_thread(server.start)
        healed.append(await caught.goes_on(world, since=time.monotonic()))
    await sending
    await world.settled(SETTLES_WITHIN_S)
    await add_up(world, f"random kills: {name}; Postgres stopped {times} times under load", max(healed), evidence, select=select)


async def test_p9_postgres_stopped_at_once_under_load_loses_nothing(own_server: Embedded, own_world: World, evidence: Keep) -> None:
    await postgres_stopped(own_server, own_world, evidence, events=100, times=1, name="a short run", select="stopped_at_once")


@pytest.mark.long
async def test_p9_postgres_stopped_again_and_again_under_load(own_server: Embedded, own_world: World, evidence: Keep) -> None:
    await postgres_stopped(own_server, own_world, evidence, events=2500, times=6, name="a long run", select="again_and_again")
