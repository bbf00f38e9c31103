"""One lane at work in a command's own process: it leaves others alone, and what it leaves undone goes on elsewhere."""

import asyncio

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.routes import sync_routes
from dispatcher.services import services
from dispatcher.solo import work_on
from dispatcher.syncs.base import Sync
from dispatcher.syncs.run import Run
from outbox import DatabaseUnavailable, Event
from outbox.testing import Postroom
from tests.dispatcher.handling import is_so
from tests.dispatcher.running import eventually, stage_all
from tests.dispatcher.syncing import asked, carried_out, nothing, numbers, register, run_row, sync, written


async def alone(postroom: Postroom, one: Sync, stop: asyncio.Event) -> None:
    """As `postroom sync` does."""

    async def is_over() -> bool:
        return bool(await postroom.value("select bool_and(ended_at is not null) from outbox.runs"))

    async with services(postroom.dsn, DispatcherSettings.model_construct()) as shared:
        routes = sync_routes({one.name: one})
        await work_on("sync:numbers", dsn=postroom.dsn, services=shared, routes=routes, is_over=is_over, stop=stop)


async def test_it_works_through_its_lane_and_no_other(postroom: Postroom) -> None:
    one = sync(nothing)
    await register(postroom, one)
    [bystander] = await stage_all(postroom, Event("test.bystander", {}))
    first, second = await asked(postroom), await asked(postroom, dry_run=True)
    await alone(postroom, one, asyncio.Event())
    assert [(await run_row(postroom, run_id))["state"] for run_id in (first, second)] == ["done", "done"]
    assert await postroom.rows("select event_id from outbox.pending") == [{"event_id": bystander}]
    assert await postroom.rows("select id from outbox.workers where ended_at is null") == []


async def test_told_to_stop_it_hands_back_behind_the_page_and_a_dispatcher_goes_on(postroom: Postroom) -> None:
    stop = asyncio.Event()

    async def stop_it(run: Run) -> None:
        if run.checkpoint == 4 and not stop.is_set():
            stop.set()
            await eventually(lambda: is_so(run.ctx.is_stopping))

    one = sync(numbers(10, before_page=stop_it))
    await register(postroom, one)
    run_id = await asked(postroom)
    await alone(postroom, one, stop)
    row = await run_row(postroom, run_id)
    assert (row["state"], row["reason"], row["created"]) == ("waiting", "its dispatcher stops", 6)
    await carried_out(postroom, one)
    assert await written(postroom) == list(range(1, 11))
    assert (await run_row(postroom, run_id))["created"] == 10


async def test_interrupted_in_a_call_it_hands_the_run_back_at_once(postroom: Postroom) -> None:
    reached = asyncio.Event()

    async def hang(run: Run) -> None:
        if run.checkpoint == 2 and not reached.is_set():
            reached.set()
            await asyncio.sleep(60)

    one = sync(numbers(4, before_page=hang))
    await register(postroom, one)
    run_id = await asked(postroom)
    working = asyncio.create_task(alone(postroom, one, asyncio.Event()))
    await asyncio.wait_for(reached.wait(), 20)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert await postroom.rows("select why, due_at <= now() due from outbox.busy") == [
        {"why": "handed back by a stopping worker", "due": True}
    ]
    await carried_out(postroom, one)
    assert await written(postroom) == [1, 2, 3, 4]
    assert (await run_row(postroom, run_id))["state"] == "done"


async def test_a_database_that_falls_away_is_said_by_its_name(postroom: Postroom) -> None:
    async def is_over() -> bool:
        raise DatabaseUnavailable("away")

    async with services(postroom.dsn, DispatcherSettings.model_construct()) as shared:
        with pytest.raises(DatabaseUnavailable, match="away"):
            await work_on("sync:numbers", dsn=postroom.dsn, services=shared, routes={}, is_over=is_over, stop=asyncio.Event())
    assert await postroom.rows("select id from outbox.workers where ended_at is null") == []
