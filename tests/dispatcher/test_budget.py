"""The rate budget of a credential: shared by all dispatchers through Postgres, live work first, resting when the far side says so."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from pydantic import SecretStr

from dispatcher import services as services_module
from dispatcher.budget import SharedBudget
from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_errors import classify_ghl
from dispatcher.clients.http import Http
from dispatcher.config import DispatcherSettings
from dispatcher.context import Services
from dispatcher.errors import RateLimited
from dispatcher.policy.ratelimit import Limits, Rate, ghl_limits
from dispatcher.routes import ROUTES
from dispatcher.service import Dispatcher, Stop
from outbox import DatabaseUnavailable, Event, db
from outbox.testing import Postroom
from simulators.ghl import GhlSettings, GhlSimulator
from simulators.serving import serve
from tests.dispatcher.appointments import appointment
from tests.dispatcher.calm import CALM
from tests.dispatcher.handling import everything_is_over, fate, has, hurrying, is_over, is_so
from tests.dispatcher.running import dispatching, eventually, stage_all

Ghl = tuple[GhlSimulator, str]
LIVE, BULK = 0, 1
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def budget(postroom: Postroom, rate: Rate, *, longest_wait_s: float = 10, credential: str = "crm:one") -> SharedBudget:
    return SharedBudget(postroom.pool, destination="crm", credential=credential, rate=rate, longest_wait_s=longest_wait_s)


async def take_at(taken: list[float], of: SharedBudget, urgency: int = LIVE) -> None:
    await of.take(urgency=urgency)
    taken.append(time.monotonic())


async def test_two_dispatchers_together_keep_the_rate_of_one(postroom: Postroom) -> None:
    rate = Rate(per_s=20, burst=5)
    one, other = budget(postroom, rate), budget(postroom, rate)
    taken: list[float] = []
    began = time.monotonic()
    await asyncio.gather(*(take_at(taken, of) for of in (one, other) for _ in range(15)))
    taken.sort()
    assert len(taken) == 30
    assert taken[-1] - began >= (30 - 5) / 20 - 0.05  # five at once, the others in turn
    for n in range(len(taken) - 12):  # no stretch is faster than the rate and a burst
        assert taken[n + 12] - taken[n] >= (12 - 5) / 20 - 0.05


async def test_other_credentials_have_budgets_of_their_own(postroom: Postroom) -> None:
    rate = Rate(per_s=0.001, burst=1)
    await budget(postroom, rate, credential="crm:one").take(urgency=LIVE)
    await asyncio.wait_for(budget(postroom, rate, credential="crm:two").take(urgency=LIVE), 2)


async def test_a_wait_that_would_be_too_long_is_a_rate_limit_and_the_event_waits_in_the_database(postroom: Postroom) -> None:
    slow = budget(postroom, Rate(per_s=0.01, burst=1), longest_wait_s=0.5)
    await slow.take(urgency=LIVE)
    with pytest.raises(RateLimited) as caught:
        await slow.take(urgency=LIVE)
    assert (caught.value.status, caught.value.happened) == (None, False)
    assert 90 < caught.value.retry_after_s <= 101


async def test_live_work_takes_what_bulk_work_has_to_leave(postroom: Postroom) -> None:
    shared = budget(postroom, Rate(per_s=0.01, burst=10), longest_wait_s=0.2)
    for _ in range(7):
        await shared.take(urgency=BULK)
    with pytest.raises(RateLimited):
        await shared.take(urgency=BULK)
    for _ in range(3):
        await shared.take(urgency=LIVE)
    with pytest.raises(RateLimited):
        await shared.take(urgency=LIVE)


async def test_live_calls_pass_bulk_calls_that_were_there_before_them(postroom: Postroom) -> None:
    shared, taken = budget(postroom, Rate(per_s=10, burst=4)), list[str]()

    async def call(word: str, urgency: int) -> None:
        await shared.take(urgency=urgency)
        taken.append(word)

    async with asyncio.TaskGroup() as calls:
        for _ in range(8):
            calls.create_task(call("bulk", BULK))
        await eventually(lambda: is_so(len(taken) >= 2))
        for _ in range(5):
            calls.create_task(call("live", LIVE))
    assert len(taken) == 13
    assert "bulk" not in taken[taken.index("live") : len(taken) - 1 - taken[::-1].index("live")]


@asynccontextmanager
async def client(postroom: Postroom, base_url: str, *, pool: db.Pool | None = None) -> AsyncIterator[GhlClient]:
    """GHL's client as one dispatcher has it."""
    shared = SharedBudget(pool or postroom.pool, destination="ghl", credential="ghl:one", rate=Rate(per_s=1000, burst=1000))
    settings = GhlSettings()
    async with Http("ghl", base_url, token=SecretStr(settings.token), classify=classify_ghl, budget=shared, read_limits=ghl_limits) as http:
        yield GhlClient(http, settings.location_id)


