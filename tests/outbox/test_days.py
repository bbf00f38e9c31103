"""Days: partitions made ahead, ids that follow the calendar, and old days dropped whole, but never with undone work."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from outbox.event import digest
from outbox.store import days, events
from outbox.testing import Postroom
from tests.outbox.engine import check_invariants, put, worker
from tests.outbox.waiting import until_it_waits_for_a_lock

KEEP = 30


def today() -> date:
    return datetime.now(UTC).date()


async def go_back(own: Postroom, days_ago: int) -> date:
    """Makes the partitions of a past day and lets ids be drawn from it, as if it were that day."""
    day = today() - timedelta(days=days_ago)
    for table in days.PARTITIONED:
        part = f"{table}_{day:%Y%m%d}"
        await own.pool.execute(f"create table outbox.{part} (like outbox.{table} including defaults including constraints)")
        bounds = await own.rows("select outbox.first_id($1) low, outbox.first_id($1 + 1) high", day)
        await own.pool.execute(
            f"alter table outbox.{table} attach partition outbox.{part} for values from ({bounds[0]['low']}) to ({bounds[0]['high']})"
        )
    await own.pool.execute("select setval('outbox.event_ids', outbox.first_id($1), true)", day)
    return day


async def past_event(own: Postroom, days_ago: int, *, key: str | None = None, settle: bool = True) -> tuple[date, int]:
    """An event of a past day, done unless it is left pending. The ids are back in today afterwards."""
    day = await go_back(own, days_ago)
    event_id = int(await own.value("select outbox.stage('a', '{}', key => $1, lane => 'chair:1')", key))
    await of_its_day(own)
    await days.open_days(own.pool)
    if settle:
        async with worker(own) as me:
            await me.done(*await me.claim())
    return day, event_id


async def of_its_day(own: Postroom) -> None:
    """Events were staged on the day that their ids say."""
    await own.pool.execute(
        "update outbox.events set staged_at = (date '1970-01-01' + (id >> 36)::int)::timestamp at time zone 'UTC' + interval '23 h'"
    )


async def partitions(own: Postroom, table: str = "events") -> list[date]:
    names = await own.rows(
        "select inhrelid::regclass::text part from pg_inherits where inhparent = $1::text::regclass order by 1", f"outbox.{table}"
    )
    return [datetime.strptime(row["part"][-8:], "%Y%m%d").replace(tzinfo=UTC).date() for row in names]


async def drop_old(own: Postroom, keep_days: int = KEEP) -> tuple[list[date], list[date]]:
    """The days dropped, and those kept."""
    async with own.pool.acquire() as connection:
        dropped, kept = await days.drop_old(connection, keep_days=keep_days)
    return dropped, [one.day for one in kept]


# ── made ahead


async def test_days_are_made_ahead_and_making_them_again_changes_nothing(own: Postroom) -> None:
    ahead = [today() + timedelta(days=n) for n in range(3)]
    for table in days.PARTITIONED:
        assert await partitions(own, table) == ahead
    before = await own.value("select outbox.stage('a', '{}')")
    await days.open_days(own.pool)
    for table in days.PARTITIONED:
        assert await partitions(own, table) == ahead
    assert await own.value("select outbox.stage('a', '{}')") == before + 1


async def test_two_that_make_days_at_once_do_not_race(own: Postroom) -> None:
    for day in await partitions(own):
        for table in days.PARTITIONED:
            await own.pool.execute(f"drop table outbox.{table}_{day:%Y%m%d}")
    connections = [await asyncpg.connect(own.dsn) for _ in range(4)]
    await asyncio.gather(*(days.open_days(connection) for connection in connections))
    for connection in connections:
        await connection.close()
    assert len(await partitions(own)) == 3


async def test_ids_go_on_in_the_last_day_until_somebody_opens_the_new_one(own: Postroom) -> None:
    yesterday = await go_back(own, 1)
    first = int(await own.value("select outbox.stage('a', '{}')"))
    assert first >> 36 == (yesterday - date(1970, 1, 1)).days
    await days.open_days(own.pool)
    second = int(await own.value("select outbox.stage('a', '{}')"))
    assert second >> 36 == (today() - date(1970, 1, 1)).days
    assert second == await own.value("select outbox.first_id($1) + 1", today())
    assert [event["id"] for event in await own.staged()] == [first, second]


async def test_a_clock_that_steps_back_takes_no_id_back(own: Postroom) -> None:
    await own.pool.execute("select setval('outbox.event_ids', outbox.first_id($1) + 1000, true)", today() + timedelta(days=1))
    await days.open_days(own.pool)
    assert await own.value("select outbox.stage('a', '{}')") == await own.value(
        "select outbox.first_id($1) + 1001", today() + timedelta(days=1)
    )


# ── dropped when old and done


async def test_an_old_day_is_dropped_with_its_keys_attempts_steps_and_counts(own: Postroom) -> None:
    day, event_id = await past_event(own, KEEP + 1, key="old")
    (fresh,) = await put(own, "chair:1")
    await own.pool.execute("select outbox.stage('a', '{}', key => 'fresh')")
    await own.pool.execute("insert into outbox.duplicates (event_id) values ($1), ($2)", event_id, fresh)
    await own.pool.execute("insert into outbox.steps (event_id, name, attempt, entry) values ($1, 'note', 1, 'd')", event_id)
    assert day in await partitions(own)
    assert await drop_old(own) == ([day], [])
    for table in days.PARTITIONED:
        assert day not in await partitions(own, table)
        assert len(await partitions(own, table)) == 3
    assert await own.rows("select digest from outbox.keys") == [{"digest": digest("app", "fresh")}]
    assert await own.rows("select event_id from outbox.duplicates") == [{"event_id": fresh}]
    assert await own.value("select count(*) from outbox.attempts") == 0
    assert await drop_old(own) == ([], [])
    await check_invariants(own)


async def test_p2_a_key_is_known_for_thirty_days_whatever_the_retention(own: Postroom) -> None:
    _, event_id = await past_event(own, KEEP, key="k1")
    assert await drop_old(own) == ([], [])
    assert await own.value("select outbox.stage('a', '{}', key => 'k1', lane => 'chair:1')") == event_id
    async with own.pool.acquire() as connection:
        with pytest.raises(ValueError, match="at least 30 days"):
            await days.drop_old(connection, keep_days=29)


async def test_p2_a_day_is_as_young_as_its_last_event_when_ids_went_on_in_it(own: Postroom) -> None:
    """Nobody opened days for two months; what came last came just now, though its id says otherwise."""
    day = await go_back(own, 60)
    first = int(await own.value("select outbox.stage('a', '{}', lane => 'chair:1')"))
    await of_its_day(own)
    last = int(await own.value("select outbox.stage('a', '{}', key => 'k1', lane => 'chair:1')"))
    await days.open_days(own.pool)
    async with worker(own) as me:
        for event_id in (first, last):
            assert await me.done(*await me.claim()) == {event_id}
    assert await drop_old(own) == ([], [])
    assert await own.value("select outbox.stage('a', '{}', key => 'k1', lane => 'chair:1')") == last
    await own.pool.execute("update outbox.events set staged_at = now() - interval '29 days' where id = $1", last)
    assert await drop_old(own) == ([], [])
    await own.pool.execute("update outbox.events set staged_at = now() - interval '32 days' where id = $1", last)
    assert await drop_old(own) == ([day], [])


@pytest.mark.parametrize("where", ["pending", "busy", "delayed", "dead"])
async def test_undone_work_is_never_dropped(own: Postroom, where: str) -> None:
    day, event_id = await past_event(own, 100, key="k1", settle=False)
    older, _ = await past_event(own, 101)
    async with worker(own) as me:
        match where:
            case "busy":
                await me.claim()
            case "dead":
                await me.bury(*await me.claim())
            case "delayed":
                await own.pool.execute(
                    "insert into outbox.delayed (due_at, event_id, lane, urgency) select 'infinity', event_id, lane, 0 from outbox.pending"
                )
                await own.pool.execute("delete from outbox.pending")
        assert await own.value(f"select event_id from outbox.{where}") == event_id
        assert await drop_old(own) == ([older], [day])
        assert day in await partitions(own)
        assert await own.value("select count(*) from outbox.keys") == 1
        await check_invariants(own)


async def test_what_keeps_an_old_day_is_told_with_its_oldest_event(own: Postroom) -> None:
    first, oldest = await past_event(own, 101, settle=False)
    second, died = await past_event(own, 100, settle=False)
    async with worker(own) as me:
        await me.done(*await me.claim())  # the older one, so that the other becomes the head
        await me.bury(*await me.claim())
    third, waiting = await past_event(own, 40, settle=False)
    await own.pool.execute("select outbox.stage('a', '{}')")
    past = await days.old(own.pool, keep_days=KEEP)
    assert past == [first, second, third]
    assert await days.kept(own.pool, past) == [days.Kept(second, 1, died, "dead"), days.Kept(third, 1, waiting, "pending")]
    assert await days.kept(own.pool, []) == []
    assert oldest < died < waiting


@pytest.mark.parametrize("event_id", [-7, 0, 1])
async def test_a_row_that_names_no_real_event_keeps_no_day(own: Postroom, event_id: int) -> None:
    day, _ = await past_event(own, 60)
    await own.pool.execute("insert into outbox.busy (lane, event_id, urgency, due_at) values (1, $1, 0, 'infinity')", event_id)
    assert await drop_old(own) == ([day], [])


async def test_a_partition_that_somebody_else_attached_is_left_alone(own: Postroom) -> None:
    await own.pool.execute("create table outbox.events_of_old partition of outbox.events for values from (0) to (1000)")
    day, _ = await past_event(own, 60)
    assert await drop_old(own) == ([day], [])
    assert await own.value("select to_regclass('outbox.events_of_old') is not null")


async def test_it_is_told_how_far_days_are_made_and_where_ids_are_drawn_from(own: Postroom) -> None:
    assert await days.ahead(own.pool) == days.Ahead(today() + timedelta(days=2), today(), today())
    yesterday = await go_back(own, 1)
    await own.pool.execute(f"drop table outbox.steps_{today() + timedelta(days=2):%Y%m%d}")
    assert await days.ahead(own.pool) == days.Ahead(today() + timedelta(days=1), yesterday, today())


async def test_a_replayed_event_keeps_its_old_day(own: Postroom) -> None:
    day, event_id = await past_event(own, 60)
    async with own.pool.acquire() as person:
        assert await events.replay(person, event_id, by="ada")
    assert await drop_old(own) == ([], [day])
    async with worker(own) as me:
        await me.done(*await me.claim(urgency=1))
    assert await drop_old(own) == ([day], [])


async def test_a_replay_in_flight_is_not_dropped_under_its_feet(own: Postroom) -> None:
    day, event_id = await past_event(own, 60)
    async with own.pool.acquire() as person:
        transaction = person.transaction()
        await transaction.start()
        assert await events.replay(person, event_id, by="ada")
        async with asyncio.timeout(10):
            assert await drop_old(own) == ([], []), "it is in use, and left for the next time"
        await transaction.commit()
    assert await drop_old(own) == ([], [day])
    await check_invariants(own)


async def test_a_reader_that_does_not_let_go_stops_neither_retention_for_ever_nor_staging(own: Postroom) -> None:
    day, _ = await past_event(own, 60)
    async with own.pool.acquire() as reader:
        transaction = reader.transaction()
        await transaction.start()
        await reader.execute("select count(*) from outbox.events")
        async with asyncio.timeout(10):
            dropping = asyncio.create_task(drop_old(own))
            await own.pool.execute("select outbox.stage('a', '{}')")
            assert await dropping == ([], [])
        assert day in await partitions(own)
        await transaction.commit()
    assert await drop_old(own) == ([day], [])


async def test_a_day_that_somebody_holds_for_long_is_left_without_asking_for_a_lock(own: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask for it would make every claim and every stager queue up behind, each minute, for as long as a dump takes."""
    monkeypatch.setattr(days, "LOCK_TIMEOUT_MS", 3_600_000)
    monkeypatch.setattr(days, "IN_USE_AFTER_MS", 0)
    day, _ = await past_event(own, 60, key="k1")
    for table in ("outbox.events", f"outbox.steps_{day:%Y%m%d}"):
        async with own.pool.acquire() as reader, reader.transaction():
            await reader.execute(f"select from {table}")
            async with asyncio.timeout(10):
                assert await drop_old(own) == ([], [])
            assert await own.value("select count(*) from outbox.keys") == 1, "nor is anything else begun"
    assert await drop_old(own) == ([day], [])


