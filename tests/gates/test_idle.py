"""A worker without work leaves the database almost alone."""

import asyncio
import time
from typing import Final

from benchmarks.counters import Counted, Counter
from dispatcher.config import DispatcherSettings
from outbox import db
from outbox.testing import Postroom
from tests.dispatcher.running import dispatching

WARM_S, RESTS_S = 3.0, 9.0  # the first of it, when rests still grow, is subtracted
TRANSACTIONS_PER_S: Final = 8.0
WRITES_PER_S: Final = 1.0


async def spent(counter: Counter, dsn: str, *, rests_s: float) -> tuple[Counted, float]:
    """By a dispatcher from its start to its end, with so long a rest between, and how many seconds that was."""
    before, began = await counter.read(), time.monotonic()
    async with dispatching(dsn, {}, settings=DispatcherSettings.model_construct()):
        await asyncio.sleep(rests_s)  # not for something to happen: the rest is what is measured
    return await counter.read() - before, time.monotonic() - began


async def test_an_idle_worker_costs_a_few_transactions_a_second_and_hardly_writes(quiet: Postroom) -> None:
    control = await db.connect(quiet.dsn, name="postroom:test")
    counter = Counter(control)
    await quiet.pool.close()
    beginning, began_s = await spent(counter, quiet.dsn, rests_s=WARM_S)
    # A worker that ended a moment ago is looked for more often: that is not rest.
    await control.execute("update outbox.workers set ended_at = ended_at - interval '1 hour'")
    whole, whole_s = await spent(counter, quiet.dsn, rests_s=RESTS_S)
    await control.close()
    rest = whole - beginning
    seconds = max(RESTS_S - WARM_S, whole_s - began_s)  # longer on a busy machine
    assert rest.transactions / seconds <= TRANSACTIONS_PER_S, rest
    assert rest.writes / seconds <= WRITES_PER_S, rest
