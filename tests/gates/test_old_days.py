"""Ninety days of events are ninety tables: a claim or a settlement opens the newest only, and events of others come whole all the same."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from outbox.store import days, fresh
from outbox.testing import Postroom
from tests.gates.plans import session
from tests.gates.statements import LIVE, SENDS, Batch, Send, sent
from tests.outbox.engine import Worker, put, worker

OLD_DAYS = 30
NEAR: Send = lambda c, b, n: fresh.claim(c, worker=b.worker, limit=n, above=None, urgency=LIVE)  # noqa: E731
OFTEN = {"claim": SENDS["claim live"], "near look": NEAR, "finish and take": SENDS["finish and take"]}


async def make_old_days(postroom: Postroom) -> int:
    """The first id of a day that is OLD_DAYS ago; the days since then have their tables, as if each day's upkeep had made them."""
    today = datetime.now(UTC).date()
    firsts = [await postroom.value("select outbox.first_id($1::date)", today - timedelta(days=n)) for n in range(OLD_DAYS, -1, -1)]
    for n, (first, end) in enumerate(pairwise(firsts)):
        day = today - timedelta(days=OLD_DAYS - n)
        for table in days.PARTITIONED:
            await postroom.pool.execute(
                f"create table outbox.{table}_{day:%Y%m%d} partition of outbox.{table} for values from ({first}) to ({end})"
            )
    return int(firsts[0])


async def put_old(postroom: Postroom, first: int, count: int, *, lane: str) -> list[int]:
    """Events of that day that still wait."""
    ids = [first + n for n in range(count)]
    await postroom.pool.execute(
        """with e as (insert into outbox.events (id, staged_at, source, kind, lane, payload)
                      select id, now() - interval '30 days', 'app', 'old', $2, convert_to('{"n": ' || id || '}', 'UTF8')
                      from unnest($1::bigint[]) id returning id)
           insert into outbox.pending (urgency, lane, event_id) select 0, outbox.lane_of($2, 0), id from e""",
        ids,
        lane,
    )
    return ids


async def opened(postroom: Postroom, me: Worker, send: Send) -> set[str]:
    """The tables of events that a statement opens, read or not."""
    events = await me.claim(limit=1)
    statement, values = await sent(send, Batch(me.id, events, {}), 1)
    async with session(postroom.dsn) as planned:
        found = await planned.explain(statement, *values)
    await me.hold(*events)
    return {node["Relation Name"] for node in found.table_scans() if node["Relation Name"].startswith("events_2")}


async def test_old_days_are_not_opened_by_what_is_sent_for_each_event(quiet: Postroom) -> None:
    await make_old_days(quiet)
    async with worker(quiet) as me:
        for name, send in OFTEN.items():
            await put(quiet, name, 2)
            assert 1 <= len(await opened(quiet, me, send)) <= 4, name


async def test_an_event_of_an_old_day_comes_whole(quiet: Postroom) -> None:
    first, second, third = await put_old(quiet, await make_old_days(quiet), 3, lane="chair:1")
    (new,) = await put(quiet, "chair:1")
    async with worker(quiet) as me:
        [head] = await me.claim()
        _, [(_, follower)] = await me.done_and_next(head)
        assert [(e.id, e.kind, e.lane, e.json()) for e in (head, follower)] == [
            (event_id, "old", "chair:1", {"n": event_id}) for event_id in (first, second)
        ]
        assert head.staged_at < datetime.now(UTC) - timedelta(days=29)
        await me.done(follower)
        looked = await fresh.claim(me.connection, worker=me.id, limit=10, above=None, urgency=LIVE, lanes=[head.lane_key])
        assert [(e.id, e.json()) for e in looked.events] == [(third, {"n": third})]
        _, [(_, last)] = await me.done_and_next(*looked.events)
        assert (last.id, last.kind, last.json()) == (new, "a", {"n": 0})
