"""The schedule: each tick once, whoever looks; what was missed; what a person edited, paused or switched off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.config import DispatcherSettings
from dispatcher.context import Services
from dispatcher.schedule import Schedule
from dispatcher.services import services
from dispatcher.syncs.base import Default, Sync
from outbox import db
from outbox.cadence import Cron, Every
from outbox.store import runs, schedules, syncs
from outbox.store.runs import Trigger
from outbox.store.schedules import CatchUp
from outbox.testing import Postroom
from tests.dispatcher.syncing import asked, carried_out, numbers, sync

HOURLY = {"incremental": Default(Cron("0 * * * *"))}
NIGHTLY = {"full": Default(Cron("0 2 * * *", "Europe/Vienna"), CatchUp.SKIP)}


@asynccontextmanager
async def shared(postroom: Postroom) -> AsyncIterator[Services]:
    async with services(postroom.dsn, DispatcherSettings.model_construct()) as made:
        yield made


async def scheduled(postroom: Postroom, *table: Sync, looks: int = 1, pulls_first: bool = False) -> None:
    """As many dispatchers as `looks` have begun and look at the same moment."""
    syncs_ = {one.name: one for one in table}
    async with AsyncExitStack() as stack:
        made = [Schedule(await stack.enter_async_context(shared(postroom)), syncs_, pulls_first=pulls_first) for _ in range(looks)]
        await asyncio.gather(*(one.register() for one in made))
        await asyncio.gather(*(one.look() for one in made))


async def make_due(postroom: Postroom, *, ago: timedelta = timedelta(seconds=1), type_: str = "incremental") -> datetime:
    due: datetime = await postroom.value(
        "update outbox.schedules set due_at = now() - $1::interval where type = $2 returning due_at", ago, type_
    )
    return due


async def entry(postroom: Postroom, type_: str = "incremental") -> dict[str, Any]:
    [found] = await postroom.rows("select * from outbox.schedules where type = $1", type_)
    return found


async def test_a_tick_is_fired_once_by_three_dispatchers_that_look_at_once(postroom: Postroom) -> None:
    one = sync(numbers(2), schedules=HOURLY)
    await scheduled(postroom, one, looks=3)
    assert await postroom.staged() == []
    due_at = await make_due(postroom)
    await scheduled(postroom, one, looks=3)
    [event] = await postroom.staged()
    assert (event["kind"], event["source"], event["lane"]) == ("sync.numbers", "sync", "sync:numbers")
    assert event["key"] == f"sync:numbers:incremental:{due_at.astimezone(UTC).isoformat()}"
    assert await postroom.value("select urgency from outbox.pending") == 1
    [run] = await postroom.rows("select id, trigger, by_whom, state from outbox.runs")
    assert run == {"id": event["id"], "trigger": "schedule", "by_whom": None, "state": "queued"}
    after = await entry(postroom)
    assert after["fired_at"] == due_at
    assert (after["due_at"].minute, after["due_at"] > due_at) == (0, True)


async def test_the_same_tick_after_a_restore_is_known_by_its_key(postroom: Postroom) -> None:
    one = sync(numbers(2), schedules=HOURLY)
    await scheduled(postroom, one)
    due_at = await make_due(postroom)
    await scheduled(postroom, one)
    await carried_out(postroom, one)
    await postroom.pool.execute("update outbox.schedules set due_at = $1", due_at)
    await scheduled(postroom, one)
    assert len(await postroom.staged()) == 1


async def test_ticks_do_not_pile_up_behind_one_that_waits(postroom: Postroom) -> None:
    one = sync(numbers(2), schedules=HOURLY)
    await scheduled(postroom, one)
    for _ in range(3):
        await make_due(postroom)
        await scheduled(postroom, one)
    assert len(await postroom.staged()) == 1
    await asked(postroom)  # a person's run is another thing
    assert len(await postroom.staged()) == 2
    assert await postroom.totals() == {"accepted": 2, "pending": 2, "dead": 0, "done": 0, "skipped": 0}


async def test_missed_ticks_are_made_good_once_or_forgotten_as_the_schedule_says(postroom: Postroom) -> None:
    one = sync(numbers(2), schedules={**HOURLY, **NIGHTLY})
    await scheduled(postroom, one)
    await make_due(postroom, ago=timedelta(hours=30, minutes=10))
    await make_due(postroom, ago=timedelta(hours=30, minutes=10), type_="full")
    await scheduled(postroom, one)
    assert [event["payload"].count("incremental") for event in await postroom.staged()] == [1]
    assert (await entry(postroom, "full"))["fired_at"] is None
    assert (await entry(postroom, "full"))["due_at"] > datetime.now(UTC)


async def test_what_is_paused_off_or_switched_off_is_not_due_and_a_resumed_sync_makes_good(postroom: Postroom) -> None:
    one = sync(numbers(2), schedules=HOURLY)
    await scheduled(postroom, one)
    await syncs.pause(postroom.pool, "numbers", by="ada", why="a test")
    await make_due(postroom, ago=timedelta(hours=3))
    await scheduled(postroom, one)
    await scheduled(postroom, sync(numbers(2), schedules=HOURLY, off=lambda _: "NUMBERS_KEY is missing"))
    assert await postroom.staged() == []
    assert await postroom.value("select off from outbox.syncs") == "NUMBERS_KEY is missing"
    await syncs.resume(postroom.pool, "numbers")
    await schedules.switch(postroom.pool, "numbers", "incremental", on=False, due_at=datetime.now(UTC) - timedelta(hours=3), by="ada")
    await scheduled(postroom, one)
    assert await postroom.staged() == []
    await schedules.switch(postroom.pool, "numbers", "incremental", on=True, due_at=datetime.now(UTC) - timedelta(hours=3), by="ada")
    await scheduled(postroom, one)
    assert len(await postroom.staged()) == 1


async def test_a_new_default_of_the_code_counts_unless_a_person_edited_the_old_one(postroom: Postroom) -> None:
    await scheduled(postroom, sync(numbers(2), schedules=HOURLY))
    before = await entry(postroom)
    await scheduled(postroom, sync(numbers(2), schedules=HOURLY))
    assert await entry(postroom) == before  # a restart does not put a tick off
    changed = sync(numbers(2), schedules={"incremental": Default(Every(600))})
    await scheduled(postroom, changed)
    assert (await entry(postroom))["every_s"] == 600
    await schedules.put(
        postroom.pool, "numbers", "incremental", Cron("5 * * * *"), catch_up=CatchUp.SKIP, now=datetime.now(UTC), edited_by="ada"
    )
    await scheduled(postroom, changed)
    edited = await entry(postroom)
    assert (edited["cron"], edited["every_s"], edited["edited_by"], edited["due_at"].minute) == ("5 * * * *", None, "ada", 5)


async def test_an_entry_that_cannot_be_read_does_not_hold_up_the_others(postroom: Postroom) -> None:
    one, other = sync(numbers(2), schedules=HOURLY), sync(numbers(2), name="others", schedules=HOURLY)
    await scheduled(postroom, one, other)
    await postroom.pool.execute("update outbox.schedules set zone = 'Europe/Atlantis' where sync = 'numbers'")
    await make_due_both(postroom)
    await scheduled(postroom, one, other)
    assert [event["kind"] for event in await postroom.staged()] == ["sync.others"]


async def make_due_both(postroom: Postroom) -> None:
    await postroom.pool.execute("update outbox.schedules set due_at = now() - interval '1 s', edited_by = 'ada'")


async def test_an_external_cron_that_calls_twice_at_once_means_one_run(postroom: Postroom) -> None:
    await scheduled(postroom, sync(numbers(2)))

    async def call() -> tuple[int, bool]:
        async with db.transaction(postroom.pool) as connection:
            made = await runs.ask_once(connection, "numbers", "full", trigger=Trigger.CRON, by="cron")
        return made.id, made.is_new

    answers = await asyncio.gather(*(call() for _ in range(4)))
    assert len({run_id for run_id, _ in answers}) == 1
    assert [is_new for _, is_new in answers].count(True) == 1
    await carried_out(postroom, sync(numbers(2)))
    assert (await call())[1] is False
    await postroom.pool.execute("update outbox.runs set asked_at = asked_at - interval '6 min'")
    assert (await call())[1] is True


async def test_a_sync_that_has_never_run_begins_at_the_first_start_and_once_whoever_starts(postroom: Postroom) -> None:
    one = sync(numbers(2), schedules={**HOURLY, **NIGHTLY})
    await scheduled(postroom, one, looks=3, pulls_first=True)
    [event] = await postroom.staged()
    assert event["key"] == "sync:numbers:first"
    assert await postroom.rows("select type, trigger, by_whom from outbox.runs") == [
        {"type": "incremental", "trigger": "schedule", "by_whom": None}
    ]
    await carried_out(postroom, one)
    await scheduled(postroom, one, pulls_first=True)
    assert len(await postroom.staged()) == 1


async def test_what_is_off_paused_unscheduled_or_waits_for_its_tick_does_not_begin_by_itself(postroom: Postroom) -> None:
    table = [
        sync(numbers(1), name="off", schedules=HOURLY, off=lambda services: "RATES_KEY is missing"),
        sync(numbers(1), name="by-hand"),
        sync(numbers(1), name="waits", schedules=HOURLY, waits_for_tick=True),
        sync(numbers(1), name="paused", schedules=HOURLY),
    ]
    await scheduled(postroom, *table)
    await syncs.pause(postroom.pool, "paused", by="ada", why="not yet")
    await scheduled(postroom, *table, pulls_first=True)
    assert await postroom.staged() == []
    await scheduled(postroom, sync(numbers(1), name="off", schedules=HOURLY), pulls_first=True)
    assert [event["kind"] for event in await postroom.staged()] == ["sync.off"], "its credential came later"


async def test_a_sync_that_no_code_knows_any_more_is_off_until_it_is_known_again(postroom: Postroom) -> None:
    one, other = sync(numbers(1), schedules=HOURLY), sync(numbers(1), name="other")
    await scheduled(postroom, one, other)
    await syncs.register(postroom.pool, "other:account", destination=None, types=("full",), off=None)
    await scheduled(postroom, other)
    assert {row["name"]: row["off"] for row in await postroom.rows("select name, off from outbox.syncs")} == {
        "numbers": syncs.GONE,
        "other": None,
        "other:account": None,
    }
    await make_due(postroom)
    await scheduled(postroom, other)
    assert await postroom.staged() == []
    await scheduled(postroom, one, other)
    assert await postroom.value("select off from outbox.syncs where name = 'numbers'") is None
