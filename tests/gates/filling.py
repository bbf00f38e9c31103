"""A database as it is on a bad day, filled in SQL because a million rows take too long through the doors.

The rows are those that staging and settling would have left; their ids come from the same sequence.
"""

from typing import Final

from outbox.event import Claimed
from outbox.testing import Postroom
from tests.outbox.engine import Worker

BATCH: Final = 500
FOLLOWERS: Final = 2


async def backlog(postroom: Postroom, count: int, *, per_lane: int = 10) -> None:
    """Events that wait their turn: half of the lanes live, half bulk, and one live lane that holds a tenth of them all."""
    await postroom.pool.execute(
        """with staged as (
             insert into outbox.events (source, kind, lane, payload)
             select 'app', 'a', case when n % 10 = 0 then 'hot' else 'lane-' || n % greatest(1, $1::int / $2::int) end, '{}'
             from generate_series(1, $1::int) n returning id, lane)
           insert into outbox.pending (urgency, lane, event_id)
           select case when lane = 'hot' then 0 else abs(hashtext(lane)) % 2 end, outbox.lane_of(lane, id), id from staged""",
        count,
        per_lane,
    )


async def waiting(postroom: Postroom, count: int) -> None:
    """Lanes whose head waits an hour for its retry, one in ten for a destination."""
    await postroom.pool.execute(
        """with staged as (
             insert into outbox.events (source, kind, lane, payload) select 'app', 'a', 'waits-' || n, '{}'
             from generate_series(1, $1::int) n returning id, lane)
           insert into outbox.busy (lane, event_id, urgency, due_at, attempt, failures, why)
           select outbox.lane_of(lane, id), id, id % 2, case when id % 10 = 0 then 'infinity' else now() + interval '1 hour' end, 2, 1,
                  case when id % 10 = 0 then 'held for ghl' else 'it failed' end from staged""",
        count,
    )


async def due(postroom: Postroom, count: int = 2 * BATCH) -> None:
    """Retries and delayed events whose time has come, so many of each."""
    await postroom.pool.execute(
        """with staged as (
             insert into outbox.events (source, kind, lane, payload) select 'app', 'a', 'due-' || n, '{}'
             from generate_series(1, $1::int) n returning id, lane)
           insert into outbox.busy (lane, event_id, urgency, due_at, attempt, failures, why)
           select outbox.lane_of(lane, id), id, 0, now() - interval '1 min', 2, 1, 'it failed' from staged""",
        count,
    )
    await postroom.pool.execute(
        """with staged as (
             insert into outbox.events (source, kind, lane, payload) select 'app', 'a', 'delayed-' || n, '{}'
             from generate_series(1, $1::int) n returning id, lane)
           insert into outbox.delayed (due_at, event_id, lane, urgency)
           select now() - interval '1 min', id, outbox.lane_of(lane, id), 0 from staged""",
        count,
    )


async def running(postroom: Postroom, me: Worker, count: int = BATCH) -> list[Claimed]:
    """So many lanes at work at `me`, each with followers behind its head: as after a claim of them all."""
    await postroom.pool.execute(
        """with staged as (
             insert into outbox.events (source, kind, lane, payload)
             select 'app', 'a', 'runs-' || n % $1::int, '{}' from generate_series(0, $1::int * (1 + $2::int) - 1) n returning id, lane),
           numbered as (select id, lane, row_number() over (partition by lane order by id) place from staged),
           heads as (insert into outbox.busy (lane, event_id, urgency, owner)
                     select outbox.lane_of(lane, id), id, 0, $3::bigint from numbered where place = 1)
           insert into outbox.pending (urgency, lane, event_id) select 0, outbox.lane_of(lane, id), id from numbered where place > 1""",
        count,
        FOLLOWERS,
        me.id,
    )
    rows = await postroom.pool.fetch(
        """select b.event_id, b.lane, b.urgency, b.attempt, b.failures, b.crashes,
                  e.source, e.kind, e.key, e.lane lane_name, e.payload, e.staged_at
           from outbox.busy b join outbox.events e on e.id = b.event_id where b.owner = $1 order by b.event_id""",
        me.id,
    )
    return [Claimed._make(row) for row in rows]
