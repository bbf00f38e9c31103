"""Carries stored plans on, by whichever worker looks first. What a plan does next stands in outbox.store.plans."""

import asyncio

from outbox.db import Pool
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from outbox.store import plans

log = get_logger(__name__)
IDLE_S, BUSY_S = 2.0, 0.3


class Plans:
    """One for each worker; a plan's row lock keeps them apart."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self) -> None:
        """For ever, also through an outage."""
        while True:
            under_way = False
            try:
                under_way = await self.once()
            except DatabaseUnavailable as problem:
                log.info("plans wait for the database", problem=problem)
            except Exception as problem:  # a plan that cannot go on must not stop the events
                log.error("a plan failed; the events go on, but somebody has to look", exc_info=problem)
            await asyncio.sleep(BUSY_S if under_way else IDLE_S)

    async def once(self) -> bool:
        """Moves each plan as far as it goes now. Returns whether any is under way."""
        found = await plans.under_way(self._pool)
        for plan_id in found:
            while await plans.advance(self._pool, plan_id):
                pass
        return bool(found)
