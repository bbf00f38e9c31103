"""What flows and what waits (P10): limits, breakers that dispatchers share, probes, pauses, and destinations that are not set up."""

import asyncio
from typing import Any

from dispatcher import destinations as module
from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.errors import Failed
from dispatcher.outcome import Done, Outcome, Skipped
from dispatcher.routes import Route
from outbox import Claimed, Event
from outbox.store import destinations as store
from outbox.testing import Postroom
from simulators.ghl import GhlSimulator
from tests.dispatcher.appointments import appointment
from tests.dispatcher.handling import Blocking, everything_is_over, fate, has, hurrying, is_over, is_so, returning
from tests.dispatcher.running import dispatching, eventually, stage_all

Ghl = tuple[GhlSimulator, str]
ALL_HELD = "select count(*) = $1 from outbox.busy where due_at = 'infinity'"
PROBE_NOW = "update outbox.destinations set until = now() - interval '1 ms' where state in ('open', 'unauthorised')"


async def row(postroom: Postroom) -> dict[str, Any]:
    [found] = await postroom.rows("select state, opened from outbox.destinations where name = 'crm'")
    return found


# ── limits


async def test_a_destination_takes_no_more_than_its_share_and_the_rest_is_held_at_no_cost(postroom: Postroom) -> None:
    crm, free = Blocking.new(), returning(Done())
    routes = {"test.crm": Route(crm, destination="crm"), "test.free": Route(free), "test.other": Route(free, destination="other")}
    settings = DispatcherSettings(concurrency=20, destination_concurrency=3)
    async with dispatching(postroom.dsn, routes, settings=settings):
        ids = await stage_all(postroom, *(Event("test.crm", {}) for _ in range(12)))
        await eventually(has(postroom, ALL_HELD, 9))
        assert crm.runs == 3
        rest = await stage_all(postroom, *(Event("test.free", {}) for _ in range(5)), *(Event("test.other", {}) for _ in range(5)))
        await eventually(is_over(postroom, *rest), within_s=5)
        crm.release.set()
        await eventually(is_over(postroom, *ids))
    assert crm.runs == 12
    assert await postroom.rows("select distinct attempt, outcome::text from outbox.attempts") == [{"attempt": 1, "outcome": "d"}]


async def test_held_events_are_let_go_oldest_first_as_room_becomes_free(postroom: Postroom) -> None:
    order: list[int] = []
    at_work = most = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        order.append(event.id)
        await asyncio.sleep(0.005)
        at_work -= 1
        return Done()

    await store.pause(postroom.pool, "crm", why="for now", by="ana")
    settings = DispatcherSettings(concurrency=100, destination_concurrency=4)
    ids = await stage_all(postroom, *(Event("test.crm", {}) for _ in range(60)))
    async with dispatching(postroom.dsn, {"test.crm": Route(handler, destination="crm")}, settings=settings):
        await eventually(has(postroom, ALL_HELD, 60))
        await store.resume(postroom.pool, "crm", by="ana")
        await eventually(is_over(postroom, *ids))
    assert most <= 4
    assert sorted(order) == ids
    # Eight are let go at a time and four of them find room, the oldest: none is overtaken by more than the next few.
    assert max(order.index(event_id) - n for n, event_id in enumerate(ids)) <= 12


async def test_a_backlog_of_held_bulk_events_delays_no_live_event(postroom: Postroom) -> None:
    bulk, live = Blocking.new(), returning(Done())
    routes = {"test.bulk": Route(bulk, destination="crm"), "test.live": Route(live, destination="crm")}
    settings = DispatcherSettings(concurrency=100, destination_concurrency=4)
    old = await stage_all(postroom, *(Event("test.bulk", {}) for _ in range(30)))
    await postroom.pool.execute("update outbox.pending set urgency = 1")
    async with dispatching(postroom.dsn, routes, settings=settings):
        await eventually(has(postroom, ALL_HELD, 27))  # three run: the fourth place is for live events
        for _ in range(3):
            await eventually(is_over(postroom, *await stage_all(postroom, Event("test.live", {}))), within_s=5)
        await store.pause(postroom.pool, "crm", why="for now", by="ana")
        await eventually(lambda: seen_paused(postroom))
        late = await stage_all(postroom, *(Event("test.live", {}) for _ in range(3)))
        await eventually(has(postroom, ALL_HELD, 30))
        await store.resume(postroom.pool, "crm", by="ana")
        await eventually(is_over(postroom, *late), within_s=10)  # although 27 older ones were held before them
        assert bulk.runs == 3
        bulk.release.set()
        await eventually(is_over(postroom, *old))


