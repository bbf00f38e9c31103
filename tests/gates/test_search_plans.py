"""What people look at costs its page, whatever stands in the tables: events found, lanes, groups and plans of dead letters.

The small size holds the plans to their bounds. The long one fills a million events and 10,000 dead letters: a look that misses its index
takes seconds there. Whether every page is answered in 200 ms is a matter for a quiet machine: `python -m benchmarks.console`.
"""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from outbox import causes
from outbox.store import acts, console, dead, events, lanes, plans, search
from outbox.store.dead import Filter
from outbox.store.plans import Act
from outbox.store.search import Wanted
from outbox.testing import Postroom
from outbox.timeline import story
from tests.gates.plans import session

MISSED_S = 2.0  # what no look takes that finds its index, on a machine with other work, too


async def fill(postroom: Postroom, count: int, letters: int) -> None:
    """Events that are done, one in ten thousand skipped, the oldest of them dead, in lanes of ten; and a few that wait."""
    await postroom.pool.execute(
        """insert into outbox.events (source, kind, lane, payload)
           select 'app', 'kind.' || n % 20, 'lane-' || n % ($1::int / 10), convert_to(rpad('{"n": ' || n || '}', 300), 'UTF8')
           from generate_series(1, $1::int) n""",
        count,
    )
    await postroom.pool.execute(
        """with chosen as (select id, lane from outbox.events order by id limit $1)
           insert into outbox.dead (event_id, lane, urgency, attempt, fingerprint, reason, died_at)
           select id, outbox.lane_of(lane, id), 0, 1, 'group-' || id % 40, 'refused', now() - id % 2000 * interval '1 min' from chosen""",
        letters,
    )
    await postroom.pool.execute(
        """insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome)
           select e.id, e.staged_at, 1, 1, 5, case when d.event_id is not null then 'x' when e.id % 10000 = 0 then 's' else 'd' end::"char"
           from outbox.events e left join outbox.dead d on d.event_id = e.id order by e.id"""
    )
    await postroom.pool.execute(
        """with staged as (
             insert into outbox.events (source, kind, lane, payload) select 'app', 'held', 'held-' || n, '{}'
             from generate_series(1, 1000) n returning id, lane)
           insert into outbox.busy (lane, event_id, urgency, due_at, attempt, failures, why)
           select outbox.lane_of(lane, id), id, 0, now() + interval '1 hour', 1, 1, 'it failed' from staged"""
    )
    for table in ("events", "attempts"):
        await postroom.pool.execute(f"vacuum analyze outbox.{table}")
        for (index,) in await postroom.pool.fetch(
            "select indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam "
            "where a.amname = 'brin' and c.relkind = 'i'"
        ):
            await postroom.pool.execute("select brin_summarize_new_values($1::regclass)", index)
    await postroom.pool.execute("analyze outbox.dead, outbox.busy, outbox.pending")


def looks(postroom: Postroom, newest: int) -> dict[str, Callable[[], Awaitable[object]]]:
    """What the pages read."""
    pool = postroom.pool

    def found(**wanted: object) -> Callable[[], Awaitable[object]]:
        return lambda: search.find(pool, Wanted(**wanted))  # type: ignore[arg-type] # the names are its own

    return {
        "the newest": found(),
        "a kind": found(kinds=["kind.3"]),
        "a kind that there is not": found(kinds=["never"]),
        "dead": found(states=["dead"]),
        "dead of a group": found(group="group-7"),
        "pending": found(states=["pending"]),
        "done": found(states=["done"]),
        "skipped": found(states=["skipped"]),
        "tried often": found(attempts=5),
        "a lane": found(lane="lane-77"),
        "a lane that there is not": found(lane="never"),
        "text": found(text='"n": 500'),
        "one event": lambda: story(pool, newest),
        "groups": lambda: causes.groups(pool),
        "one group": lambda: causes.group(pool, "group-7"),
        "dead letters": lambda: dead.find(pool, Filter()),
        "held lanes": lambda: lanes.blocked(pool),
        "the oldest that waits": lambda: console.oldest(pool),
        "undone": lambda: console.undone(pool, first_id=newest),
        "newer": lambda: search.newer(pool, newest - 5000),
        "behind": lambda: acts.behind(pool, newest),
        "neighbours": lambda: events.neighbours(pool, "lane-77", newest),
    }


