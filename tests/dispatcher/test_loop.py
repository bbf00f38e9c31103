"""The main loop: what it claims it runs, whatever happens to the answer of a statement; nobody's work keeps others' waiting."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from dispatcher import loop as loop_module
from dispatcher import settler as settler_module
from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome, Retry, Snooze
from dispatcher.policy.retry import RetryPolicy
from dispatcher.routes import Route
from outbox import Claimed, DatabaseUnavailable, Event
from outbox.store import dead, lanes
from outbox.testing import Drain, Postroom
from tests.dispatcher.handling import Blocking, everything_is_over, fate, has, is_over, is_so, returning
from tests.dispatcher.running import dispatching, eventually, stage_all

Lose = Callable[[str], "Lost"]


class Lost:
    """How often an answer was lost."""

    count = 0


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Lose:
    """`lose("claim")`: the first time that statement brings something, it is committed and its answer lost."""

    def install(name: str) -> Lost:
        real, lost = getattr(lanes, name), Lost()

        async def statement(*args: Any, **kwargs: Any) -> Any:
            answer = await real(*args, **kwargs)
            brought = answer.events if name == "claim" else answer[1] if name == "finish_and_take" else answer
            if brought and not lost.count:
                lost.count += 1
                raise DatabaseUnavailable("the answer was lost (injected)")
            return answer

        monkeypatch.setattr(lanes, name, statement)
        return lost

    return install


@pytest.fixture
def doubts_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two looks for what was lost follow each other quickly."""
    monkeypatch.setattr(loop_module, "STRAYS_EVERY_S", 0.2)


@pytest.mark.usefixtures("doubts_soon")
@pytest.mark.parametrize("statement", ["claim", "finish_and_take", "take_due"])
async def test_events_whose_claim_was_committed_but_not_answered_are_handled_all_the_same(
    postroom: Postroom, lose: Lose, statement: str
) -> None:
    ran: Counter[int] = Counter()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        ran[event.id] += 1
        return Snooze(0.01, "once more") if statement == "take_due" and ran[event.id] == 1 else Done()

    lost = lose(statement)
    ids = await stage_all(postroom, *(Event("test.work", {}, lane=f"l{n % 3}") for n in range(9)))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}):
        await eventually(is_over(postroom, *ids), within_s=10)
    assert lost.count == 1
    assert set(ran) == set(ids)
    assert max(ran.values()) == (2 if statement == "take_due" else 1)
    assert await postroom.value("select max(attempt) from outbox.attempts where outcome = 'd'") == (2 if statement == "take_due" else 1)


@pytest.mark.usefixtures("doubts_soon")
async def test_a_running_event_is_never_taken_for_a_lost_one(postroom: Postroom, lose: Lose) -> None:
    handler = Blocking.new()
    [event_id] = await stage_all(postroom, Event("test.slow", {}))
    async with dispatching(postroom.dsn, {"test.slow": Route(handler), "test.work": Route(returning(Done()))}):
        await handler.begun.wait()
        lost = lose("claim")
        ids = await stage_all(postroom, Event("test.work", {}))
        await eventually(is_over(postroom, *ids), within_s=10)
        await asyncio.sleep(0.5)  # two more looks
        handler.release.set()
        await eventually(is_over(postroom, event_id))
    assert (lost.count, handler.runs) == (1, 1)


