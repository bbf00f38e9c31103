"""Runs of a sync: page by page, each once; what interrupts them, what ends them, and where the watermark is then."""

import asyncio
from dataclasses import replace

import pytest

from dispatcher.errors import Failed, Refused, Unavailable
from dispatcher.syncs.base import NeedsPerson, Unusable
from dispatcher.syncs.run import Run
from outbox import db, sync_facts
from outbox.store import dead, events, runs
from outbox.store.runs import Category, RunState
from outbox.testing import Postroom
from tests.dispatcher.handling import fate
from tests.dispatcher.syncing import asked, carried_out, nothing, numbers, register, run_row, sync, written


async def watermark(postroom: Postroom) -> object:
    return await postroom.value("select watermark from outbox.syncs where name = 'numbers'")


async def test_a_run_counts_what_it_did_and_moves_the_watermark_to_its_beginning(postroom: Postroom) -> None:
    seen = []

    async def look(run: Run) -> None:
        found = await runs.one(postroom.pool, run.id)
        assert found is not None
        seen.append((found, sync_facts.run(found)))

    one = sync(numbers(5, at_end=look))
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    row = await run_row(postroom, run_id)
    [(at_work, told)] = seen
    assert (at_work["pace"] > 0, told["rate"] > 0, told["left_s"]) == (True, True, 0)
    assert (row["pace"], row["moved_at"] > at_work["moved_at"]) == (None, True)
    assert (row["state"], row["created"], row["total"], row["pages"], row["progress"], row["expected"]) == ("done", 5, 5, 3, 5, 5)
    assert await written(postroom) == [1, 2, 3, 4, 5]
    assert await watermark(postroom) == row["until"]
    records = await runs.records(postroom.pool, run_id)
    assert sorted(record["record"] for record in records) == ["1", "2", "3", "4", "5"]
    assert {record["what"] for record in records} == {"created"}
    [event] = await postroom.staged("sync.numbers")
    assert (event["id"], event["lane"], event["state"]) == (run_id, "sync:numbers", "done")


async def test_the_next_run_begins_where_the_last_that_went_well_ended(postroom: Postroom) -> None:
    spans = []

    async def look(run: Run) -> None:
        spans.append((run.since, run.until))

    one = sync(look)
    await register(postroom, one)
    for _ in range(2):
        await asked(postroom)
        await carried_out(postroom, one)
    assert spans[0][0] is None
    assert spans[1][0] == spans[0][1]
    back = await asked(postroom, hours_back=3)
    await carried_out(postroom, one)
    row = await run_row(postroom, back)
    assert (row["until"] - spans[2][0]).total_seconds() == 3 * 3600


async def test_hours_back_move_the_watermark_only_where_they_leave_no_gap_before_it(postroom: Postroom) -> None:
    one = sync(nothing)
    await register(postroom, one)

    async def moved(hours_back: int) -> bool:
        before = await postroom.value("select watermark from outbox.syncs")
        await asked(postroom, hours_back=hours_back)
        await carried_out(postroom, one)
        return bool(await postroom.value("select watermark is distinct from $1::timestamptz from outbox.syncs", before))

    assert not await moved(3), "what is older than three hours was never looked at"
    await postroom.pool.execute("update outbox.syncs set watermark = now() - interval '10 h'")
    assert not await moved(3)
    assert await moved(11)


async def test_progress_that_was_told_before_a_page_that_never_came_is_taken_back(postroom: Postroom) -> None:
    async def breaks(run: Run) -> None:
        run.phase("numbers")
        run.progress(10, 20)
        raise Failed("numbers", "the far side broke")

    one = sync(breaks)
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one, until="state = 'waiting'")
    row = await run_row(postroom, run_id)
    assert (row["phase"], row["progress"], row["expected"]) == (None, 0, None)


async def test_a_run_that_fails_in_the_middle_goes_on_behind_its_last_page(postroom: Postroom) -> None:
    failures: list[int] = []

    async def now_and_then(run: Run) -> None:
        if run.checkpoint == 2 and len(failures) < 2:
            failures.append(run.numbers.pages)
            raise Failed("numbers", "the far side broke")

    one = sync(numbers(6, before_page=now_and_then))
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    row = await run_row(postroom, run_id)
    assert await written(postroom) == [1, 2, 3, 4, 5, 6]
    assert failures == [1, 1]
    assert (row["state"], row["created"], row["pages"]) == ("done", 6, 3)
    assert row["errors_by"] == '{"api": 2}'
    assert (row["errors"], row["reason"]) == (0, None)
    record = await runs.one(postroom.pool, run_id)
    assert record is not None
    [met] = await sync_facts.errors(postroom.pool, record)
    assert (met["category"], met["count"], len(met["examples"])) == ("api", 2, 2)
    assert "the far side broke" in met["examples"][0]["note"]