@pytest.mark.long
async def test_no_look_misses_its_index_beside_a_million_events(quiet: Postroom) -> None:
    await fill(quiet, 1_000_000, 10_000)
    newest = await quiet.value("select max(id) from outbox.events where kind <> 'held'")
    took: dict[str, float] = {}
    for name, look in looks(quiet, newest).items():
        best = 10.0
        for _ in range(3):  # the machine has other things to do: the best of three is the statement's own
            began = time.perf_counter()
            await look()
            best = min(best, time.perf_counter() - began)
        took[name] = best
    async with quiet.pool.acquire() as person, person.transaction():
        began = time.perf_counter()
        plan = await plans.make(person, Filter(), act=Act.RETRY, by="ana")
        took["make a plan of 10,000"] = (time.perf_counter() - began) / 10  # an act, not a page
    assert plan is not None
    assert {name: seconds for name, seconds in took.items() if seconds > MISSED_S} == {}, took


async def test_no_look_reads_a_table_of_events_from_end_to_end(quiet: Postroom) -> None:
    """Rows that each statement brings up, at a size where reading everything would show."""
    await fill(quiet, 30_000, 1_000)
    newest = await quiet.value("select max(id) from outbox.events where kind <> 'held'")
    highest = 2**63 - 1
    statements: dict[tuple[str, str], tuple[object, ...]] = {
        ("search", "fitting"): (None, highest, 0, 500, None, ["never"], None, None, None, None, None, 50, False, 51, None),
        ("search", "candidates"): (highest, 0, 500, False, None, False, ["s"], True, False, None),
        ("search", "first_since"): ("2020-01-01T00:00:00Z",),
        ("search", "newer"): (newest, 500),
        ("events", "one"): (newest,),
        ("dead", "groups"): (200, None),
        ("busy", "blocked"): (0, 50, True, None, None),
        ("acts", "behind"): (newest,),
        ("console", "oldest"): (),
        ("console", "undone"): (newest,),
        ("live", "dead"): (),
        ("live", "lanes"): (),
    }
    async with session(quiet.dsn, settings={}) as looking:
        for statement, values in statements.items():
            explained = await looking.explain(statement, *values)
            assert explained.rows() <= 5_000, f"{statement}\n{explained.text()}"
    await check_replays(quiet)


async def check_replays(postroom: Postroom) -> None:
    """A portion of a replay costs its own events: one in ten of 5,000 that were staged one after the other."""
    staged = await postroom.pool.fetch("select id from outbox.events where kind like 'kind.%' order by id desc limit 5000")
    ids = [row["id"] for row in staged[::10]]
    async with postroom.pool.acquire() as person:
        plan = await plans.make_replay(person, Wanted(), [row["id"] for row in staged], by="ana")
        await plans.start(person, plan or 0, canary=False, alone=True, leave_out=False)
        await person.execute("update outbox.plan_events set portion = 1 where turn <= $1", len(ids))
    body: str = await postroom.value("select prosrc from pg_proc where oid = 'outbox.settled(bigint[])'::regprocedure")
    async with session(postroom.dsn, settings={"enable_seqscan": "off"}) as looking:
        await looking.add(("function", "settled"), body.replace("unnest(ids)", "unnest($1::bigint[])"))
        for statement, values in {
            ("function", "settled"): (ids,),
            ("events", "replay_many"): (ids, "replayed by ana"),
            ("plans", "next"): (plan, len(ids), len(ids)),
            ("plans", "settle"): (plan,),
        }.items():
            explained = await looking.explain(statement, *values)
            assert explained.rows() <= 24 * len(ids), f"{statement}\n{explained.text()}"
            assert explained.buffers() <= 60 * len(ids), f"{statement}\n{explained.text()}"


async def test_late_retries_do_not_make_a_look_up_read_the_whole_day(quiet: Postroom) -> None:
    """Every fiftieth attempt is that of a far older event."""
    first = await quiet.value("select outbox.first_id((now() at time zone 'UTC')::date)")
    await quiet.pool.execute(
        """insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
           select $1::bigint + n - case when n % 50 = 0 then least(n - 1, 30000) else 0 end, now(), 1, 1, 5, 'd', repeat('x', 60)
           from generate_series(1, 60000) n""",
        first,
    )
    await quiet.pool.execute("vacuum analyze outbox.attempts")
    plan = json.loads(
        await quiet.value(f"explain (analyze, format json) select from outbox.attempts where event_id = any ('{{{first + 40001}}}')")
    )
    pages = await quiet.value("select sum(pg_relation_size(relid))::int / 8192 from pg_partition_tree('outbox.attempts')")
    assert 0 < lossy_pages(plan[0]["Plan"]) < pages / 5, plan


def lossy_pages(node: dict[str, Any]) -> int:
    return int(node.get("Lossy Heap Blocks", 0)) + sum(lossy_pages(one) for one in node.get("Plans", ()))