@pytest.mark.parametrize(
    ("headers", "rest_s"),
    [
        ({"retry-after": "1", "x-ratelimit-remaining": "0"}, 1.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-interval-milliseconds": "1500"}, 1.5),
    ],
    ids=["retry-after", "window"],
)
async def test_a_429_makes_every_dispatcher_rest(postroom: Postroom, ghl: Ghl, headers: dict[str, str], rest_s: float) -> None:
    simulator, base_url = ghl
    simulator.put_contact("c1")
    async with client(postroom, base_url) as one, client(postroom, base_url) as other:
        simulator.faults.add("answer", "**", status=429, headers=headers)
        with pytest.raises(RateLimited) as caught:
            await one.get_contact("c1")
        assert caught.value.retry_after_s == rest_s
        refused = simulator.requests.list()[-1].at
        await asyncio.gather(*(who.get_contact("c1") for who in (one, other) for _ in range(3)))
    after = [(seen.at - refused).total_seconds() for seen in simulator.requests.list()[1:]]
    assert len(after) == 6
    assert min(after) >= rest_s - 0.05


async def test_a_shorter_rest_never_ends_a_longer_one(postroom: Postroom) -> None:
    rate = Rate(per_s=10, burst=10)
    shared = SharedBudget(postroom.pool, destination="ghl", credential="ghl:one", rate=rate, longest_wait_s=0)
    for asked_s in (300, 1):
        await shared.learn(Limits(retry_after_s=asked_s), status=429)
    with pytest.raises(RateLimited) as caught:
        await shared.take(urgency=0)
    assert caught.value.retry_after_s > 290


async def test_a_days_quota_that_is_used_up_makes_events_wait_without_a_call(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    headers = {"x-ratelimit-daily-remaining": "0", "x-ratelimit-daily-reset": "7200000"}
    simulator.faults.add("answer", "**", status=429, headers=headers)
    async with dispatching(postroom.dsn, settings=simulated):
        [first] = await stage_all(postroom, Event("ghl.ContactUpdate", {}, lane="ghl:contact:c1"))
        await eventually(has(postroom, "select count(*) = 1 from outbox.busy where owner is null"))
        [second] = await stage_all(postroom, Event("ghl.ContactUpdate", {}, lane="ghl:contact:c2"))
        await eventually(has(postroom, "select count(*) = 2 from outbox.busy where owner is null"))
        for event_id in (first, second):
            found = await fate(postroom, event_id)
            assert (found.failures, found.attempt, found.why) == (0, 0, "ghl limits the rate")
            assert found.delay_s is not None
            assert 7100 < found.delay_s < 7200 * 1.3
    assert simulator.requests.total == 1
    assert (await postroom.rows("select state from outbox.destinations")) == []


async def test_dispatchers_keep_the_far_sides_limit_with_work_for_both(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted at the simulator, which would say 429 to the first call too many."""
    monkeypatch.setattr(services_module, "GHL_RATE", Rate(per_s=20, burst=5))
    simulator = GhlSimulator(GhlSettings(burst_limit=1000))
    for n in range(40):
        simulator.put_contact(f"c{n}")
    async with serve(simulator.app) as running:
        settings = DispatcherSettings.read(
            ghl_api_key=simulator.settings.token,
            ghl_location_id=simulator.settings.location_id,
            ghl_api_base_url=running.base_url,
            destination_concurrency=4,  # what one cannot take at once, the other may
        )
        async with dispatching(postroom.dsn, settings=settings), dispatching(postroom.dsn, settings=settings):
            await stage_all(postroom, *(Event("ghl.ContactUpdate", {}, lane=f"ghl:contact:c{n}") for n in range(40)))
            await eventually(everything_is_over(postroom))
    times = [seen.at for seen in simulator.requests.list()]
    assert len(times) == 40
    assert busiest(times, timedelta(seconds=1)) <= 20 + 5 + 2  # two that were on their way
    assert (times[-1] - times[0]).total_seconds() >= (40 - 5) / 20 - 0.2
    assert await postroom.value("select sum(used) from outbox.budgets") == 40
    owners = await postroom.value("select count(distinct owner) from outbox.attempts where outcome = 'd'")
    assert owners == 2


def busiest(times: list[datetime], window: timedelta) -> int:
    return max(sum(1 for later in times[n:] if later - at < window) for n, at in enumerate(times))


async def test_a_database_that_is_away_is_no_leave_to_call(postroom: Postroom, ghl: Ghl) -> None:
    simulator, base_url = ghl
    async with db.pool(NOWHERE, name="postroom:test", timeout_s=1) as nowhere, client(postroom, base_url, pool=nowhere) as lost:
        with pytest.raises(DatabaseUnavailable):
            await lost.get_contact("c1")
    assert simulator.requests.total == 0


async def test_an_effect_that_was_answered_counts_although_its_limits_could_not_be_noted(
    postroom: Postroom, ghl: Ghl, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator, base_url = ghl
    simulator.put_contact("c1")

    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("away (injected)")

    async with client(postroom, base_url) as ours:
        monkeypatch.setattr(SharedBudget, "learn", away)
        assert (await ours.create_note("c1", "hello")).id
    assert simulator.effects.count("note") == 1


async def test_an_outage_while_a_call_waits_for_its_turn_costs_the_event_no_failure(postroom: Postroom, ghl: Ghl) -> None:
    """The budget's database is away for the first calls, the engine's is not."""
    simulator, base_url = ghl
    simulator.put_contact("c1")

    class Away(SharedBudget):
        left = 2

        async def take(self, *, urgency: int) -> None:
            if Away.left:
                Away.left -= 1
                raise DatabaseUnavailable("away (injected)")
            await super().take(urgency=urgency)

    shared = Away(postroom.pool, destination="ghl", credential="ghl:one", rate=Rate(per_s=1000, burst=1000))
    [event_id] = await stage_all(postroom, appointment("confirmed"))
    async with dispatching_with(postroom, base_url, shared), hurrying(postroom.hurry):
        await eventually(is_over(postroom, event_id))
    assert (await fate(postroom, event_id)).outcomes == "rrd"
    assert simulator.effects.count("note") == 1


async def test_a_call_that_was_limited_before_it_was_sent_is_surely_not_done(postroom: Postroom, ghl: Ghl) -> None:
    simulator, base_url = ghl
    simulator.put_contact("c1")
    shared = budget(postroom, Rate(per_s=2, burst=1), longest_wait_s=0.01)
    [event_id] = await stage_all(postroom, appointment("confirmed"))
    async with dispatching_with(postroom, base_url, shared):
        await eventually(is_over(postroom, event_id))
    found = await fate(postroom, event_id)
    assert found.outcomes.endswith("d")
    assert set(found.outcomes[:-1]) == {"h"}
    assert simulator.requests.count("GET", "/contacts/*/notes") == 0  # nothing had to be looked up
    assert simulator.effects.count("note") == 1


@asynccontextmanager
async def dispatching_with(postroom: Postroom, base_url: str, shared: SharedBudget) -> AsyncIterator[None]:
    """A dispatcher whose GHL client has this budget."""
    settings, stop = GhlSettings(), Stop()
    async with Http("ghl", base_url, token=SecretStr(settings.token), classify=classify_ghl, budget=shared, read_limits=ghl_limits) as http:
        services = Services(postroom.pool, DispatcherSettings(), GhlClient(http, settings.location_id))
        task = asyncio.create_task(Dispatcher(postroom.dsn, services, ROUTES, syncs=CALM).run(stop))
        try:
            yield
        finally:
            stop.ask()
            await task


async def test_what_the_far_side_says_of_the_day_is_kept_for_people_to_see(postroom: Postroom) -> None:
    shared = budget(postroom, Rate(per_s=10, burst=10))
    await shared.take(urgency=LIVE)
    await shared.learn(Limits(daily_max=200_000, daily_remaining=199_998), status=200)
    await shared.learn(Limits(), status=200)
    assert await postroom.rows("select used, daily_left from outbox.budgets") == [{"used": 1, "daily_left": 199_998}]
