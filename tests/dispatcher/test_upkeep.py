"""Housekeeping: done by whoever gets the turn, by two at once without harm, and never in the way of the events."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from dispatcher import upkeep as module
from dispatcher.line import Line
from dispatcher.outcome import Done
from dispatcher.routes import Route
from dispatcher.upkeep import Upkeep
from outbox import Event
from outbox.store import days
from outbox.testing import Postroom
from tests.dispatcher.handling import Blocking, has, is_over, is_so, returning
from tests.dispatcher.running import dispatching, eventually, stage_all

KEEP_DAYS = 90
TODAY = datetime.now(UTC).date()
ALL_HANDLED = "select not exists (select from outbox.busy) and not exists (select from outbox.pending)"


@pytest.fixture
async def upkeep(postroom: Postroom) -> AsyncIterator[tuple[Upkeep, Upkeep]]:
    """Those of two workers."""
    lines = [Line(postroom.dsn, name="postroom:upkeep") for _ in range(2)]
    yield Upkeep(lines[0], keep_days=KEEP_DAYS), Upkeep(lines[1], keep_days=KEEP_DAYS)
    for line in lines:
        await line.close()
    await days.open_days(postroom.pool)
    for day in await partitions(postroom):
        if day < TODAY:
            await drop(postroom, day)


async def partitions(postroom: Postroom, table: str = "events") -> list[date]:
    rows = await postroom.rows(
        "select inhrelid::regclass::text part from pg_inherits where inhparent = $1::text::regclass", f"outbox.{table}"
    )
    return sorted(datetime.strptime(row["part"][-8:], "%Y%m%d").replace(tzinfo=UTC).date() for row in rows)


async def drop(postroom: Postroom, day: date) -> None:
    for table in days.PARTITIONED:
        await postroom.pool.execute(f"drop table if exists outbox.{table}_{day:%Y%m%d}")


async def past_event(postroom: Postroom, days_ago: int, *, done: bool) -> int:
    """An event of a day long gone, whose partition is there as if that day's upkeep had made it."""
    day = TODAY - timedelta(days=days_ago)
    first, end = [await postroom.value("select outbox.first_id($1::date)", of) for of in (day, day + timedelta(days=1))]
    for table in days.PARTITIONED:
        await postroom.pool.execute(
            f"create table if not exists outbox.{table}_{day:%Y%m%d} partition of outbox.{table} for values from ({first}) to ({end})"
        )
    event_id: int = first + int(await postroom.value("select nextval('outbox.event_ids') % 1000000"))
    await postroom.pool.execute(
        """with e as (insert into outbox.events (id, staged_at, source, kind, key, payload)
                      values ($1, $3, 'app', 'test.work', $2, '{}') returning id),
                k as (insert into outbox.keys (digest, event_id) select outbox.digest('app', $2), id from e)
           insert into outbox.duplicates (event_id) select id from e""",
        event_id,
        f"key-{event_id}",
        datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
    )
    if done:
        await postroom.pool.execute(
            "insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome) values ($1, now(), 1, 1, 0, 'd')",
            event_id,
        )
    else:
        await postroom.pool.execute("insert into outbox.pending (urgency, lane, event_id) values (0, $1, $1)", event_id)
    return event_id


async def test_the_days_to_come_have_their_partitions_before_they_come(postroom: Postroom, upkeep: tuple[Upkeep, Upkeep]) -> None:
    for day in (TODAY + timedelta(days=1), TODAY + timedelta(days=2)):
        await drop(postroom, day)
    assert await upkeep[0].once()
    for table in days.PARTITIONED:
        assert (await partitions(postroom, table))[-3:] == [TODAY + timedelta(days=n) for n in range(3)]


async def test_an_old_day_goes_with_its_keys_when_it_is_done_and_stays_when_it_is_not(
    postroom: Postroom, upkeep: tuple[Upkeep, Upkeep]
) -> None:
    over, undone = await past_event(postroom, 100, done=True), await past_event(postroom, 101, done=False)
    young = await past_event(postroom, 89, done=True)
    assert await upkeep[0].once()
    left = [row["id"] for row in await postroom.rows("select id from outbox.events order by id")]
    assert left == sorted([undone, young])
    for table in ("keys", "duplicates"):
        known = {row["event_id"] for row in await postroom.rows(f"select event_id from outbox.{table}")}
        assert (young in known, over in known) == (True, False)
    assert TODAY - timedelta(days=100) not in await partitions(postroom)


