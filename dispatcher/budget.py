"""The rate budget of one credential, shared by all dispatchers through a row of Postgres.

Owns the waiting; the arithmetic is policy/ratelimit, the row is outbox.budgets.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from dispatcher.errors import RateLimited
from dispatcher.policy import ratelimit
from dispatcher.policy.ratelimit import Bucket, Limits, Rate
from outbox.db import Pool
from outbox.store import budgets

LONGEST_WAIT_S = 10.0


class SharedBudget:
    """Take a token before each call, tell what the answer said after it."""

    def __init__(self, pool: Pool, *, destination: str, credential: str, rate: Rate, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self._pool, self._destination, self._credential, self._rate = pool, destination, credential, rate
        self._longest_wait_s = longest_wait_s
        self._turn = asyncio.Lock()  # only processes compete for the row, not the calls of each

    async def take(self, *, urgency: int) -> None:
        """Returns when a call may start. Raises RateLimited when that would take too long: the event then waits in the database."""
        waited_s = 0.0
        while wait_s := await self._ask(urgency):
            if waited_s + wait_s > self._longest_wait_s:
                raise RateLimited(self._destination, "the budget of this credential is used up", retry_after_s=wait_s, status=None)
            await asyncio.sleep(wait_s)
            waited_s += wait_s

    async def _ask(self, urgency: int) -> float:
        async with self._turn:
            return await budgets.take(
                self._pool, self._credential, burst=self._rate.burst, per_s=self._rate.per_s, decide=self._decide(urgency)
            )

    def _decide(self, urgency: int) -> Callable[[budgets.Budget, datetime], tuple[budgets.Budget, float]]:
        def decide(budget: budgets.Budget, now: datetime) -> tuple[budgets.Budget, float]:
            left, wait_s = ratelimit.take(Bucket(budget.tokens, budget.at, budget.paused_until), self._rate, now=now, urgency=urgency)
            used = budget.used + (wait_s == 0)
            return budgets.Budget(left.tokens, left.at, left.paused_until, used, budget.daily_left), wait_s

        return decide

    async def learn(self, limits: Limits, *, status: int) -> None:
        """Keeps what the far side said, for every dispatcher; costs nothing while it says "go on" and no day's quota."""
        pause_s = ratelimit.pause_s(limits, status)
        if pause_s > 0 or limits.daily_remaining is not None:
            await budgets.learn(self._pool, self._credential, pause_s=pause_s, daily_left=limits.daily_remaining)
