"""What stands still because of a fault under which every process lives on, and when it goes on again (P9).

healing.Interrupted does the same for a process that was killed, where another worker's name on the event is the sign.
"""

import time
from dataclasses import dataclass

from outbox import db
from tests.crashes.patience import Patience, heals_in_time
from tests.crashes.world import World

# At work, due, or the head of a free lane, with the attempt that it is at; a head has made none yet.
NOW = """
select event_id, attempt from outbox.busy where owner is not null or due_at <= now()
union all
select p.event_id, p.attempt - 1 from outbox.pending p
where not exists (select from outbox.busy b where b.lane = p.lane)
  and not exists (select from outbox.pending q where q.lane = p.lane and (q.urgency, q.event_id) < (p.urgency, p.event_id))"""
STILL = """
select exists (
  select from unnest($1::bigint[], $2::int[]) c(event_id, attempt)
  where exists (select from outbox.pending p where p.event_id = c.event_id)
     or exists (select from outbox.busy b
                where b.event_id = c.event_id and b.attempt <= c.attempt and (b.owner is not null or b.due_at <= now())))"""


@dataclass(frozen=True, slots=True)
class Standing:
    """The events that a fault caught, with their attempts. They go on when each is settled, at a later attempt, or rightly waits."""

    at: float
    patience: Patience
    events: list[int]
    attempts: list[int]

    @classmethod
    async def now(cls, world: World) -> "Standing":
        """Call it at the moment from which healing counts."""
        patience = Patience(await world.processes())
        rows = await db.fetch(world.pool, NOW)
        return cls(time.monotonic(), patience, [row["event_id"] for row in rows], [row["attempt"] for row in rows])

    async def goes_on(self, world: World, *, since: float | None = None) -> float:
        """Waits until all of them do; the seconds since then, or since another moment. Fails when P9 is broken."""

        async def does() -> bool:
            return not await db.fetchval(world.pool, STILL, self.events, self.attempts)

        await world.until(does, what="going on")
        return await self.in_time(world, time.monotonic() - (self.at if since is None else since))

    async def in_time(self, world: World, healed_s: float) -> float:
        """So many seconds, unless P9 is broken."""
        heals_in_time(healed_s, starved_s=self.patience.starved_s(await world.processes()))
        return healed_s
