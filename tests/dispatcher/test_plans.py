"""A dispatcher carries plans on beside its events, through outages and beside a plan that fails."""

import asyncio

import pytest

from dispatcher.context import Context
from dispatcher.outcome import Dead, Done, Outcome
from dispatcher.plans import Plans
from dispatcher.routes import Route
from outbox.errors import DatabaseUnavailable
from outbox.event import Claimed
from outbox.store import plans
from outbox.store.dead import Filter
from outbox.store.plans import Act
from outbox.testing import Drain, Postroom
from tests.dispatcher.running import dispatching
from tests.outbox.engine import put
from tests.receiver.running import until


async def test_a_running_dispatcher_carries_a_plan_to_its_end(postroom: Postroom, drain: Drain) -> None:
    mended = False

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        return Done() if mended else Dead("no phone")

    for number in range(12):
        await put(postroom, f"lane-{number}")
    await drain({"a": Route(handler)})
    mended = True
    async with postroom.pool.acquire() as person:
        plan_id = await plans.make(person, Filter(), act=Act.RETRY, by="ana")
        assert plan_id is not None
        await plans.start(person, plan_id, canary=True, alone=True, leave_out=False)
    async with dispatching(postroom.dsn, {"a": Route(handler)}):

        async def is_done() -> bool:
            return bool(await postroom.value("select state = 'done' from outbox.plans"))

        await until(is_done)
    assert await plans.tally(postroom.pool, plan_id) == {"done": 12}
    assert [row["sent"] for row in await plans.portions(postroom.pool, plan_id)] == [1, 10, 1]


@pytest.mark.parametrize("problem", [DatabaseUnavailable("away"), ValueError("a bad row")], ids=["an outage", "a failure"])
async def test_it_goes_on_after_a_problem(postroom: Postroom, monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    looked = 0
    again = asyncio.Event()

    async def look(_: object) -> list[int]:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise problem
        again.set()
        return []

    monkeypatch.setattr(plans, "under_way", look)
    monkeypatch.setattr("dispatcher.plans.IDLE_S", 0.0)
    task = asyncio.create_task(Plans(postroom.pool).run())
    async with asyncio.timeout(10):
        await again.wait()
    task.cancel()


async def test_the_routes_of_the_dispatcher_that_began_last_are_told(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        return Done()

    await drain({"a": Route(handler), "b": Route(handler)})
    await drain({"a": Route(handler, destination="ghl", deadline_s=5, coalesce="a")})
    [row] = await postroom.rows("select kind, handler, destination, deadline_s, covers, retries, schedule_s from outbox.routes")
    assert (row["kind"], row["handler"], row["destination"], row["deadline_s"], row["covers"]) == ("a", "test_plans.handler", "ghl", 5, "a")
    assert row["retries"].startswith("3 quick retries after 1 s, 2 s, 4 s")
    assert row["schedule_s"][:4] == [1, 2, 4, 60]
