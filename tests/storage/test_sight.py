"""A dispatcher whose looks over all lanes are dear: near looks bring what is fresh, far looks everything else, and no promise suffers.

Here every look over all lanes counts as long, so that no dead rows are needed.
"""

import asyncio
import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome, Retry
from dispatcher.policy import pace
from dispatcher.policy.retry import RetryPolicy
from dispatcher.routes import Route
from dispatcher.service import Dispatcher
from outbox import Claimed, DatabaseUnavailable, Event, stage
from outbox.store import events, fresh, lanes
from outbox.testing import Postroom
from tests.dispatcher.handling import Blocking, everything_is_over, is_over, is_so, returning
from tests.dispatcher.running import dispatching, eventually, stage_all
from tests.outbox.engine import check_invariants, put
from tests.storage.held import staging

DONE = {"test.work": Route(returning(Done()))}
NEVER = 10_000


@pytest.fixture
def dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look over all lanes is long for what it finds; far looks follow each other quickly."""
    monkeypatch.setattr(pace, "STEPS", -1)
    monkeypatch.setattr(pace, "STEPS_PER_FIND", 0)
    monkeypatch.setattr(pace, "LONG_S", -1.0)
    monkeypatch.setattr(pace, "SHARE", 5)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many looks of each kind brought something."""
    counted: Counter[str] = Counter()

    def count(module: Any, name: str, kind: str) -> None:
        real = getattr(module, name)

        async def statement(*args: Any, **kwargs: Any) -> Any:
            answer = await real(*args, **kwargs)
            counted[kind] += len(answer.events)
            return answer

        monkeypatch.setattr(module, name, statement)

    count(fresh, "claim", "near")
    count(lanes, "claim", "far")
    return counted


async def until_dear(dispatcher: Dispatcher, *urgencies: int) -> None:
    """Returns when looking over all lanes is for far looks alone."""

    def is_dear() -> bool:
        assert dispatcher.loop is not None
        return all(dispatcher.loop.sight.is_dear(urgency) for urgency in urgencies or (0,))

    await eventually(lambda: is_so(is_dear()))


