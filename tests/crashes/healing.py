"""How long it takes until what a kill interrupted goes on (P9)."""

import time
from dataclasses import dataclass

from outbox import db
from tests.crashes.patience import Patience, heals_in_time
from tests.crashes.world import World

# At work, due, or the head of a free lane: what would be at work now if nothing had happened.
INTERRUPTED = """
select event_id from outbox.busy where owner is not null or due_at <= now() or ($1 and due_at = 'infinity')
union all
select p.event_id from outbox.pending p
where not exists (select from outbox.busy b where b.lane = p.lane)
  and not exists (select from outbox.pending q where q.lane = p.lane and (q.urgency, q.event_id) < (p.urgency, p.event_id))"""
STANDS_STILL = """
select exists (select from outbox.pending where event_id = any ($1::bigint[]))
    or exists (select from outbox.busy where event_id = any ($1::bigint[]) and
               (owner <= $2 or due_at <= now() or ($3 and due_at = 'infinity')))"""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The events that a kill caught. They have healed when each is settled, or runs at a worker after `worker`, or waits for good reason.

    `held`: to wait for a destination is no good reason, because it could flow.
    """

    at: float
    patience: Patience
    events: list[int]
    worker: int
    held: bool = False

    @classmethod
    async def now(cls, world: World, *, everywhere: bool = False, held: bool = False) -> "Interrupted":
        """Call it right after a kill; or, when Postgres is killed, right before (`everywhere`: they live on, only the end counts)."""
        at, patience = time.monotonic(), Patience(await world.processes())
        worker = 2**62 if everywhere else await db.fetchval(world.pool, "select coalesce(max(id), 0) from outbox.workers")
        return cls(at, patience, [row["event_id"] for row in await db.fetch(world.pool, INTERRUPTED, held)], int(worker), held)

    async def healed(self, world: World, *, since: float | None = None) -> float:
        """Waits until they have; the seconds since the kill. Fails when P9 is broken."""

        async def has() -> bool:
            return not await db.fetchval(world.pool, STANDS_STILL, self.events, self.worker, self.held)

        await world.until(has, what="healed")
        return await self.in_time(world, since=since)

    async def in_time(self, world: World, *, since: float | None = None) -> float:
        """The seconds since the kill, until now. Fails when P9 is broken."""
        healed_s = time.monotonic() - (self.at if since is None else since)
        heals_in_time(healed_s, starved_s=self.patience.starved_s(await world.processes()))
        return healed_s
