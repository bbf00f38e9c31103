"""The intake: batches, answers, bounds, bad rows, outages, lost answers, stop. Against a real Postgres, over a road that can be cut."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager

import pytest

from outbox.errors import DatabaseUnavailable
from outbox.store.events import Arrival, Staged
from outbox.testing import Postroom
from receiver.intake import ANSWER_S, BATCH_ROWS, Intake, Overloaded, Unstageable
from tests.receiver.relay import relay_to
from tests.receiver.running import PATIENCE_S, UNUSED_DSN, until


def arrival(n: object = 1, *, key: str | None = "", kind: str = "test.arrived", payload: bytes = b"{}") -> Arrival:
    return Arrival("test", kind, f"key-{n}" if key == "" else key, f"lane-{n}", payload)


@asynccontextmanager
async def running(dsn: str, *, max_waiting: int = 1000) -> AsyncIterator[Intake]:
    """An intake at work; ends without waiting for what it could not commit."""
    intake = Intake(dsn, max_waiting=max_waiting)
    tasks = [asyncio.create_task(intake.run()), asyncio.create_task(intake.watch())]
    try:
        yield intake
    finally:
        await intake.stop(timeout_s=0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def held(postroom: Postroom) -> AsyncIterator[None]:
    """No key can be written, so no webhook can be committed, until the block ends."""
    async with postroom.pool.acquire() as connection, connection.transaction():
        await connection.execute("lock table outbox.keys in access exclusive mode")
        yield


async def until_blocked(postroom: Postroom) -> None:
    """A statement of the intake waits for a lock."""
    asked = "select count(*) > 0 from pg_stat_activity where application_name = 'postroom:intake' and wait_event_type = 'Lock'"
    await until(lambda: postroom.value(asked))


def sent(intake: Intake, arrivals: Sequence[Arrival]) -> list["asyncio.Task[Staged]"]:
    return [asyncio.create_task(intake.stage(one)) for one in arrivals]


async def outcomes(tasks: Sequence[Awaitable[Staged]]) -> list[Staged | BaseException]:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE_S)


async def test_what_arrives_during_a_flush_is_the_next_batch(postroom: Postroom) -> None:
    async with running(postroom.dsn) as intake:
        async with held(postroom):
            tasks = sent(intake, [arrival(0)])
            await until_blocked(postroom)
            tasks += sent(intake, [arrival(n) for n in range(1, 200)])
            await until(lambda: intake.waiting == 200)
        await outcomes(tasks)
        assert (intake.done.flushes, intake.done.rows) == (2, 200)


async def test_each_request_is_answered_with_its_own_row(postroom: Postroom) -> None:
    async with running(postroom.dsn) as intake:
        staged = await outcomes(sent(intake, [arrival(n, payload=b'{"n":%d}' % n) for n in range(50)]))
    rows = {row["id"]: row["payload"] for row in await postroom.staged()}
    assert [rows[one.id] for one in staged if isinstance(one, Staged)] == [f'{{"n":{n}}}' for n in range(50)]


async def test_a_key_that_comes_twice_in_one_batch_is_one_event(postroom: Postroom) -> None:
    async with running(postroom.dsn) as intake:
        async with held(postroom):
            tasks = sent(intake, [arrival("other")])
            await until_blocked(postroom)
            tasks += sent(intake, [arrival("same"), arrival("same"), arrival("same")])
            await until(lambda: intake.waiting == 4)
        _, first, *repeats = await outcomes(tasks)
    assert isinstance(first, Staged)
    assert not first.duplicate
    assert repeats == [Staged(first.id, duplicate=True)] * 2
    assert (await postroom.totals())["accepted"] == 2


async def test_a_batch_has_a_largest_number_of_rows(postroom: Postroom) -> None:
    async with running(postroom.dsn) as intake:
        async with held(postroom):
            tasks = sent(intake, [arrival("first")])
            await until_blocked(postroom)
            tasks += sent(intake, [arrival(n) for n in range(BATCH_ROWS + 1)])
            await until(lambda: intake.waiting == BATCH_ROWS + 2)
        await outcomes(tasks)
        assert intake.done.flushes == 3


async def test_a_batch_has_a_largest_number_of_bytes(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.intake.BATCH_BYTES", 1000)
    async with running(postroom.dsn) as intake:
        async with held(postroom):
            tasks = sent(intake, [arrival("first")])
            await until_blocked(postroom)
            tasks += sent(intake, [arrival(n, payload=b"[" + b" " * 900 + b"]") for n in range(4)])
            await until(lambda: intake.waiting == 5)
        await outcomes(tasks)
        assert intake.done.flushes == 3  # two of them fill a statement


async def test_a_full_waiting_list_refuses_at_once(postroom: Postroom) -> None:
    async with running(postroom.dsn, max_waiting=3) as intake:
        async with held(postroom):
            tasks = sent(intake, [arrival("in flight")])
            await until_blocked(postroom)
            tasks += sent(intake, [arrival(n) for n in range(3)])
            await until(lambda: intake.waiting == 4)
            with pytest.raises(Overloaded):
                await intake.stage(arrival("too many"))
        assert all(isinstance(one, Staged) for one in await outcomes(tasks))


async def test_the_waiting_list_is_bounded_in_bytes_too(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.intake.WAITING_BYTES", 1000)
    async with running(postroom.dsn) as intake:
        with pytest.raises(Overloaded):
            await intake.stage(arrival(payload=b"1" * 1001))


async def test_a_bad_row_does_not_fail_its_neighbours(postroom: Postroom) -> None:
    await postroom.pool.execute("alter table outbox.events add constraint no_bad check (kind <> 'test.bad')")
    try:
        async with running(postroom.dsn) as intake:
            async with held(postroom):
                tasks = sent(intake, [arrival("first")])
                await until_blocked(postroom)
                tasks += sent(intake, [arrival(1), arrival(2, kind="test.bad"), arrival(3)])
                await until(lambda: intake.waiting == 4)
            answers = await outcomes(tasks)
    finally:
        await postroom.pool.execute("alter table outbox.events drop constraint no_bad")
    assert [type(one) for one in answers] == [Staged, Staged, Unstageable, Staged]
    assert [row["key"] for row in await postroom.staged()] == ["key-first", "key-1", "key-3"]


@pytest.mark.parametrize("text", ["nul \x00", "half a pair \ud800"])
async def test_text_that_postgres_cannot_keep_is_unstageable(postroom: Postroom, text: str) -> None:
    async with running(postroom.dsn) as intake:
        answers = await outcomes(sent(intake, [arrival(1), arrival(2, key=text), arrival(3)]))
    assert [type(one) for one in answers] == [Staged, Unstageable, Staged]


async def test_a_database_that_was_never_there_is_refused_at_once_after_the_first_wait() -> None:
    async with running(UNUSED_DSN) as intake:
        first = sent(intake, [arrival()])
        await until(lambda: intake.waiting == 1)
        intake.expire(time.monotonic() + ANSWER_S + 1)
        assert isinstance((await outcomes(first))[0], DatabaseUnavailable)
        intake._down_since = time.monotonic() - ANSWER_S - 1
        with pytest.raises(DatabaseUnavailable):
            await asyncio.wait_for(intake.stage(arrival()), 0.1)


async def test_a_request_waits_no_longer_than_it_may(postroom: Postroom) -> None:
    async with running(postroom.dsn) as intake, held(postroom):
        tasks = sent(intake, [arrival(1)])
        await until_blocked(postroom)
        tasks += sent(intake, [arrival(2)])
        await until(lambda: intake.waiting == 2)
        intake.expire(time.monotonic() + ANSWER_S + 0.1)
        assert [type(one) for one in await outcomes(tasks)] == [DatabaseUnavailable, DatabaseUnavailable]


async def test_a_short_outage_is_not_noticed_by_who_waits(postroom: Postroom) -> None:
    async with relay_to(postroom.dsn) as relay, running(relay.dsn) as intake:
        await until(lambda: intake.is_up)
        await relay.cut()
        tasks = sent(intake, [arrival(1)])
        await until(lambda: not intake.is_up)
        await relay.open()
        assert [type(one) for one in await outcomes(tasks)] == [Staged]


async def test_the_intake_comes_back_after_every_outage(postroom: Postroom) -> None:
    async with relay_to(postroom.dsn) as relay, running(relay.dsn) as intake:
        for n in range(3):
            await until(lambda: intake.is_up)
            assert [type(one) for one in await outcomes(sent(intake, [arrival(n)]))] == [Staged]
            await relay.cut()
            await until(lambda: not intake.is_up)
            await relay.open()
    assert (await postroom.totals())["accepted"] == 3


async def test_a_commit_whose_answer_was_lost_is_sent_again_and_is_one_event(postroom: Postroom) -> None:
    async with relay_to(postroom.dsn) as relay, running(relay.dsn) as intake:
        await outcomes(sent(intake, [arrival("warms the statement")]))
        async with held(postroom):
            tasks = sent(intake, [arrival(1), arrival(2)])
            await until_blocked(postroom)
            relay.lose_next_answer()
        await asyncio.wait_for(relay.lost.wait(), PATIENCE_S)
        answers = await outcomes(tasks)
        assert intake.done.retried > 0
    ids = {row["key"]: row["id"] for row in await postroom.staged()}
    assert [one.id for one in answers if isinstance(one, Staged)] == [ids["key-1"], ids["key-2"]]
    assert (await postroom.totals())["accepted"] == 3


async def test_a_row_without_a_key_is_not_sent_again_when_its_commit_is_unknown(postroom: Postroom) -> None:
    async with relay_to(postroom.dsn) as relay, running(relay.dsn) as intake:
        await outcomes(sent(intake, [arrival("warms the statement", key=None)]))
        async with postroom.pool.acquire() as connection, connection.transaction():
            await connection.execute("lock table outbox.events in access exclusive mode")
            tasks = sent(intake, [arrival(1, key=None)])
            await until_blocked(postroom)
            relay.lose_next_answer()
        assert [type(one) for one in await outcomes(tasks)] == [DatabaseUnavailable]
    assert (await postroom.totals())["accepted"] == 2


async def test_a_fault_that_is_not_a_rows_fault_asks_the_senders_to_come_again(postroom: Postroom) -> None:
    async with running(postroom.dsn) as intake:
        await postroom.pool.execute("alter table outbox.keys rename to keys_away")
        try:
            answers = await outcomes(sent(intake, [arrival(1)]))
        finally:
            await postroom.pool.execute("alter table outbox.keys_away rename to keys")
        assert [type(one) for one in answers] == [DatabaseUnavailable]
        assert [type(one) for one in await outcomes(sent(intake, [arrival(1)]))] == [Staged]


async def test_stopping_commits_what_waits_and_takes_no_more(postroom: Postroom) -> None:
    async with running(postroom.dsn) as intake:
        async with held(postroom):
            tasks = sent(intake, [arrival(1)])
            await until_blocked(postroom)
            tasks += sent(intake, [arrival(2)])
            await until(lambda: intake.waiting == 2)
            stopping = asyncio.create_task(intake.stop(timeout_s=PATIENCE_S))
            await asyncio.sleep(0)
            with pytest.raises(DatabaseUnavailable):
                await intake.stage(arrival(3))
        await stopping
        assert [type(one) for one in await outcomes(tasks)] == [Staged, Staged]


async def test_a_sender_that_left_costs_its_neighbours_nothing(postroom: Postroom) -> None:
    async with running(postroom.dsn) as intake:
        async with held(postroom):
            tasks = sent(intake, [arrival("first")])
            await until_blocked(postroom)
            left, stays = sent(intake, [arrival("left"), arrival("stays")])
            await until(lambda: intake.waiting == 3)
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
        assert [type(one) for one in await outcomes([*tasks, stays])] == [Staged, Staged]
    assert [row["key"] for row in await postroom.staged()] == ["key-first", "key-stays"]


async def test_its_connection_commits_durably_whatever_the_servers_default_is(postroom: Postroom) -> None:
    database = await postroom.value("select current_database()")
    await postroom.pool.execute(
        f"""alter database {database} set synchronous_commit = off;
            create table public.shown (setting text);
            create function public.show_it() returns trigger language plpgsql as $$
              begin insert into public.shown values (current_setting('synchronous_commit')); return new; end $$;
            create trigger show_it before insert on outbox.keys for each row execute function public.show_it()"""
    )
    try:
        async with running(postroom.dsn) as intake:
            await outcomes(sent(intake, [arrival(1)]))
        shown = await postroom.value("select setting from public.shown")
    finally:
        await postroom.pool.execute(
            f"""alter database {database} reset synchronous_commit;
                drop trigger show_it on outbox.keys; drop function public.show_it(); drop table public.shown"""
        )
    assert shown == "on"