async def test_an_old_day_goes_after_its_last_event_was_handled(postroom: Postroom, upkeep: tuple[Upkeep, Upkeep]) -> None:
    """The dispatcher keeps house itself: its event may be over and gone with its day before anybody looks."""
    event_id, handler = await past_event(postroom, 120, done=False), Blocking.new()
    await upkeep[0].once()
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}):
        await asyncio.wait_for(handler.begun.wait(), 40)
        await upkeep[1].once()
        assert await postroom.value("select id from outbox.events") == event_id
        handler.release.set()
        await eventually(has(postroom, ALL_HANDLED))
    await upkeep[0].once()
    assert handler.runs == 1
    assert await postroom.value("select count(*) from outbox.events") == 0


async def test_whoever_comes_while_another_has_the_turn_leaves_it_to_him(postroom: Postroom, upkeep: tuple[Upkeep, Upkeep]) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval(module.LOCK)
        assert not await upkeep[0].once()
    assert await upkeep[0].once()


async def test_two_at_once_do_each_other_no_harm(postroom: Postroom, upkeep: tuple[Upkeep, Upkeep]) -> None:
    for round_ in range(6):
        for days_ago in (100, 110, 120):
            await past_event(postroom, days_ago + round_, done=True)
        turns = await asyncio.gather(upkeep[0].once(), upkeep[1].once())
        assert any(turns)
        if len(await partitions(postroom)) > 3:
            await upkeep[0].once()  # one that yielded left it to the next turn
        assert await postroom.value("select count(*) from outbox.events") == 0


async def test_a_day_that_another_dropped_meanwhile_is_dropped(
    postroom: Postroom, upkeep: tuple[Upkeep, Upkeep], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have listed it; only one can drop it."""
    await past_event(postroom, 100, done=True)
    real, turns = days._prune_keys, list[bool]()

    async def overtaken(*args: Any) -> None:
        await real(*args)
        if not turns:
            turns.append(True)
            turns.append(await upkeep[1].once())

    monkeypatch.setattr(days, "_prune_keys", overtaken)
    turns.append(await upkeep[0].once())
    assert turns == [True] * 3
    assert await postroom.value("select count(*) from outbox.events") == 0


async def test_workers_that_ended_long_ago_are_forgotten(postroom: Postroom, upkeep: tuple[Upkeep, Upkeep]) -> None:
    await postroom.pool.execute(
        """insert into outbox.workers (name, until, ended_at) values
           ('old', now(), now() - interval '2 days'), ('young', now(), now() - interval '1 hour'),
           ('alive', now() + interval '9 s', null)"""
    )
    await upkeep[0].once()
    assert [row["name"] for row in await postroom.rows("select name from outbox.workers order by id")] == ["young", "alive"]


async def test_upkeep_that_fails_stops_no_event(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0

    async def broken(_: Upkeep) -> bool:
        nonlocal tried
        tried += 1
        raise LookupError("a relation is not what it should be (injected)")

    monkeypatch.setattr(Upkeep, "once", broken)
    monkeypatch.setattr(module, "EVERY_S", 0.05)
    async with dispatching(postroom.dsn, {"test.work": Route(returning(Done()))}):
        await eventually(lambda: is_so(tried > 2))
        await eventually(is_over(postroom, *await stage_all(postroom, Event("test.work", {}))))
    assert await postroom.value("select count(*) from outbox.workers") == 1


async def test_what_keeps_old_days_is_said_once_and_again_when_it_changes(
    postroom: Postroom, upkeep: tuple[Upkeep, Upkeep], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(module.log, "warning", lambda _, **facts: said.append(facts))
    first = await past_event(postroom, 101, done=False)
    await past_event(postroom, 95, done=False)
    for _ in range(3):
        assert await upkeep[0].once()
    older, younger = str(TODAY - timedelta(days=101)), str(TODAY - timedelta(days=95))
    assert said == [{"days": [older, younger], "oldest_event": first}]
    async with dispatching(postroom.dsn, {"test.work": Route(returning(Done()))}):
        await eventually(has(postroom, ALL_HANDLED))
    said.clear()  # that dispatcher has an upkeep of its own
    event_id = await past_event(postroom, 95, done=False)
    for _ in range(2):
        assert await upkeep[0].once()
    assert said == [{"days": [younger], "oldest_event": event_id}]


async def test_a_row_that_names_no_real_event_makes_no_day_to_be_told_of(
    postroom: Postroom, upkeep: tuple[Upkeep, Upkeep], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(module.log, "warning", lambda what, **_: said.append(what))
    await postroom.pool.execute("insert into outbox.busy (lane, event_id, urgency, due_at) values (1, -7, 0, 'infinity')")
    assert await upkeep[0].once()
    assert said == []


async def test_a_running_dispatcher_does_it_by_itself(postroom: Postroom) -> None:
    await drop(postroom, TODAY + timedelta(days=2))
    async with dispatching(postroom.dsn, {}):
        await eventually(
            has(postroom, "select to_regclass('outbox.events_' || to_char((now() at time zone 'UTC')::date + 2, 'YYYYMMDD')) is not null")
        )
