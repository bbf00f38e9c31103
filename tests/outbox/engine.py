"""Workers for tests of the engine's statements: each with a connection as a dispatcher has it, and its lease."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from outbox import db
from outbox.db import ENGINE_SETTINGS, Connection
from outbox.event import Claimed
from outbox.store import lanes, workers
from outbox.store.lanes import LOWEST, Burial, End, Wait
from outbox.testing import Postroom

STARTED = 1_800_000_000.0
LEASE_S = 30


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker incarnation. Its methods name the transitions."""

    connection: Connection
    id: int

    async def claim(self, *, limit: int = 100, urgency: int = 0, cursor: int = LOWEST) -> list[Claimed]:
        return (await lanes.claim(self.connection, worker=self.id, limit=limit, cursor=cursor, urgency=urgency)).events

    async def take_due(self, *, limit: int = 100, suspects: bool = True) -> list[Claimed]:
        return await lanes.take_due(self.connection, worker=self.id, limit=limit, suspects=suspects)

    async def done(self, *events: Claimed) -> set[int]:
        return await lanes.finish(self.connection, [End(e, STARTED, 5, "d") for e in events], worker=self.id)

    async def skip(self, *events: Claimed, note: str = "no route") -> set[int]:
        return await lanes.finish(self.connection, [End(e, STARTED, 5, "s", note) for e in events], worker=self.id)

    async def done_and_next(self, *events: Claimed, take: Sequence[bool] | None = None) -> tuple[set[int], list[tuple[int, Claimed]]]:
        ends = [End(e, STARTED, 5, "d") for e in events]
        return await lanes.finish_and_take(self.connection, ends, take=take or [True] * len(ends), worker=self.id)

    async def retry(self, *events: Claimed, delay_s: float | None = 0.0, why: str = "it failed") -> set[int]:
        waits = [Wait(e, STARTED, 5, "r", why, delay_s, 1, e.attempt) for e in events]
        return await lanes.wait(self.connection, waits, worker=self.id)

    async def hold(self, *events: Claimed, destination: str = "ghl") -> set[int]:
        waits = [Wait(e, STARTED, 5, None, lanes.held_for(destination), None, 0, e.attempt - 1) for e in events]
        return await lanes.wait(self.connection, waits, worker=self.id)

    async def bury(self, *events: Claimed, reason: str = "refused") -> set[int]:
        return await lanes.bury(self.connection, [Burial(e, STARTED, 5, "cause", reason) for e in events], worker=self.id)

    async def again(self) -> "Worker":
        """The same process as a new incarnation."""
        return Worker(self.connection, await workers.begin(self.connection, "test", lease_s=LEASE_S))

    async def die(self) -> None:
        """Its lease is over and another worker ended it; what it holds is not freed yet."""
        assert await workers.end(self.connection, self.id)


@asynccontextmanager
async def worker(postroom: Postroom, name: str = "test") -> AsyncIterator[Worker]:
    """A worker with a connection of its own, as a dispatcher opens it."""
    connection = await db.connect(postroom.dsn, name="postroom:test", settings=ENGINE_SETTINGS)
    try:
        yield Worker(connection, await workers.begin(connection, name, lease_s=LEASE_S))
    finally:
        connection.terminate()


async def put(postroom: Postroom, lane: str | None, count: int = 1, *, kind: str = "a", urgency: int = 0) -> list[int]:
    """Stages events into a lane, in order, as an app (live) or as a sync (bulk) does. Returns their ids."""
    ids = [await postroom.value("select outbox.stage($1, $2::jsonb, lane => $3)", kind, json.dumps({"n": n}), lane) for n in range(count)]
    if urgency:
        await postroom.pool.execute("update outbox.pending set urgency = $2 where event_id = any($1::bigint[])", ids, urgency)
    return ids


async def settled(postroom: Postroom, how: str, lane: str | None = "chair:1", *, kind: str = "a", reason: str = "refused") -> int:
    """An event that came to an end: done, skip or bury."""
    (event_id,) = await put(postroom, lane, kind=kind)
    async with worker(postroom) as me:
        (event,) = await me.claim()
        await (me.bury(event, reason=reason) if how == "bury" else getattr(me, how)(event))
    return event_id


async def places(postroom: Postroom, event_id: int) -> list[str]:
    """The tables of undone work that hold an event; I1 says at most one."""
    tables = ("pending", "busy", "delayed", "dead")
    looks = " union all ".join(f"select '{table}' from outbox.{table} where event_id = $1" for table in tables)
    found: list[str] = await postroom.value(f"select array({looks})", event_id)
    return found


async def outcomes(postroom: Postroom, event_id: int) -> str:
    """The outcomes of an event's attempts in the order of their writing, as one word: by xid, since two sessions write to two pages."""
    return str(
        await postroom.value(
            "select coalesce(string_agg(outcome::text, '' order by xmin::text::bigint, ctid), '') from outbox.attempts where event_id = $1",
            event_id,
        )
    )


async def busy(postroom: Postroom, event_id: int) -> dict[str, Any]:
    """The busy row of an event."""
    (row,) = await postroom.rows("select *, due_at = 'infinity' is_held from outbox.busy where event_id = $1", event_id)
    return row


AS_IT_IS = """
with undone as (
  select event_id, lane, 'pending' place, null::bigint owner from outbox.pending union all
  select event_id, lane, 'busy', owner from outbox.busy union all
  select event_id, lane, 'delayed', null from outbox.delayed union all select event_id, lane, 'dead', null from outbox.dead),
found as (
  select event_id, array_agg(place) places, array_agg(lane) lanes,
         bool_and(owner is null or exists (select from outbox.workers w where w.id = owner)) is_a_workers
  from undone group by event_id)
select coalesce(e.id, f.event_id) id, s.state, s.why, coalesce(f.places, '{}') places, is_a_workers,
       coalesce(lanes = array[outbox.lane_of(e.lane, e.id)], true) is_in_its_lane
from outbox.events e join outbox.states((select array_agg(id) from outbox.events)) s on s.event_id = e.id
full join found f on f.event_id = e.id"""
UNDONE = {"pending": (["pending"], ["busy"], ["delayed"]), "dead": (["dead"],), "done": ([],), "skipped": ([],)}


async def check_invariants(postroom: Postroom) -> list[dict[str, Any]]:
    """I1, what rows show of I2 and I4, and P7: the four add up. By the database alone. Returns the events: id, state, why, places."""
    events = await postroom.rows(AS_IT_IS)
    for event in events:
        assert event["places"] in UNDONE.get(event["state"], ()), event
        assert event["is_in_its_lane"], event
        assert event["is_a_workers"] is not False, event
    totals = await postroom.totals()
    assert totals["accepted"] == len(events) == sum(totals[state] for state in ("pending", "done", "skipped", "dead"))
    return events
