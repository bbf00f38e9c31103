"""What reads cost while somebody holds a snapshot, in pages and not in time: those of the engine nothing more, those of people little."""

import json
import re

import pytest

from outbox import db
from outbox.db import ENGINE_SETTINGS, Connection
from outbox.queries import load
from outbox.store import days
from outbox.testing import Postroom
from tests.outbox.engine import put, worker
from tests.storage.held import snapshot, through

PORTION = 3000
# What the engine asks on its own connections, and what people ask through pools: types of the parameters, and their values.
ENGINE = {
    "pending.next_due": ("bool", "true"),
    "pending.promote_delayed": ("int", "500"),
    "pending.followers": ("bigint[], smallint[], int", "array[outbox.lane_of('fresh', 0)], array[0::smallint], 200"),
    "busy.take_due": ("bigint, int, bool", "{worker}, 50, true"),
    "busy.release_held": ("text, int, int, int", "'held for ghl', 50, 0, 1"),
    "busy.release_probe": ("text, bigint", "'held for ghl', 0"),
    "busy.held": ("", ""),
}
PEOPLE = {
    "events.counts": ("", ""),
    "events.undone": ("bigint, int", "null, 50"),
    "busy.blocked": ("bigint, int, bool, bigint, bool", "0, 50, true, null, null"),
    "live.lanes": ("", ""),
    "live.dead": ("", ""),
    "console.oldest": ("", ""),
    "console.undone": ("bigint", "0"),
    "events.one": ("bigint", "{event}"),
    "events.timeline": ("bigint", "{event}"),
    "search.fitting": (
        "bigint[], bigint, bigint, int, text[], text[], text, text, bytea, text[], text[], int, bool, int, int",
        "null, 9223372036854775807, 0, 50, null, null, null, null, null, null, null, 50, false, 51, null",
    ),
}
NESTED_PLANS = """load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;
set auto_explain.log_analyze = on; set auto_explain.log_buffers = on; set auto_explain.log_timing = off; set client_min_messages = log"""
LOOK_UPS = {"console.oldest": 1, "events.one": 1, "events.timeline": 1, "search.fitting": 50}


async def furnish(postroom: Postroom) -> None:
    """One event in each place that is not pending: dead, held, waiting for its retry with a follower, delayed."""
    async with worker(postroom) as me:
        await put(postroom, "dies")
        await me.bury(*await me.claim())
        await put(postroom, "held")
        await me.hold(*await me.claim())
        await put(postroom, "again")
        await me.retry(*await me.claim(), delay_s=3600)
    await put(postroom, "again")
    await postroom.pool.execute("select outbox.stage('a', '{}', due_at => now() + interval '1 hour')")


def prepared(statement: str, types: str, values: str) -> tuple[str, str]:
    """What prepares one of ours, and what executes it."""
    stem, name = statement.split(".")
    return f"prepare explained {f'({types})' if types else ''} as {load(stem)[name]}", f"execute explained{f'({values})' if values else ''}"


async def pages(connection: Connection, statement: str, types: str, values: str) -> int:
    """How many a statement touches; rolled back."""
    prepare, execute = prepared(statement, types, values)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(prepare)
    plan = json.loads(await connection.fetchval(f"explain (analyze, buffers, format json) {execute}"))[0]["Plan"]
    await connection.execute("deallocate explained")
    await transaction.rollback()
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def plans(postroom: Postroom, *statements: str) -> str:
    """How Postgres carries them out, the functions that they call included: to be read when it touches too much."""
    said: list[str] = []
    connection = await db.connect(postroom.dsn, name="postroom:test", timeout_s=60)
    connection.add_log_listener(lambda _, message: said.append(str(message.message)))
    await connection.execute(NESTED_PLANS)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()
    return "\n".join(said)


async def costs(postroom: Postroom, asked: dict[str, tuple[str, str]]) -> dict[str, int]:
    """Pages touched by each statement, with one event ready."""
    (event,) = await put(postroom, "fresh")
    connection = await db.connect(postroom.dsn, name="postroom:test", settings=ENGINE_SETTINGS if asked is ENGINE else None, timeout_s=60)
    async with worker(postroom) as me:
        found = {
            statement: await pages(connection, statement, types, values.format(worker=me.id, event=event))
            for statement, (types, values) in asked.items()
        }
        await me.done(*await me.claim())
    await connection.close()
    return found


async def test_the_engines_own_questions_cost_the_same_however_many_dead_rows_a_snapshot_keeps(postroom: Postroom) -> None:
    async with snapshot(postroom.dsn):
        await furnish(postroom)
        await through(postroom, PORTION)
        before = await costs(postroom, ENGINE)
        await through(postroom, 2 * PORTION)
        after = await costs(postroom, ENGINE)
    for statement, touched in after.items():
        assert touched <= before[statement] + 5, (statement, before[statement], touched)
        assert touched <= 40, (statement, touched)


