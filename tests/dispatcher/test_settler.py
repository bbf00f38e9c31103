"""Settlements: in batches, kept through an outage, counted once, and never standing in anybody's way."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from dispatcher.context import Context
from dispatcher.outcome import Dead, Done, Outcome, Retry, Skipped, Snooze
from dispatcher.routes import Route
from outbox import Claimed, DatabaseUnavailable, Event
from outbox.store import lanes
from outbox.testing import Drain, Postroom
from tests.dispatcher.handling import Blocking, everything_is_over, fate, has, is_over, is_so, returning
from tests.dispatcher.running import dispatching, eventually, stage_all

ENDS = {"d": Done(), "s": Skipped("nothing to do"), "x": Dead("broken"), "r": Retry("later", after_s=900), "z": Snooze(900, "not yet")}


async def test_every_kind_of_end_is_settled_in_one_run_and_they_add_up(postroom: Postroom, drain: Drain) -> None:
    routes = {f"test.{code}": Route(returning(outcome)) for code, outcome in ENDS.items()}
    await stage_all(postroom, *(Event(f"test.{code}", {}, lane=f"{code}{n % 3}") for n in range(9) for code in ENDS))
    totals = await drain(routes)
    assert totals == {"accepted": 45, "pending": 18, "dead": 9, "done": 9, "skipped": 9}
    rows = await postroom.rows("select outcome::text, count(*)::int from outbox.attempts group by outcome")
    # The head of a lane that waits holds back the two behind it.
    assert {row["outcome"]: row["count"] for row in rows} == {"d": 9, "s": 9, "x": 9, "r": 3, "z": 3}


@pytest.mark.parametrize(
    ("statement", "end"), [("finish_and_take", Done()), ("wait", Retry("later", after_s=900)), ("bury", Dead("broken"))]
)
async def test_a_settlement_whose_commit_is_unknown_is_sent_again_and_counts_once(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch, statement: str, end: Outcome
) -> None:
    real, sent = getattr(lanes, statement), Counter[str]()

    async def lost_once(*args: Any, **kwargs: Any) -> Any:
        answer = await real(*args, **kwargs)
        sent[statement] += 1
        if sent[statement] == 1:
            raise DatabaseUnavailable("the answer was lost (injected)")
        return answer

    monkeypatch.setattr(lanes, statement, lost_once)
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, {"test.work": Route(returning(end))}) as dispatcher:
        await eventually(lambda: is_so(sent[statement] == 2))
        await eventually(lambda: is_so(dispatcher.loop is not None and not dispatcher.loop.running))
    assert await postroom.value("select count(*) from outbox.attempts where event_id = $1", event_id) == 1


async def test_while_settlements_cannot_be_sent_nothing_is_claimed_and_the_process_lives(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, is_away, tried = lanes.finish_and_take, True, asyncio.Event()

    async def away(*args: Any, **kwargs: Any) -> Any:
        if is_away:
            tried.set()
            raise DatabaseUnavailable("away (injected)")
        return await real(*args, **kwargs)

    monkeypatch.setattr(lanes, "finish_and_take", away)
    handler = Blocking.new()
    handler.release.set()
    await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}):
        await asyncio.wait_for(tried.wait(), 5)
        later = await stage_all(postroom, Event("test.work", {}))
        longest_s = await longest_standstill(1.5)
        assert longest_s < 0.7  # the loop of this process went on all the time
        assert handler.runs == 1  # nothing was claimed that could not be settled
        is_away = False
        await eventually(is_over(postroom, *later), within_s=8)
    assert await postroom.value("select count(*) from outbox.attempts") == 2


async def test_an_outcome_found_during_an_outage_of_the_settling_connection_is_kept(postroom: Postroom) -> None:
    """The server ends the worker's connections under it, again and again."""
    ran: Counter[int] = Counter()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        ran[event.id] += 1
        await asyncio.sleep(0.002)
        return Done()

    ids = await stage_all(postroom, *(Event("test.work", {}, lane=f"l{n % 11}") for n in range(400)))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}) as dispatcher:
        for done in (40, 120, 200):
            await eventually(has(postroom, "select count(*) >= $1 from outbox.attempts", done))
            await postroom.value("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1",
                                 f"postroom:{dispatcher.worker}")  # fmt: skip
        await eventually(everything_is_over(postroom), within_s=30)
    assert set(ran) == set(ids)
    assert await postroom.value("select count(*) from outbox.attempts where outcome = 'd'") == 400


async def test_what_ends_while_a_statement_is_in_flight_goes_with_the_next_one(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = lanes.finish_and_take

    async def counted(connection: Any, ends: Any, **kwargs: Any) -> Any:
        sizes.append(len(ends))
        return await real(connection, ends, **kwargs)

    monkeypatch.setattr(lanes, "finish_and_take", counted)
    await stage_all(postroom, *(Event("test.work", {}) for _ in range(1000)))
    async with dispatching(postroom.dsn, {"test.work": Route(returning(Done()))}):
        await eventually(everything_is_over(postroom))
    assert sum(sizes) == 1000
    assert len(sizes) < 100


async def test_a_settlement_that_came_too_late_changes_nothing(postroom: Postroom) -> None:
    handler = Blocking.new()
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}) as dispatcher:
        await handler.begun.wait()
        await postroom.pool.execute("update outbox.busy set attempt = attempt + 1")  # as if it had been given to another run
        handler.release.set()
        await eventually(lambda: is_so(dispatcher.loop is not None and not dispatcher.loop.running))
        assert (await fate(postroom, event_id)).outcomes == ""


async def longest_standstill(seconds: float) -> float:
    """The longest pause of the event loop within that time."""
    longest, last, end = 0.0, time.monotonic(), time.monotonic() + seconds
    while last < end:
        await asyncio.sleep(0.01)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return longest
