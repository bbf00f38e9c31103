"""Everything at once: several dispatchers, a far side that fails in every way it knows, workers replaced, connections cut.

At the end the totals add up (P7), each effect happened once (P6), and each lane was told in its order (P5).
"""

import random
from collections import Counter, defaultdict
from contextlib import AsyncExitStack

import pytest

from dispatcher import effects
from dispatcher import services as services_module
from dispatcher.config import DispatcherSettings
from dispatcher.policy.ratelimit import Rate
from outbox import DatabaseUnavailable
from outbox.testing import Postroom
from simulators.ghl import GhlSettings, GhlSimulator
from simulators.serving import serve
from tests.dispatcher.appointments import appointment
from tests.dispatcher.handling import everything_is_over, hurrying
from tests.dispatcher.running import dispatching, eventually, stage_all

WORDS = ("created", "updated", "confirmed", "cancelled", "completed")
WITH_TASK = {"created", "cancelled", "completed"}
HURRY = [
    "update outbox.busy set due_at = now() where owner is null and due_at < 'infinity' and due_at > now()",
    "update outbox.destinations set until = now() - interval '1 ms' where state in ('open', 'unauthorised') and probe is null",
    "update outbox.budgets set paused_until = null where paused_until > now()",
]


def misbehave(simulator: GhlSimulator) -> None:
    """About every fifth request meets something, until cleared."""
    for kind, settings in (
        ("drop", {"after_work": True}),
        ("drop", {"after_work": False}),
        ("cut", {}),
        ("truncate", {}),
        ("garble", {}),
        ("answer", {"status": 500}),
        ("answer", {"status": 500, "after_work": True}),
        ("answer", {"status": 503}),
        ("answer", {"status": 502, "after_work": True}),
        ("answer", {"status": 429, "headers": {"retry-after": "1"}}),
        ("answer", {"status": 401}),
        ("delay", {"delay_s": 0.05}),
    ):
        rare = settings.get("status") == 401
        simulator.faults.add(kind, times=None, probability=0.004 if rare else 0.02, **settings)


class Fleet:
    """Dispatchers that are replaced, and lose their connections, while they work."""

    def __init__(self, postroom: Postroom, settings: DispatcherSettings, rng: random.Random) -> None:
        self._postroom, self._settings, self._rng = postroom, settings, rng
        self._running: list[AsyncExitStack] = []
        self.happened: Counter[str] = Counter()

    async def __aenter__(self) -> "Fleet":
        for _ in range(2):
            await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for stack in self._running:
            await stack.aclose()

    async def _start(self) -> None:
        stack = AsyncExitStack()
        await stack.enter_async_context(dispatching(self._postroom.dsn, settings=self._settings))
        self._running.append(stack)

    async def strike(self) -> None:
        """One is stopped in the middle of its work, and another begins; or connections are cut."""
        if self._rng.random() < 0.4:
            self.happened["replaced"] += 1
            await self._running.pop(0).aclose()
            await self._start()
            return
        self.happened["cut"] += 1
        await self._postroom.pool.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
               where application_name ~ $1 and datname = current_database() and random() < 0.5""",
            self._rng.choice(["^postroom:[0-9]", "^postroom:handlers"]),
        )


async def torture(postroom: Postroom, monkeypatch: pytest.MonkeyPatch, *, seed: int, events: int, lanes_count: int, strikes: int) -> None:
    monkeypatch.setattr(services_module, "GHL_RATE", Rate(per_s=2000, burst=2000))
    monkeypatch.setattr(effects, "SETTLING_S", 0.5)
    rng = random.Random(seed)
    simulator = GhlSimulator(GhlSettings(burst_limit=1_000_000, daily_limit=10_000_000), rng=random.Random(seed))
    contacts = [f"c{n}" for n in range(10)]
    for contact in contacts:
        simulator.put_contact(contact)
    staged = [
        appointment(rng.choice(WORDS), number=f"a{n % lanes_count}", contact=contacts[n % lanes_count % len(contacts)])
        for n in range(events)
    ]
    ids = await stage_all(postroom, *staged)

    async def hurry() -> None:
        for statement in HURRY:
            await postroom.pool.execute(statement)

    async with serve(simulator.app) as running, AsyncExitStack() as stack:
        settings = DispatcherSettings.read(
            ghl_api_key=simulator.settings.token,
            ghl_location_id=simulator.settings.location_id,
            ghl_api_base_url=running.base_url,
            grace_s=0,
        )
        misbehave(simulator)
        fleet = await stack.enter_async_context(Fleet(postroom, settings, rng))
        await stack.enter_async_context(hurrying(hurry))
        for strike in range(strikes):
            part = events * (strike + 1) // (2 * strikes + 2)
            await eventually(lambda part=part: has_ended(postroom, part), within_s=120)  # type: ignore[misc]
            await fleet.strike()
        await eventually(lambda: has_ended(postroom, events * 2 // 3), within_s=120)
        simulator.faults.clear()
        await eventually(everything_is_over(postroom), within_s=120)

    # An alert of what was done to it may have been raised meanwhile; there is nobody to tell.
    assert Counter(event["state"] for event in await postroom.staged() if event["source"] != "alerts") == {"done": events}
    told = [int(effect.text.rpartition("postroom:")[2].partition(".")[0]) for effect in simulator.effects.list("note")]
    assert Counter(told) == Counter(ids)
    tasks = [int(effect.text.rpartition("postroom:")[2].partition(".")[0]) for effect in simulator.effects.list("task")]
    assert sorted(tasks) == [event_id for event_id, event in zip(ids, staged, strict=True) if event.kind.rpartition(".")[2] in WITH_TASK]
    in_lane: dict[str | None, list[int]] = defaultdict(list)
    lane_of = {event_id: event.lane for event_id, event in zip(ids, staged, strict=True)}
    for event_id in told:
        in_lane[lane_of[event_id]].append(event_id)
    assert all(order == sorted(order) for order in in_lane.values())
    assert len(simulator.requests.list()) > 3 * events  # it was worth the name
    assert fleet.happened.total() == strikes
    assert await postroom.value("select count(*) from outbox.busy") == 0


async def has_ended(postroom: Postroom, count: int) -> bool:
    try:
        return (await postroom.totals())["done"] >= count
    except DatabaseUnavailable:
        return False


async def test_faults_of_every_kind_leave_every_event_done_once_and_in_order(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    await torture(postroom, monkeypatch, seed=7, events=40, lanes_count=10, strikes=2)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
async def test_the_same_for_longer(postroom: Postroom, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    await torture(postroom, monkeypatch, seed=seed, events=300, lanes_count=40, strikes=8)
