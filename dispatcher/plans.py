"""Carries stored plans on, by whichever worker looks first. What a plan does next stands in outbox.store.plans."""

import asyncio

from outbox.db import Pool
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from outbox.store import plans

log = get_logger(__name__)
IDLE_S = 2.0
AT_ONCE_S, BUSY_S = 0.05, 0.3  # what a plan sends may be over in a moment, or wait for a day: looked for soon, then less and less often


class Plans:
    """One for each worker; a plan's row lock keeps them apart."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self) -> None:
        """For ever, also through an outage."""
        rest_s = IDLE_S
        while True:
            sent: int | None = None
            try:
                sent = await self.once()
            except DatabaseUnavailable as problem:
                log.info("plans wait for the database", problem=problem)
            except Exception as problem:  # a plan that cannot go on must not stop the events
                log.error("a plan failed; the events go on, but somebody has to look", exc_info=problem)
            rest_s = IDLE_S if sent is None else AT_ONCE_S if sent else min(BUSY_S, 2 * rest_s)
            await asyncio.sleep(rest_s)

    async def once(self) -> int | None:
        """Moves each plan as far as it goes now. Returns how many portions it sent; None: no plan is under way."""
        found, sent = await plans.under_way(self._pool), 0
        for plan_id in found:
            while await plans.advance(self._pool, plan_id):
                sent += 1
        return sent if found else None