async def test_a_backlog_of_held_live_events_leaves_one_place_to_bulk_events(postroom: Postroom) -> None:
    order: list[int] = []

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        order.append(event.id)
        await asyncio.sleep(0.01)
        return Done()

    await store.pause(postroom.pool, "crm", why="for now", by="ana")
    settings = DispatcherSettings(concurrency=100, destination_concurrency=4)
    live = await stage_all(postroom, *(Event("test.crm", {}) for _ in range(400)))
    bulk = await stage_all(postroom, Event("test.crm", {}))
    await postroom.pool.execute("update outbox.pending set urgency = 1 where event_id = $1", bulk[0])
    async with dispatching(postroom.dsn, {"test.crm": Route(handler, destination="crm")}, settings=settings):
        await eventually(has(postroom, ALL_HELD, 401), within_s=20)
        await store.resume(postroom.pool, "crm", by="ana")
        await eventually(is_over(postroom, *live, *bulk), within_s=30)
    assert order.index(bulk[0]) < 100


async def test_bulk_events_that_find_no_room_are_left_in_peace(postroom: Postroom) -> None:
    """A place is free, but it is for live events: letting bulk ones go would only bring them back."""
    bulk = Blocking.new()
    settings = DispatcherSettings(concurrency=100, destination_concurrency=4)
    ids = await stage_all(postroom, *(Event("test.bulk", {}) for _ in range(20)))
    await postroom.pool.execute("update outbox.pending set urgency = 1")
    async with dispatching(postroom.dsn, {"test.bulk": Route(bulk, destination="crm")}, settings=settings):
        await eventually(has(postroom, ALL_HELD, 17))
        where = "select event_id, ctid::text from outbox.busy order by event_id"
        before = await postroom.rows(where)
        await asyncio.sleep(4 * module.RELEASE_S)  # some looks for what may go
        assert await postroom.rows(where) == before
        bulk.release.set()
        await eventually(is_over(postroom, *ids))


async def seen_paused(postroom: Postroom) -> bool:
    """A live event does not pass any more."""
    [event_id] = await stage_all(postroom, Event("test.unrouted", {}))
    await eventually(is_over(postroom, event_id))
    await asyncio.sleep(module.WATCH_S + 0.2)  # one look at the shared states
    return True


# ── in the engine


async def test_a_pause_with_an_end_resumes_by_itself(postroom: Postroom) -> None:
    await store.pause(postroom.pool, "crm", why="the shop moves house", by="ana", seconds=600)
    async with dispatching(postroom.dsn, {"test.crm": Route(returning(Done()), destination="crm")}):
        [event_id] = await stage_all(postroom, Event("test.crm", {}))
        await eventually(has(postroom, ALL_HELD, 1))
        paused_at = await postroom.value("select clock_timestamp()")
        await store.pause(postroom.pool, "crm", why="the shop has moved", by="ana", seconds=1.5)
        await eventually(is_over(postroom, event_id), within_s=10)
    assert (
        await postroom.value("select extract(epoch from started_at - $1)::float8 from outbox.attempts where outcome = 'd'", paused_at) > 1
    )
    assert (await fate(postroom, event_id)).outcomes == "d"
    assert (await row(postroom))["state"] == "flowing"


