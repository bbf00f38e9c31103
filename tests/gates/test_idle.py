"""A worker without work leaves the database almost alone."""

import asyncio
from typing import Final

from benchmarks.counters import Counted, Counter
from dispatcher.config import DispatcherSettings
from outbox import db
from outbox.testing import Postroom
from tests.dispatcher.running import dispatching

WARM_S, RESTS_S = 3.0, 9.0  # the first of it, when rests still grow, is subtracted
TRANSACTIONS_PER_S: Final = 8.0
WRITES_PER_S: Final = 1.0


async def spent(counter: Counter, dsn: str, *, rests_s: float) -> Counted:
    """By a dispatcher from its start to its end, with so long a rest between."""
    before = await counter.read()
    async with dispatching(dsn, {}, settings=DispatcherSettings.model_construct()):
        await asyncio.sleep(rests_s)  # not for something to happen: the rest is what is measured
    return await counter.read() - before


async def test_an_idle_worker_costs_a_few_transactions_a_second_and_hardly_writes(quiet: Postroom) -> None:
    control = await db.connect(quiet.dsn, name="postroom:test")
    counter = Counter(control)
    await quiet.pool.close()
    beginning = await spent(counter, quiet.dsn, rests_s=WARM_S)
    # A worker that ended a moment ago is looked for more often: that is not rest.
    await control.execute("update outbox.workers set ended_at = ended_at - interval '1 hour'")
    whole = await spent(counter, quiet.dsn, rests_s=RESTS_S)
    await control.close()
    rest = whole - beginning
    seconds = RESTS_S - WARM_S
    assert rest.transactions / seconds <= TRANSACTIONS_PER_S, rest
    assert rest.writes / seconds <= WRITES_PER_S, rest