async def test_retention_yields_to_a_query_instead_of_deadlocking_with_it(own: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that has the table and goes on to the old day must not be the one that is cancelled."""
    monkeypatch.setattr(days, "IN_USE_AFTER_MS", 3_600_000)
    _, event_id = await past_event(own, 60)
    (fresh,) = await put(own, "chair:1")
    async with own.pool.acquire() as reader, own.pool.acquire() as retention:
        await reader.execute("set deadlock_timeout = '10ms'")
        transaction = reader.transaction()
        await transaction.start()
        await reader.execute(f"select from outbox.events where id = {fresh}")
        dropping = asyncio.create_task(days.drop_old(retention, keep_days=KEEP))
        await until_it_waits_for_a_lock(own, retention.get_server_pid())
        assert await reader.fetchval(f"select count(*) from outbox.events where id in ({fresh}, {event_id})") == 2
        await transaction.commit()
        await dropping


async def test_keys_are_pruned_by_page_ranges_and_not_by_one_long_statement(own: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "PAGES", 1)
    await go_back(own, 60)
    await own.pool.execute("select outbox.stage('a', '{}', key => 'old' || n) from generate_series(1, 600) n")
    await of_its_day(own)
    await days.open_days(own.pool)
    await own.pool.execute("select outbox.stage('a', '{}', key => 'fresh' || n) from generate_series(1, 600) n")
    assert await own.value("select pg_relation_size('outbox.keys') / 8192") > 3
    await own.pool.execute("delete from outbox.pending")
    await drop_old(own)
    assert await own.value("select count(*) from outbox.keys") == 600
    assert await own.value("select outbox.stage('a', '{}', key => 'fresh600')") == await own.value(
        "select max(id) from outbox.events where key = 'fresh600'"
    )
    async with own.pool.acquire() as connection:
        await connection.execute(f"prepare pruned as {days.Q['prune_keys']}")
        plan = "\n".join(row[0] for row in await connection.fetch(f"explain execute pruned ('{today()}', 0, 1)"))
    assert "Tid Range Scan on keys" in plan