async def test_two_dispatchers_share_an_outage_and_its_end(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    outage = simulator.faults.add("answer", "**", status=503, times=None)
    async with dispatching(postroom.dsn, settings=simulated), dispatching(postroom.dsn, settings=simulated):
        await stage_all(postroom, *(appointment("confirmed", number=f"a{n}") for n in range(6)))
        await eventually(has(postroom, ALL_HELD, 6))
        await asyncio.sleep(module.WATCH_S + 0.3)  # both have looked
        before = simulator.requests.total
        await stage_all(postroom, *(appointment("confirmed", number=f"b{n}") for n in range(3)))
        await eventually(has(postroom, ALL_HELD, 9))
        assert simulator.requests.total == before  # nobody tried
        await postroom.pool.execute(PROBE_NOW)
        await eventually(lambda: is_so(simulator.requests.total > before))
        await eventually(has(postroom, "select opened = 2 from outbox.destinations"))
        assert simulator.requests.total == before + 1  # one of the two, once
        simulator.faults.clear(outage)
        await postroom.pool.execute(PROBE_NOW)
        await eventually(everything_is_over(postroom), within_s=40)
    assert simulator.effects.count("note") == 9
    assert await postroom.value("select count(*) from outbox.attempts where outcome in ('x', 'c')") == 0


async def test_one_event_that_breaks_the_destination_does_not_keep_it_closed(postroom: Postroom) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        if event.json()["breaks"]:
            raise Failed("crm", "it broke", status=500)
        return Done()

    [bad] = await stage_all(postroom, Event("test.crm", {"breaks": True}))
    async with dispatching(postroom.dsn, {"test.crm": Route(handler, destination="crm")}):
        async with hurrying(postroom.hurry):
            await eventually(has(postroom, ALL_HELD, 1))
        good = await stage_all(postroom, *(Event("test.crm", {"breaks": False}) for _ in range(5)))
        await eventually(has(postroom, ALL_HELD, 6))
        async with hurrying(lambda: postroom.pool.execute(PROBE_NOW)):
            await eventually(is_over(postroom, *good))
    assert (await fate(postroom, bad)).state == "pending"


async def test_a_probe_that_never_called_the_destination_opens_nothing(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    simulator.faults.add("answer", "**", status=503, times=None)
    async with dispatching(postroom.dsn, settings=simulated):
        await stage_all(postroom, *(appointment("confirmed", number=f"a{n}") for n in range(5)))
        await eventually(has(postroom, ALL_HELD, 5))
        [nobody] = await stage_all(postroom, appointment("confirmed", number="nobody", contact=None))
        await eventually(has(postroom, ALL_HELD, 6))
        async with hurrying(lambda: postroom.pool.execute(PROBE_NOW)):
            await eventually(is_over(postroom, nobody))
        assert (await postroom.rows("select state from outbox.destinations"))[0]["state"] == "open"
        assert await postroom.value("select max(failures) from outbox.busy") == 0


async def test_skips_without_a_call_do_not_hide_a_failing_destination(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    """Five failures with skips in between are still five in a row."""
    simulator = ghl[0]
    simulator.put_contact("c1")
    simulator.faults.add("answer", "**", status=503, times=None)
    async with dispatching(postroom.dsn, settings=simulated):
        for n in range(5):
            [skipped] = await stage_all(postroom, appointment("confirmed", number=f"s{n}", contact=None))
            await eventually(is_over(postroom, skipped))
            await stage_all(postroom, appointment("confirmed", number=f"a{n}"))
            await eventually(has(postroom, "select count(*) >= $1 from outbox.busy where owner is null", n + 1))
        await eventually(has(postroom, "select exists (select from outbox.destinations where state = 'open')"), within_s=3)


async def test_events_of_a_destination_that_is_not_set_up_wait_until_a_dispatcher_has_it(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    ids = await stage_all(postroom, *(appointment("confirmed", number=f"a{n}") for n in range(6)))
    async with dispatching(postroom.dsn):  # no GHL_API_KEY
        await eventually(has(postroom, ALL_HELD, 6))
        assert {(await fate(postroom, event_id)).why for event_id in ids} == {"held for ghl"}
        async with dispatching(postroom.dsn, settings=simulated):
            await eventually(is_over(postroom, *ids))
    assert simulator.effects.count("note") == 6
    assert await postroom.rows("select distinct outcome::text, attempt from outbox.attempts") == [{"outcome": "d", "attempt": 1}]


async def test_the_same_holds_for_notion(postroom: Postroom) -> None:
    [event_id] = await stage_all(postroom, Event("notion.page.created", {}, lane="notion:page:0da7aba5-e000-4000-8000-000000000001"))
    async with dispatching(postroom.dsn):
        await eventually(has(postroom, ALL_HELD, 1))
    assert (await fate(postroom, event_id)).why == "held for notion"


async def test_a_destination_known_to_handlers_only_needs_no_setting(postroom: Postroom) -> None:
    [event_id] = await stage_all(postroom, Event("test.crm", {}))
    async with dispatching(postroom.dsn, {"test.crm": Route(returning(Skipped("fine")), destination="crm")}):
        await eventually(is_over(postroom, event_id))
