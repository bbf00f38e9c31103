"""The life of an event as a property: whatever order stagers, workers, deaths and people act in, a small model agrees.

The model knows per lane what waits (in order) and what is at work; everything else is read from the database.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from outbox.event import Claimed
from outbox.store import dead, events, lanes
from outbox.store.lanes import End
from outbox.testing import EMPTY, Postroom
from tests.outbox.engine import STARTED, Worker, check_invariants, put, worker

LANES = ("chair:1", "chair:2", "chair:3")
ACTIONS = (
    *("stage", "stage", "claim", "claim", "claim bulk", "take due", "take due", "stale", "stale"),
    *("done", "done and next", "cover", "skip", "retry", "retry", "hold", "release", "bury"),
    *("die", "hand back", "replay", "retry dead", "discard"),
)


@dataclass
class Model:
    """Two workers, three lanes."""

    postroom: Postroom
    workers: list[Worker]
    waiting: dict[tuple[str, int], list[int]] = field(default_factory=lambda: {(lane, urgency): [] for lane in LANES for urgency in (0, 1)})
    at_work: dict[str, int] = field(default_factory=dict)
    held: dict[int, dict[int, Claimed]] = field(default_factory=dict)  # by worker id: what it runs
    stale: list[tuple[Worker, Claimed]] = field(default_factory=list)
    settled: list[tuple[str, int]] = field(default_factory=list)
    buried: list[tuple[str, int]] = field(default_factory=list)

    async def act(self, action: str, number: int) -> None:
        me = self.workers[number % 2]
        await getattr(self, "do_" + action.replace(" ", "_"))(me, number)

    def mine(self, me: Worker, number: int) -> Claimed | None:
        running = sorted(self.held.get(me.id, {}).values())
        return running[number % len(running)] if running else None

    def starts(self, me: Worker, event: Claimed) -> None:
        """I2 and P5: only the lowest of a free lane starts."""
        assert event.lane is not None
        queue = self.waiting[event.lane, event.urgency]
        assert event.lane not in self.at_work, "the lane is at work"
        assert queue[0] == event.id, "an event overtook another of its lane"
        queue.pop(0)
        self.at_work[event.lane] = event.id
        self.held.setdefault(me.id, {})[event.id] = event

    def ends(self, me: Worker, event: Claimed) -> None:
        assert event.lane is not None
        self.lets_go(me, event)
        del self.at_work[event.lane]

    def lets_go(self, me: Worker, event: Claimed) -> None:
        del self.held[me.id][event.id]
        self.stale.append((me, event))

    # ── stagers

    async def do_stage(self, _: Worker, number: int) -> None:
        lane = LANES[number % len(LANES)]
        self.waiting[lane, 0] += await put(self.postroom, lane)

    # ── workers

    async def claims(self, me: Worker, urgency: int) -> None:
        free = {lane for (lane, waits), queue in self.waiting.items() if waits == urgency and queue and lane not in self.at_work}
        claimed = await me.claim(urgency=urgency)
        assert {event.lane for event in claimed} == free
        for event in claimed:
            self.starts(me, event)

    async def do_claim(self, me: Worker, _: int) -> None:
        await self.claims(me, 0)

    async def do_claim_bulk(self, me: Worker, _: int) -> None:
        await self.claims(me, 1)

    async def do_take_due(self, me: Worker, _: int) -> None:
        for event in await me.take_due():
            assert event.lane is not None
            assert self.at_work[event.lane] == event.id, "what waited was not what blocks the lane"
            assert all(event.id not in running for running in self.held.values()), "it runs already"
            self.held.setdefault(me.id, {})[event.id] = event

    async def settles(self, me: Worker, number: int, settle: Callable[[Claimed], Awaitable[set[int]]]) -> Claimed | None:
        if (event := self.mine(me, number)) is not None:
            assert await settle(event) == {event.id}
        return event

    async def do_done(self, me: Worker, number: int) -> None:
        if (event := await self.settles(me, number, me.done)) is not None and event.lane is not None:
            self.ends(me, event)
            self.settled.append((event.lane, event.id))

    async def do_skip(self, me: Worker, number: int) -> None:
        if (event := await self.settles(me, number, me.skip)) is not None and event.lane is not None:
            self.ends(me, event)
            self.settled.append((event.lane, event.id))

    async def do_bury(self, me: Worker, number: int) -> None:
        if (event := await self.settles(me, number, me.bury)) is not None and event.lane is not None:
            self.ends(me, event)
            self.buried.append((event.lane, event.id))

    async def do_retry(self, me: Worker, number: int) -> None:
        if (event := await self.settles(me, number, me.retry)) is not None:
            self.lets_go(me, event)

    async def do_hold(self, me: Worker, number: int) -> None:
        if (event := await self.settles(me, number, me.hold)) is not None:
            del self.held[me.id][event.id]  # no stale copy: a hold gives the same attempt out again

    async def do_done_and_next(self, me: Worker, number: int) -> None:
        if (event := self.mine(me, number)) is None or event.lane is None:
            return
        counted, taken = await me.done_and_next(event)
        assert counted == {event.id}
        self.ends(me, event)
        self.settled.append((event.lane, event.id))
        if taken:
            assert taken[0][0] == event.id
            self.starts(me, taken[0][1])
        else:
            assert not self.waiting[event.lane, event.urgency] or (event.urgency == 1 and self.waiting[event.lane, 0])

    async def do_cover(self, me: Worker, number: int) -> None:
        """Coalescing: the head takes what waits behind it."""
        if (event := self.mine(me, number)) is None or event.lane is None:
            return
        behind = (await lanes.followers(me.connection, [event])).get(event.lane_key, [])
        queue = self.waiting[event.lane, event.urgency]
        assert [follower for follower, _ in behind] == queue
        covered = tuple(queue[:2])
        assert await lanes.finish(me.connection, [End(event, STARTED, 5, "d", None, covered)], worker=me.id) == {event.id}
        self.ends(me, event)
        self.settled += [(event.lane, each) for each in (event.id, *covered)]
        del queue[: len(covered)]

    async def do_stale(self, me: Worker, number: int) -> None:
        """I3: whatever an earlier owner or attempt says changes nothing."""
        if self.stale:
            owner, event = self.stale[number % len(self.stale)]
            for settle in (owner.done, owner.skip, owner.retry, owner.bury):
                assert await settle(event) == set()
            assert await owner.done_and_next(event) == (set(), [])

    async def do_hand_back(self, me: Worker, _: int) -> None:
        running = self.held.pop(me.id, {})
        assert await lanes.hand_back(me.connection, worker=me.id) == len(running)

    async def do_die(self, me: Worker, _: int) -> None:
        """A crash, found by the other; the dead one begins again as a new incarnation."""
        await me.die()
        running = self.held.pop(me.id, {})
        self.stale += [(me, event) for event in running.values()]
        other = next(each for each in self.workers if each is not me)
        poison = set(await lanes.bury_poison(other.connection))
        freed = set(await lanes.release_orphans(other.connection))
        assert poison == {event.id for event in running.values() if event.crashes >= 2}
        assert freed == running.keys() - poison
        for event in running.values():
            if event.id in poison and event.lane is not None:
                del self.at_work[event.lane]
                self.buried.append((event.lane, event.id))
        self.workers[self.workers.index(me)] = await me.again()

    async def do_release(self, me: Worker, _: int) -> None:
        await lanes.release_held(me.connection, "ghl", limit=1)

    # ── people

    async def do_replay(self, me: Worker, number: int) -> None:
        if self.settled:
            lane, event_id = self.settled.pop(number % len(self.settled))
            assert await events.replay(me.connection, event_id, by="ada")
            assert not await events.replay(me.connection, event_id, by="eve")
            self.joins_bulk(lane, event_id)

    async def do_retry_dead(self, me: Worker, number: int) -> None:
        if self.buried:
            lane, event_id = self.buried.pop(number % len(self.buried))
            assert await dead.retry(me.connection, [event_id], by="ada") == [event_id]
            assert await dead.retry(me.connection, [event_id], by="eve") == []
            self.joins_bulk(lane, event_id)

    async def do_discard(self, me: Worker, number: int) -> None:
        if self.buried:
            lane, event_id = self.buried.pop(number % len(self.buried))
            assert await dead.discard(me.connection, [event_id], by="ada", reason="a test") == [event_id]
            self.settled.append((lane, event_id))

    def joins_bulk(self, lane: str, event_id: int) -> None:
        self.waiting[lane, 1] = sorted([*self.waiting[lane, 1], event_id])


@pytest.fixture
async def two_workers(postroom: Postroom) -> AsyncIterator[list[Worker]]:
    async with worker(postroom) as one, worker(postroom) as other:
        yield [one, other]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(script=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 11)), min_size=20, max_size=60))
async def test_no_order_of_acts_breaks_an_invariant(postroom: Postroom, two_workers: list[Worker], script: list[tuple[str, int]]) -> None:
    await postroom.pool.execute(f"truncate {await postroom.pool.fetchval(EMPTY)}")
    model = Model(postroom, [await each.again() for each in two_workers])
    for action, number in script:
        note(f"{action} {number}")
        await model.act(action, number)
    await check_invariants(postroom)
    totals = await postroom.totals()
    assert (totals["done"] + totals["skipped"], totals["dead"]) == (len(model.settled), len(model.buried))
    assert totals["pending"] == sum(map(len, model.waiting.values())) + len(model.at_work)