async def test_a_log_that_is_full_of_what_was_done_still_has_room_for_errors(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.syncs.run.MOST_LOGGED", 3)
    monkeypatch.setattr("dispatcher.syncs.run.MOST_ERRORS_LOGGED", 2)

    async def pull(run: Run) -> None:
        for n in range(4):
            async with run.page(n) as page:
                page.did(runs.What.CREATED, f"made {n}")
                page.error(Category.VALIDATION, f"bad {n}", "not as it must be")

    one = sync(pull)
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    logged = sorted(row["record"] for row in await runs.records(postroom.pool, run_id))
    assert logged == ["bad 0", "bad 1", "made 0", "made 1", "made 2"]
    assert (await run_row(postroom, run_id))["errors"] == 4


async def test_what_failed_before_a_page_counts_no_more_once_it_is_there(postroom: Postroom) -> None:
    """Twenty failures, each followed by a page: more than any retry policy bears in a row."""
    failed: set[object] = set()

    async def once_a_page(run: Run) -> None:
        if run.checkpoint not in failed:
            failed.add(run.checkpoint)
            raise Failed("numbers", "the far side broke")

    one = sync(numbers(40, before_page=once_a_page))
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    assert (await run_row(postroom, run_id))["state"] == "done"
    assert await written(postroom) == list(range(1, 41))


async def test_a_refusal_fails_the_run_and_a_retry_of_its_dead_letter_goes_on_at_the_checkpoint(postroom: Postroom) -> None:
    refuses = True

    async def refuse(run: Run) -> None:
        if run.checkpoint == 2 and refuses:
            raise Refused("numbers", "an unknown filter", status=400)

    one = sync(numbers(4, before_page=refuse))
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    row = await run_row(postroom, run_id)
    assert (row["state"], row["checkpoint"], row["errors_by"]) == ("failed", "2", '{"validation": 1}')
    assert "an unknown filter" in row["reason"]
    assert (await fate(postroom, run_id)).state == "dead"
    assert await watermark(postroom) is None

    refuses = False
    async with postroom.pool.acquire() as connection:
        assert await dead.retry(connection, [run_id], by="ada") == [run_id]
    await carried_out(postroom, one, until="state = 'done'")
    assert await written(postroom) == [1, 2, 3, 4]
    assert await watermark(postroom) == row["until"]


async def test_a_run_whose_handler_is_broken_fails_when_its_retries_are_used_up(postroom: Postroom) -> None:
    async def broken(run: Run) -> None:
        raise KeyError("who@example.com")

    one = sync(broken)
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    row = await run_row(postroom, run_id)
    assert row["state"] == "failed"
    assert "who@example.com" not in row["reason"]
    assert (await fate(postroom, run_id)).state == "dead"


async def test_a_destination_that_is_down_holds_the_run_and_costs_it_nothing(postroom: Postroom) -> None:
    is_down = True

    async def down(run: Run) -> None:
        if run.checkpoint == 2 and is_down:
            raise Unavailable("crm", "it is down")

    one = sync(numbers(4, before_page=down), destination="crm")
    await register(postroom, one)
    run_id = await asked(postroom)
    held = "exists (select from outbox.busy where due_at = 'infinity')"
    await carried_out(postroom, one, until=held)
    row = await run_row(postroom, run_id)
    assert (row["state"], row["checkpoint"]) == ("waiting", "2")
    assert "it is down" in row["reason"]
    shown = await runs.one(postroom.pool, run_id)
    assert shown is not None
    assert shown["why"] == "held for crm"
    is_down = False
    await postroom.pool.execute("update outbox.destinations set state = 'flowing', why = null, until = null, probe = null")
    await carried_out(postroom, one)
    assert await written(postroom) == [1, 2, 3, 4]
    assert (await run_row(postroom, run_id))["state"] == "done"


async def test_a_brake_ends_the_run_and_leaves_the_watermark(postroom: Postroom) -> None:
    async def brake(run: Run) -> None:
        raise NeedsPerson("would delete 7 of 9")

    one = sync(numbers(2, at_end=brake))
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    row = await run_row(postroom, run_id)
    assert (row["state"], row["reason"]) == ("braked", "would delete 7 of 9")
    assert (await fate(postroom, run_id)).state == "skipped"
    assert await watermark(postroom) is None


async def test_a_source_that_is_not_as_it_must_be_fails_the_run_and_pauses_the_sync(postroom: Postroom) -> None:
    async def lost(run: Run) -> None:
        raise Unusable("the property `name` is gone")

    one = sync(lost)
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    assert (await run_row(postroom, run_id))["state"] == "failed"
    [paused] = await postroom.rows("select paused_by, paused_why from outbox.syncs where paused_at is not null")
    assert paused == {"paused_by": "postroom", "paused_why": "the property `name` is gone"}


async def test_a_rehearsal_counts_and_changes_nothing(postroom: Postroom) -> None:
    one = sync(numbers(3))
    await register(postroom, one)
    run_id = await asked(postroom, dry_run=True)
    await carried_out(postroom, one)
    row = await run_row(postroom, run_id)
    assert (row["state"], row["created"], row["dry_run"]) == ("done", 3, True)
    assert await written(postroom) == []
    assert await watermark(postroom) is None


async def test_a_run_that_waits_is_cancelled_at_once(postroom: Postroom) -> None:
    one = sync(numbers(3))
    await register(postroom, one)
    run_id = await asked(postroom)
    async with db.transaction(postroom.pool) as connection:
        await runs.saw(connection, run_id, ["1"])  # by an attempt that was interrupted
        assert await runs.cancel(connection, run_id, by="ada") is RunState.CANCELLED
        assert await runs.cancel(connection, run_id, by="ada") is None
    ended = await fate(postroom, run_id)
    assert (ended.state, ended.why) == ("skipped", "cancelled by ada")
    assert await postroom.rows("select from outbox.run_seen") == [], "a replay begins anew: what was met before says nothing of then"
    assert await postroom.totals() == {"accepted": 1, "pending": 0, "dead": 0, "done": 0, "skipped": 1}


async def test_a_run_at_work_is_cancelled_between_two_pages(postroom: Postroom) -> None:
    async def cancel_it(run: Run) -> None:
        if run.checkpoint == 2:
            async with db.transaction(postroom.pool) as connection:
                assert await runs.cancel(connection, run.id, by="ada") is RunState.RUNNING

    one = sync(numbers(10, before_page=cancel_it))
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    row = await run_row(postroom, run_id)
    assert (row["state"], row["reason"], row["created"]) == ("cancelled", "cancelled by ada", 4)
    assert await written(postroom) == [1, 2, 3, 4]
    assert await watermark(postroom) is None


@pytest.mark.parametrize("keeps_place", [True, False])
async def test_a_cancelled_run_that_is_replayed_goes_on_at_its_page_where_its_places_last(postroom: Postroom, keeps_place: bool) -> None:
    cancels = iter((True,))

    async def cancel_once(run: Run) -> None:
        if run.checkpoint == 2 and next(cancels, False):
            async with db.transaction(postroom.pool) as connection:
                await runs.cancel(connection, run.id, by="ada")

    met: list[int] = []

    async def walk(run: Run) -> None:
        for at in range(run.checkpoint or 0, 10, 2):
            await cancel_once(run)
            async with run.page(at + 2) as page:
                page.count(created=2)
            met.append(at)

    one = replace(sync(walk), keeps_place=keeps_place)
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    assert (await run_row(postroom, run_id))["state"] == "cancelled"
    async with postroom.pool.acquire() as connection:
        assert await events.replay(connection, run_id, by="ada")
    await carried_out(postroom, one, until="state = 'done'")
    row = await run_row(postroom, run_id)
    assert (row["state"], row["created"], row["cancel_by"]) == ("done", 10, None)
    assert met == ([0, 4, 6, 8] if keeps_place else [0, 0, 2, 4, 6, 8])


async def test_two_runs_of_one_sync_are_never_at_work_at_once(postroom: Postroom) -> None:
    at_work = most = 0

    async def count(run: Run) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.01)
        at_work -= 1

    one = sync(count)
    await register(postroom, one)
    for _ in range(4):
        await asked(postroom)
    await asyncio.gather(*(carried_out(postroom, one) for _ in range(2)))
    assert most == 1
    assert await postroom.value("select count(*) from outbox.runs where state = 'done'") == 4