async def check_people(postroom: Postroom, settled: int) -> None:
    """They read the pages of pending and busy at most once (a dead row is 50 or 120 bytes), and for each event that they look up a few."""
    await days.sum_up(postroom.pool)
    await postroom.pool.execute("analyze outbox.attempts, outbox.pending, outbox.busy")  # as autovacuum does every minute
    for statement, touched in (await costs(postroom, PEOPLE)).items():
        allowed = 100 + settled // 25 + 60 * LOOK_UPS.get(statement, 0)
        if touched > allowed:
            how = await plans(postroom, *prepared(statement, *PEOPLE[statement]))
            pytest.fail(f"{statement} touches {touched} pages of {allowed}:\n{how}")


async def test_peoples_questions_cost_a_page_for_tens_of_dead_rows_at_most(postroom: Postroom) -> None:
    async with snapshot(postroom.dsn):
        await furnish(postroom)
        await through(postroom, 2 * PORTION)
        await check_people(postroom, 2 * PORTION)


@pytest.mark.long
async def test_reads_cost_no_more_after_a_hundred_thousand_events(postroom: Postroom) -> None:
    async with snapshot(postroom.dsn):
        await furnish(postroom)
        await through(postroom, 100_000, lanes=20_000)
        await check_people(postroom, 100_000)
        for statement, touched in (await costs(postroom, ENGINE)).items():
            assert touched <= 40, (statement, touched)


async def test_looking_at_events_reads_few_pages_of_attempts_once_their_index_knows_of_them(postroom: Postroom) -> None:
    await through(postroom, 5 * PORTION)
    await postroom.pool.execute("analyze outbox.attempts")
    before = (await costs(postroom, PEOPLE))["search.fitting"]
    size = await postroom.value(
        "select sum(pg_relation_size(inhrelid)) / 8192 from pg_inherits where inhparent = 'outbox.attempts'::regclass"
    )
    assert before > size, "it read all of them"
    assert await days.sum_up(postroom.pool) > 0
    assert await days.sum_up(postroom.pool) == 0, "it knows of them"
    assert (await costs(postroom, PEOPLE))["search.fitting"] < before, "it reads fewer of them"


async def test_the_state_of_an_event_reads_its_attempts_once(postroom: Postroom) -> None:
    (event,) = await put(postroom, "fresh")
    plan = await plans(postroom, f"select * from outbox.states(array[{event}::bigint])")
    scan = re.compile(r"(Seq|Heap|Index|Only) Scan (using \S+ )?on attempts_\d+ ")
    reads = [line for line in plan.splitlines() if scan.search(line) and "never executed" not in line]
    assert len(reads) == 1, reads


MANY_USERS = 2_000
USERS_AND_THEIR_RUNS = """
with users as (select 'google-contacts:u' || n as sync, n from generate_series(1, {users}) n),
known as (insert into outbox.syncs (name, destination, types, kept, off)
          select sync, 'google:u' || n, '{{incremental,full}}', jsonb_build_object('sync_token', repeat('x', 100)),
                 case when n % 10 = 0 then 'no consent' end from users),
due as (insert into outbox.schedules (sync, type, every_s, catch_up, due_at) select sync, 'incremental', 86400, 'one', now() from users)
insert into outbox.runs (id, sync, type, trigger, state, ended_at)
select n * 3 + k, sync, 'incremental', 'schedule', 'done', now() - k * interval '1 day' from users, generate_series(0, 1) k"""
SYNCS = {"syncs.all": ("text[]", "null"), "syncs.users": ("", ""), "syncs.page_of_users": ("text, text, int", "'', null, 50")}


async def test_however_many_users_there_are_their_syncs_are_one_row_that_is_read_without_a_look_at_their_runs(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.syncs (name, types) select 's' || n, '{full}' from generate_series(1, 10) n")
    await postroom.pool.execute(USERS_AND_THEIR_RUNS.format(users=MANY_USERS))
    await postroom.pool.execute("analyze outbox.syncs, outbox.schedules, outbox.runs")
    size = await postroom.value("select (pg_relation_size('outbox.syncs') + pg_relation_size('outbox.schedules')) / 8192")
    touched = await costs(postroom, SYNCS)
    assert touched["syncs.users"] <= size + 100, (touched, size)
    assert touched["syncs.users"] <= MANY_USERS // 8, "a page has eight users and more"
    assert touched["syncs.all"] <= 100, touched