@pytest.mark.usefixtures("dear")
async def test_fresh_events_are_brought_by_near_looks_when_far_ones_are_made_no_more(
    postroom: Postroom, looks: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SHARE", NEVER)
    async with dispatching(postroom.dsn, DONE) as dispatcher:
        await until_dear(dispatcher)
        looks.clear()
        for n in range(50):
            ids = await stage_all(postroom, *(Event("test.work", {}, lane=f"lane-{k % 3}" if k % 2 else None) for k in range(n % 4 + 1)))
            await eventually(is_over(postroom, *ids), within_s=5)
    assert looks["near"] > 0
    assert looks["far"] == 0
    await check_invariants(postroom)


@pytest.mark.usefixtures("dear")
async def test_what_is_committed_late_is_brought_by_a_far_look(
    postroom: Postroom, looks: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SPAN_S", 0.0)
    async with dispatching(postroom.dsn, DONE) as dispatcher:
        await until_dear(dispatcher)
        async with staging(postroom.dsn):
            ids = await stage_all(postroom, Event("test.work", {}))
            await eventually(is_over(postroom, *ids))
            looks.clear()
        await eventually(everything_is_over(postroom))
    assert (looks["near"], looks["far"]) == (0, 1)


@pytest.mark.usefixtures("dear")
async def test_a_replayed_event_is_brought_by_a_far_look(postroom: Postroom, looks: Counter[str]) -> None:
    async with dispatching(postroom.dsn, DONE) as dispatcher:
        [event_id] = await stage_all(postroom, Event("test.work", {}))
        await stage_all(postroom, *(Event("test.work", {}) for _ in range(fresh.LOOK_AT + 1)))
        await eventually(everything_is_over(postroom))
        await until_dear(dispatcher, 0, 1)
        looks.clear()
        async with postroom.pool.acquire() as connection:
            assert await events.replay(connection, event_id, by="maeve")
        await eventually(is_over(postroom, event_id))
    assert looks["far"] == 1


@pytest.mark.usefixtures("dear")
async def test_what_waits_in_a_lane_that_a_handlers_own_transaction_lets_go_need_not_wait_for_a_far_look(
    postroom: Postroom, looks: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SHARE", NEVER)
    monkeypatch.setattr(pace, "SPAN_S", 0.0)
    begun, release = asyncio.Event(), asyncio.Event()

    async def handler(event: Claimed, ctx: Context) -> Any:
        begun.set()
        await release.wait()
        async with ctx.transaction() as tx:
            return await tx.settle(Done())

    async with dispatching(postroom.dsn, {"test.slow": Route(handler), **DONE}) as dispatcher:
        await until_dear(dispatcher)
        ids = await stage_all(postroom, Event("test.slow", {}, lane="one"))
        await begun.wait()
        ids += await stage_all(postroom, Event("test.work", {}, lane="one"))
        passing = await stage_all(postroom, Event("test.work", {}))
        await eventually(is_over(postroom, *passing))
        looks.clear()
        release.set()
        await eventually(is_over(postroom, *ids), within_s=5)
    assert (looks["near"], looks["far"]) == (1, 0)


@pytest.mark.usefixtures("dear")
async def test_a_bulk_event_is_not_forgotten_while_looks_for_bulk_are_dear(postroom: Postroom) -> None:
    async with dispatching(postroom.dsn, DONE) as dispatcher:
        await until_dear(dispatcher, 0, 1)
        ids = await put(postroom, "bulk", 3, kind="test.work", urgency=1)
        await eventually(is_over(postroom, *ids))


@pytest.mark.usefixtures("dear")
async def test_far_looks_do_not_overfill_a_worker(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is in flight, near looks leave it the slots that it may fill."""
    handler, in_flight, go, real = Blocking.new(), asyncio.Event(), asyncio.Event(), lanes.claim

    async def claim(*args: Any, **kwargs: Any) -> Any:
        in_flight.set()
        await go.wait()
        return await real(*args, **kwargs)

    routes = {"test.slow": Route(handler)}
    async with dispatching(postroom.dsn, routes, settings=DispatcherSettings(concurrency=10)) as dispatcher:
        loop = dispatcher.loop
        assert loop is not None
        await until_dear(dispatcher, 0, 1)
        monkeypatch.setattr(lanes, "claim", claim)
        await in_flight.wait()
        await stage_all(postroom, *(Event("test.slow", {}, lane=f"lane-{n}") for n in range(60)))
        await eventually(lambda: is_so(len(loop.running) == 10 - loop.sight.reserved))
        assert loop.sight.reserved > 0
        go.set()
        most = 0
        for _ in range(30):
            await stage_all(postroom, Event("test.slow", {}))
            most = max(most, len(loop.running))
        assert most <= 10
        handler.release.set()
        await eventually(everything_is_over(postroom))


@pytest.mark.usefixtures("dear")
async def test_a_far_look_whose_answer_is_lost_loses_no_event(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.loop.STRAYS_EVERY_S", 0.2)
    monkeypatch.setattr(pace, "SPAN_S", 0.0)
    real, lost = lanes.claim, 0

    async def claim(*args: Any, **kwargs: Any) -> Any:
        nonlocal lost
        answer = await real(*args, **kwargs)
        if answer.events and not lost:
            lost += 1
            raise DatabaseUnavailable("the answer was lost (injected)")
        return answer

    async with dispatching(postroom.dsn, DONE) as dispatcher:
        await until_dear(dispatcher)
        monkeypatch.setattr(lanes, "claim", claim)
        async with staging(postroom.dsn):
            ids = await stage_all(postroom, Event("test.work", {}))
            await eventually(is_over(postroom, *ids))
        await eventually(everything_is_over(postroom))
    assert lost == 1


async def test_looks_that_take_so_long_that_they_are_given_up_stop_no_fresh_event(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dead rows enough, no look over all lanes ends in time; nor one for what is due."""
    tried: Counter[str] = Counter()
    monkeypatch.setattr(pace, "GIVEN_UP_S", 0.05)

    def never_in_time(name: str) -> None:
        async def statement(*args: Any, **kwargs: Any) -> Any:
            tried[name] += 1
            await asyncio.sleep(0.1)
            raise DatabaseUnavailable("no answer in time (injected)")

        monkeypatch.setattr(lanes, name, statement)

    for name in ("claim", "take_due", "next_due"):
        never_in_time(name)
    async with dispatching(postroom.dsn, DONE):
        for _ in range(3):
            ids = await stage_all(postroom, *(Event("test.work", {}) for _ in range(3)))
            await eventually(is_over(postroom, *ids), within_s=15)
    assert tried["claim"] > 0
    assert tried["take_due"] > 0


async def test_looks_that_are_cheap_again_are_made_in_each_round_again(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(pace, "STEPS", -1)
        patched.setattr(pace, "STEPS_PER_FIND", 0)
        async with dispatching(postroom.dsn, DONE) as dispatcher:
            await until_dear(dispatcher)
            patched.setattr(pace, "STEPS", 1_000_000)
            loop = dispatcher.loop
            assert loop is not None
            await eventually(lambda: is_so(not loop.sight.is_dear(0)))
            ids = await stage_all(postroom, *(Event("test.work", {}) for _ in range(5)))
            await eventually(is_over(postroom, *ids))


@pytest.mark.usefixtures("dear")
async def test_p5_lanes_keep_their_order_through_near_and_far_looks_of_two_dispatchers(postroom: Postroom, looks: Counter[str]) -> None:
    rng, ran = random.Random(11), defaultdict[str, list[int]](list)
    at_work: set[str] = set()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        assert event.lane is not None
        assert event.lane not in at_work
        at_work.add(event.lane)
        await asyncio.sleep(rng.random() * 0.005)
        at_work.remove(event.lane)
        if rng.random() < 0.1:
            return Retry("once more")
        ran[event.lane].append(event.id)
        return Done()

    routes = {"test.work": Route(handler, retry=RetryPolicy(base_s=0.01, cap_s=0.05))}
    settings = DispatcherSettings(concurrency=8)

    async def app(number: int) -> None:
        """Each with lanes of its own: of transactions that overlap, none comes first."""
        async with postroom.pool.acquire() as connection:
            for _ in range(40):
                async with connection.transaction():
                    for _ in range(rng.randrange(4)):
                        await stage(connection, Event("test.work", {}, lane=f"app-{number}-{rng.randrange(3)}"))
                    await asyncio.sleep(rng.random() * 0.02)

    async with dispatching(postroom.dsn, routes, settings=settings), dispatching(postroom.dsn, routes, settings=settings):
        await asyncio.gather(*(app(number) for number in range(4)))
        await eventually(everything_is_over(postroom), within_s=40)
    assert looks["near"] > 0
    assert sum(map(len, ran.values())) == await postroom.value("select count(*) from outbox.events")
    for lane, order in ran.items():
        assert order == sorted(order), lane
    await check_invariants(postroom)