async def test_a_record_that_cannot_be_taken_is_counted_and_named_without_its_data(postroom: Postroom) -> None:
    async def odd(run: Run) -> None:
        async with run.page(1) as page:
            page.error(Category.VALIDATION, "r1", "who@example.com is no address")
            page.error(Category.CONFLICT, None, "two of one")

    one = sync(odd)
    await register(postroom, one)
    run_id = await asked(postroom)
    await carried_out(postroom, one)
    row = await run_row(postroom, run_id)
    assert (row["state"], row["errors"], row["errors_by"]) == ("done", 2, '{"conflict": 1, "validation": 1}')
    notes = {record["record"]: record["note"] for record in await runs.records(postroom.pool, run_id)}
    assert notes == {"r1": "[e-mail] is no address", "": "two of one"}


async def test_old_runs_are_forgotten_with_their_records_and_the_newest_success_stays(postroom: Postroom) -> None:
    one = sync(numbers(1))
    await register(postroom, one)
    old, newest, fresh = [await asked(postroom, dry_run=dry) for dry in (False, False, True)]
    await postroom.pool.execute("insert into outbox.run_seen select id, 'x' from outbox.runs")
    for run_id, days in ((old, 95), (newest, 91), (fresh, 8)):
        ended = "update outbox.runs set state = 'done', ended_at = now() - $2 * interval '1 day' where id = $1"
        await postroom.pool.execute(ended, run_id, days)
        await runs.log(postroom.pool, run_id, [runs.Entry("r", runs.What.CREATED)])  # type: ignore[arg-type] # a pool will do
    async with db.transaction(postroom.pool) as connection:
        await runs.prune(connection, keep_days=90, records_days=30)
    assert [row["id"] for row in await postroom.rows("select id from outbox.runs order by id")] == [newest, fresh]
    assert await postroom.rows("select run_id from outbox.run_records") == [{"run_id": fresh}]
    assert await postroom.value("select count(*) from outbox.run_seen") == 0