async def test_news_that_come_while_a_look_is_under_way_are_looked_for_at_once(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    """That look began before the event was there. To rest first, as after a look that nobody disturbed, made one event in fifty late."""
    look, ask, said, told = lanes.claim, lanes.next_due, list[str](), asyncio.Event()

    async def claim(*args: Any, **kwargs: Any) -> Any:
        looked = await look(*args, **kwargs)
        if said == ["rested"]:  # so that this is the only look of its round
            told.set()
            assert dispatcher.loop is not None
            dispatcher.loop.notify()
        said.append("look")
        return looked

    async def next_due(*args: Any, **kwargs: Any) -> Any:
        if not told.is_set():
            said.clear()
        said.append("rested")
        return await ask(*args, **kwargs)

    async with dispatching(postroom.dsn) as dispatcher:
        monkeypatch.setattr(lanes, "claim", claim)
        monkeypatch.setattr(lanes, "next_due", next_due)
        await asyncio.wait_for(told.wait(), 10)
        await eventually(lambda: is_so(len(said) > 2))
    assert said[:3] == ["rested", "look", "look"]


async def test_a_claimed_head_runs_even_when_nobody_can_say_what_waits_behind_it(postroom: Postroom, lose: Lose) -> None:
    lost = lose("followers")
    ids = await stage_all(postroom, *(Event("test.read", {}, lane="one") for _ in range(5)))
    async with dispatching(postroom.dsn, {"test.read": Route(returning(Done()), coalesce="read")}):
        await eventually(is_over(postroom, *ids), within_s=10)
    assert lost.count == 1


async def test_an_event_that_runs_again_before_its_wait_is_reported_is_not_lost_sight_of(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its wait was short, and the answer that told of it slow: what ended is the first run, not the second."""
    again, release = asyncio.Event(), asyncio.Event()
    real = lanes.wait

    async def slow(*args: Any, **kwargs: Any) -> Any:
        answer = await real(*args, **kwargs)
        await again.wait()
        return answer

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        if event.attempt == 1:
            return Snooze(0.0, "once more")
        again.set()
        await release.wait()
        return Done()

    monkeypatch.setattr(lanes, "wait", slow)
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}) as dispatcher:
        await asyncio.wait_for(again.wait(), 5)
        other = await stage_all(postroom, Event("test.unrouted", {}))
        await eventually(is_over(postroom, *other))  # by then the first run's end was reported
        assert dispatcher.loop is not None
        assert list(dispatcher.loop.running) == [event_id]
        release.set()
        await eventually(is_over(postroom, event_id))
        assert dispatcher.loop.running == {}


async def test_events_that_are_retried_at_once_again_and_again_are_all_done(postroom: Postroom) -> None:
    runs: Counter[int] = Counter()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        runs[event.id] += 1
        return Retry("at once") if runs[event.id] < 30 else Done()

    ids = await stage_all(postroom, *(Event("test.work", {}) for _ in range(20)))
    at_once = RetryPolicy(quick=50, base_s=0, factor=1, slow_s=())
    async with dispatching(postroom.dsn, {"test.work": Route(handler, retry=at_once)}):
        await eventually(is_over(postroom, *ids))
    assert set(runs.values()) == {30}


async def test_what_only_waits_to_be_settled_takes_no_slot_and_is_never_more_than_the_slots(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, release = lanes.finish_and_take, asyncio.Event()
    ran: list[int] = []

    async def slow(*args: Any, **kwargs: Any) -> Any:
        await release.wait()
        return await settle(*args, **kwargs)

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        ran.append(event.id)
        return Done()

    monkeypatch.setattr(lanes, "finish_and_take", slow)
    ids = await stage_all(postroom, *(Event("test.work", {}) for _ in range(12)))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}, settings=DispatcherSettings(concurrency=2)):
        await eventually(lambda: is_so(len(ran) == 4))
        await asyncio.sleep(0.3)
        assert len(ran) == 4
        release.set()
        await eventually(is_over(postroom, *ids))
    assert sorted(ran) == ids


async def test_when_too_many_wait_to_be_settled_the_next_begin_as_soon_as_some_are(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's handler ends then, which is what else tells the loop that there is room."""
    settle, calls, release_first, release = lanes.finish_and_take, list[int](), asyncio.Event(), asyncio.Event()
    ran: list[int] = []

    async def slow(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        await (release_first if len(calls) == 1 else release).wait()
        return await settle(*args, **kwargs)

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        ran.append(event.id)
        return Done()

    monkeypatch.setattr(lanes, "finish_and_take", slow)
    monkeypatch.setattr(settler_module, "BATCH", 2)
    monkeypatch.setattr(loop_module, "LONGEST_REST_S", 5.0)
    ids = await stage_all(postroom, *(Event("test.work", {}) for _ in range(12)))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}, settings=DispatcherSettings(concurrency=2)):
        await eventually(lambda: is_so(len(ran) == 4 and len(calls) == 2))
        await asyncio.sleep(0.3)  # by now the loop rests, without room
        release_first.set()
        await eventually(lambda: is_so(len(ran) > 4), within_s=3)
        release.set()
        await eventually(is_over(postroom, *ids))


async def test_payloads_larger_than_the_memory_allowed_still_all_run(
    postroom: Postroom, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "MEMORY_BYTES", 50_000)
    at_work = most = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1
        return Done()

    await stage_all(postroom, *(Event("test.work", {"x": "y" * 20_000}, lane=f"l{n % 5}") for n in range(40)))
    assert (await drain({"test.work": Route(handler)}))["done"] == 40


# ── fairness


async def test_a_lane_with_2000_events_does_not_slow_others(postroom: Postroom) -> None:
    seen: dict[str | None, list[int]] = defaultdict(list)

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        seen[event.lane].append(event.id)
        return Done()

    hot = await stage_all(postroom, *(Event("test.work", {}, lane="hot") for _ in range(2000)))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}):
        await eventually(has(postroom, "select count(*) > 5 from outbox.attempts"))
        others = await stage_all(postroom, *(Event("test.work", {}, lane=f"l{n % 20}") for n in range(100)))
        await eventually(is_over(postroom, *others))
        assert len(seen["hot"]) < 2000  # the others did not wait for it
        await eventually(everything_is_over(postroom), within_s=30)
    assert seen["hot"] == hot
    assert sum(len(ids) for ids in seen.values()) == 2100


