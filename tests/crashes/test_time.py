"""P4 and P9 where time goes wrong: a host's clock is set, or a dispatcher is frozen past its lease and wakes up.

Frozen by SIGSTOP, as a paused machine is; where it has to be in the middle of an exchange with Postgres, its line falls silent there first.
Awake again, nothing that it still does may count, and it goes on as a new incarnation. A database whose clock was set back is covered by
test_a_lease_that_lies_absurdly_far_ahead_is_no_lease.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import TypeAlias

import pytest

from outbox import Event
from outbox.queries import load
from tests.crashes.child import Child
from tests.crashes.clocked import clocked_dispatcher
from tests.crashes.conftest import Worlds
from tests.crashes.evidence import HEALS_WITHIN_S, Row
from tests.crashes.healing import Interrupted
from tests.crashes.load import accepted, under_load, until_accepted
from tests.crashes.patience import Patience
from tests.crashes.proxy import Way, line_to_database
from tests.crashes.scenes import old_day
from tests.crashes.world import World
from tests.dispatcher.appointments import appointment
from tests.dispatcher.running import stage_all

Keep = Callable[[Row], None]
HERE = ".venv/bin/pytest tests/crashes/test_time.py"
NOTES = "/contacts/*/notes"
HOUR_S, DAY_S = 3_600, 86_400
MARK = "the middle of a large event"
STEPS_S = (HOUR_S, -2 * HOUR_S, HOUR_S + DAY_S, -2 * DAY_S, DAY_S)
ATTEMPTS = (
    "select event_id, attempt, owner, outcome::text, started_at, note from outbox.attempts where event_id = any ($1) order by 1, 2, 4"
)


async def add_up(world: World, scenario: str, healed_s: float | None, evidence: Keep, *, select: str) -> None:
    account = await world.account()
    told = f"{scenario}: {account}\n{world.logs()}"
    assert account.is_clean, told
    assert (account.undone, account.dead) == (0, 0), told
    evidence(Row(scenario, account.accepted, account.lost, account.duplicated, healed_s, f'{HERE} -k "{select}"'))


# ── a clock that is set


async def clock_is_set(world: World, evidence: Keep, *, stops: Collection[int]) -> None:
    """While it is set, what can wait for a time does: retries, an event that is due soon, and at some steps a stopped destination."""
    began, patience = await world.postroom.value("select clock_timestamp()"), Patience(await world.processes())
    due = []
    async with clocked_dispatcher(world, STEPS_S) as clocked:
        await world.receiver()
        async with under_load(world, webhooks_per_s=12, changes_per_s=5):
            for number, offset_s in enumerate(accumulate(STEPS_S)):
                await until_accepted(world, accepted(world) + 10)
                due.append(await due_soon(world, f"due-{number}"))
                if number in stops:
                    await stop_ghl(world)
                else:
                    world.ghl.faults.add("answer", NOTES, method="POST", status=500, times=2)
                assert abs(await clocked.step() - offset_s) < 5
                await world.until(lambda: flows(world), within_s=HEALS_WITHIN_S, what="flowing again")
        await world.settled()
        starved_s = patience.starved_s(await world.processes())
        assert await clocked.end(signal.SIGTERM) == 0
        assert clocked.incarnations == 1
    assert await world.postroom.value("select count(*) from outbox.workers") == 1
    strange = "select count(*) from outbox.attempts where started_at < $1 or started_at > clock_timestamp()"
    assert await world.postroom.value(strange, began) == 0
    for event_id, at in due:
        late_s = "select extract(epoch from min(started_at) - $2)::float8 from outbox.attempts where event_id = $1"
        assert 0 <= await world.postroom.value(late_s, event_id, at) <= HEALS_WITHIN_S + starved_s
    scenario = "clock steps: a dispatcher's host is set by +1 h, −2 h, +25 h, −48 h and back under load"
    await add_up(world, scenario, None, evidence, select="clock_is_set")


async def due_soon(world: World, number: str) -> tuple[int, datetime]:
    """An event that waits for a second, and when it is due."""
    at: datetime = await world.postroom.value("select clock_timestamp() + interval '1 s'")
    happening = appointment("confirmed", number=number, contact="contact-1")
    [event_id] = await stage_all(world.postroom, Event(happening.kind, happening.payload, lane=happening.lane, due_at=at))
    return event_id, at


async def stop_ghl(world: World) -> None:
    """GHL is down until the dispatcher has stopped its events."""
    down = world.ghl.faults.add("answer", "/contacts/**", status=503, times=None)

    async def is_stopped() -> bool:
        return not await flows(world)

    await world.until(is_stopped, what="stopped")
    world.ghl.faults.clear(down)


async def flows(world: World) -> bool:
    return not await world.postroom.value("select exists (select from outbox.destinations where state <> 'flowing')")


# ── frozen, and awake again


@dataclass(frozen=True, slots=True)
class Frozen:
    """A dispatcher that was stopped in the middle of something; `wake` lets it go on."""

    child: Child
    caught: Interrupted
    wake: Callable[[], None]


Freeze: TypeAlias = Callable[[World], AbstractAsyncContextManager[Frozen]]


@asynccontextmanager
async def in_a_call(world: World) -> AsyncIterator[Frozen]:
    """A note is being written at GHL; it is written, and nobody hears of it."""
    hang = world.ghl.faults.add("hang", NOTES, method="POST")
    child = await world.dispatcher()
    await world.change(5)
    async with asyncio.timeout(20):
        await world.ghl.faults.wait_hanging()
    child.send(signal.SIGSTOP)
    caught = await Interrupted.now(world)
    world.ghl.faults.release(hang)
    yield Frozen(child, caught, lambda: child.send(signal.SIGCONT))


def at_point(spec: str, prepare: Callable[[World], Awaitable[object]]) -> Freeze:
    """At a named point; it goes on from there as the first thing when it wakes."""

    @asynccontextmanager
    async def freeze(world: World) -> AsyncIterator[Frozen]:
        child = await world.dispatcher(points=[f"tell:{spec}"])
        await prepare(world)
        await child.wait_point()
        child.send(signal.SIGSTOP)
        caught = await Interrupted.now(world)

        def wake() -> None:
            child.send(signal.SIGUSR1)
            child.send(signal.SIGCONT)

        yield Frozen(child, caught, wake)

    return freeze


def silent_at(way: Way, mark: str, prepare: Callable[[World], Awaitable[object]]) -> Freeze:
    """Its line to Postgres falls silent at `mark`, and then it is frozen: what it says there, or is told there, stays half said."""

    @asynccontextmanager
    async def freeze(world: World) -> AsyncIterator[Frozen]:
        await prepare(world)
        async with line_to_database(world.dsn) as (line, dsn):
            line.stall_at(way, mark.encode())
            child = await world.dispatcher(dsn=dsn)
            async with asyncio.timeout(20):
                await line.struck.wait()
            child.send(signal.SIGSTOP)
            caught = await Interrupted.now(world)

            def wake() -> None:
                line.flow()
                child.send(signal.SIGCONT)

            yield Frozen(child, caught, wake)

    return freeze


async def large(world: World) -> None:
    """Events whose claim is more than a line holds: until its answer is read, the claim is not committed, and nobody sees its locks."""
    await stage_all(world.postroom, *(Event("test.large", {"mark": MARK, "filling": os.urandom(90_000).hex()}) for _ in range(40)))


async def aged(world: World) -> None:
    """A day that is over its time, with work for now beside it."""
    async with old_day(world):
        pass


FROZEN: Mapping[str, tuple[str, Freeze]] = {
    "call": ("in a call to GHL, whose effect happens", in_a_call),
    "send": ("just before a call to GHL is sent", at_point("before:call.note", lambda world: world.change(5))),
    "commit": ("in a handler's transaction, before its commit", at_point("before:handler.commit", lambda world: world.arrive(6))),
    "statement": (
        "in a handler's transaction, in the middle of a statement",
        silent_at(Way.THERE, load("busy")["finish"][:60], lambda world: world.arrive(6)),
    ),
    "claim": ("in the middle of a claim's answer", silent_at(Way.BACK, MARK, large)),
    "retention": ("in retention, with all events locked", silent_at(Way.THERE, "drop table", aged)),
}


async def frozen_and_woken(world: World, name: str, evidence: Keep) -> None:
    says, freeze = FROZEN[name]
    async with freeze(world) as frozen:
        helper = await world.dispatcher()
        await world.change(2)  # new work gets in
        healed_s = await frozen.caught.healed(world)
        await world.settled()
        # Those of an old day are dropped by whoever comes first.
        recent = "select id from outbox.events where id >= outbox.first_id((now() at time zone 'UTC')::date - 1)"
        events = [row["id"] for row in await world.postroom.rows(recent)]
        before = await world.postroom.rows(ATTEMPTS, events)

        frozen.wake()
        await frozen.child.wait_incarnation(2)
        assert "lease lost" in frozen.child.log
        assert await helper.end(signal.SIGTERM) == 0
        await world.change(2)
        await world.arrive(4)
        await world.settled()  # by the one that was frozen
        assert await world.postroom.rows(ATTEMPTS, events) == before
        assert await frozen.child.end(signal.SIGTERM) == 0
    await add_up(world, f"frozen dispatcher: {says}", healed_s, evidence, select=f"frozen and {name}")


async def test_p4_time_that_goes_wrong_changes_nothing(worlds: Worlds, evidence: Keep) -> None:
    async def play(act: Callable[[World], Awaitable[None]]) -> None:
        async with worlds() as world:
            await act(world)

    async with asyncio.TaskGroup() as side_by_side:
        side_by_side.create_task(play(lambda world: clock_is_set(world, evidence, stops={2})))
        for name in ("send", "statement"):
            side_by_side.create_task(play(lambda world, name=name: frozen_and_woken(world, name, evidence)))  # type: ignore[misc]


@pytest.mark.long
async def test_a_dispatcher_whose_hosts_clock_is_set_works_on(world: World, evidence: Keep) -> None:
    await clock_is_set(world, evidence, stops=range(len(STEPS_S)))


@pytest.mark.long
@pytest.mark.parametrize("name", FROZEN)
async def test_p4_what_a_frozen_dispatcher_does_when_it_wakes_does_not_count(world: World, evidence: Keep, name: str) -> None:
    await frozen_and_woken(world, name, evidence)
