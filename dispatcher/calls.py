"""What the calls of this process took and how they ended, by destination: gathered in memory, told to the database every few seconds.

Failed is a call whose far side did not do its part: no whole answer, a credential that is not taken, too many, an error of its own. A
refusal of one record is an answer. What a killed process had not told is missing from what people are shown, and nowhere else.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from dispatcher.clients.http import Call
from dispatcher.ending import end
from dispatcher.telling import tell_for_ever
from outbox.db import Pool
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from outbox.store import calls

log = get_logger(__name__)
EVERY_S: Final = 5.0
LAST_S: Final = 2.0
NOT_TAKEN: Final = frozenset({401, 403, 408, 429})


class CallCounts:
    """One for each process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._made, self._failed = Counter[tuple[str, int]](), Counter[tuple[str, int]]()

    def made(self, call: Call) -> None:
        """One ended."""
        of = calls.counted_as(call.destination), calls.bucket_of(call.took_ms)
        self._made[of] += 1
        self._failed[of] += call.status is None or call.status >= 500 or call.status in NOT_TAKEN

    async def run(self) -> None:
        """Tells for ever; what could not be told is told the next time."""
        await tell_for_ever(self.tell, every_s=EVERY_S)

    async def tell(self) -> None:
        """Raises DatabaseUnavailable: then it is kept. A commit whose answer was lost is counted twice, rather than not at all."""
        made, failed = self._made, self._failed
        self._made, self._failed = Counter(), Counter()
        try:
            await calls.add(self._pool, ((*of, number, failed[of]) for of, number in made.items()))
        except BaseException:
            self._made.update(made)
            self._failed.update(failed)
            raise


@asynccontextmanager
async def counting(pool: Pool) -> AsyncIterator[CallCounts]:
    """While the block runs they are told, and once more at its end."""
    counts = CallCounts(pool)
    task = asyncio.create_task(counts.run(), name="calls")
    try:
        yield counts
    finally:
        await end((task,))
        try:
            async with asyncio.timeout(LAST_S):
                await counts.tell()
        except (DatabaseUnavailable, TimeoutError) as problem:
            log.debug("the last counts of calls could not be told", problem=problem)