async def test_with_few_slots_each_lane_gets_its_turn(postroom: Postroom) -> None:
    order: list[str | None] = []

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        order.append(event.lane)
        return Done()

    await stage_all(postroom, *(Event("test.work", {}, lane="hot") for _ in range(300)))
    await stage_all(postroom, *(Event("test.work", {}, lane=f"l{n % 10}") for n in range(20)))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}, settings=DispatcherSettings(concurrency=2)):
        await eventually(everything_is_over(postroom), within_s=40)
    last_of_the_others = max(n for n, lane in enumerate(order) if lane != "hot")
    assert order[: last_of_the_others + 1].count("hot") < 200
    assert len(order) == 320


@pytest.mark.parametrize("slots", [1, 2])
async def test_even_one_slot_drains_everything(postroom: Postroom, slots: int) -> None:
    await stage_all(postroom, *(Event("test.work", {}, lane=f"l{n % 7}") for n in range(30)))
    async with dispatching(postroom.dsn, {"test.work": Route(returning(Done()))}, settings=DispatcherSettings(concurrency=slots)):
        await eventually(everything_is_over(postroom))


async def test_bulk_work_that_fills_its_slots_delays_no_live_event(postroom: Postroom) -> None:
    bulk, live = Blocking.new(), returning(Done())
    routes = {"test.bulk": Route(bulk), "test.live": Route(live)}
    old = await stage_all(postroom, *(Event("test.bulk", {}) for _ in range(20)))
    await postroom.pool.execute("update outbox.pending set urgency = 1")
    async with dispatching(postroom.dsn, routes, settings=DispatcherSettings(concurrency=4)):
        await eventually(lambda: is_so(bulk.runs >= 2))
        for _ in range(3):
            await eventually(is_over(postroom, *await stage_all(postroom, Event("test.live", {}))), within_s=5)
        assert bulk.runs < 4
        bulk.release.set()
        await eventually(is_over(postroom, *old))


async def test_a_retried_dead_letter_runs_although_live_events_never_cease(postroom: Postroom) -> None:
    stop = asyncio.Event()

    async def relay(event: Claimed, ctx: Context) -> Outcome:
        """Each live event stages the next: the loop never finds nothing to do."""
        if not stop.is_set():
            await stage_all(postroom, Event("test.live", {}))
        return Done()

    async def mended(event: Claimed, ctx: Context) -> Outcome:
        return Done()

    routes = {"test.live": Route(relay), "test.dead": Route(mended)}
    [event_id] = await stage_all(postroom, Event("test.dead", {}))
    await postroom.pool.execute(
        """with p as (delete from outbox.pending returning *)
           insert into outbox.dead (event_id, lane, urgency, attempt, fingerprint, reason)
           select event_id, lane, urgency, 1, 'f', 'broken' from p"""
    )
    await stage_all(postroom, *(Event("test.live", {}) for _ in range(4)))
    async with dispatching(postroom.dsn, routes):
        await eventually(has(postroom, "select count(*) > 50 from outbox.attempts"))
        await dead.retry(postroom.pool, [event_id], by="ana")
        took_s = await eventually(is_over(postroom, event_id), within_s=10)
        stop.set()
    assert took_s < 5
    assert (await fate(postroom, event_id)).outcomes.endswith("d")


# ── waking


async def test_an_event_staged_while_all_is_quiet_starts_at_once(postroom: Postroom) -> None:
    started: asyncio.Queue[float] = asyncio.Queue()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        started.put_nowait(time.monotonic())
        return Done()

    async with dispatching(postroom.dsn, {"test.work": Route(handler)}) as dispatcher:
        assert dispatcher.loop is not None
        await eventually(lambda: is_so(dispatcher.loop is not None and dispatcher.loop.listening))
        await asyncio.sleep(1)  # the pauses between looks have grown
        took = []
        for _ in range(5):
            staged = time.monotonic()
            await stage_all(postroom, Event("test.work", {}))
            took.append(await asyncio.wait_for(started.get(), 5) - staged)
    assert sorted(took)[2] < 0.25  # the median, since the machine is shared; the longest pause would be two seconds


async def test_an_event_whose_notification_was_lost_is_found_by_looking(postroom: Postroom) -> None:
    async with dispatching(postroom.dsn, {"test.work": Route(returning(Done()))}) as dispatcher:
        await eventually(lambda: is_so(dispatcher.loop is not None and dispatcher.loop.listening))
        async with postroom.pool.acquire() as connection:
            # Under the lock of whoever speaks for all, staging notifies nobody.
            async with connection.transaction():
                await connection.execute("select pg_advisory_xact_lock(7311, 2)")
                ids = await stage_all(postroom, Event("test.work", {}))
            await eventually(is_over(postroom, *ids), within_s=6)
