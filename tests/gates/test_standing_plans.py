"""What health is judged by, asked every few seconds while a backlog is drained: one pass, whatever the planner was led to believe."""

import pytest

from outbox.testing import Postroom
from tests.gates import filling
from tests.gates.plans import session
from tests.outbox.engine import worker

BACKLOG, WAITING = 20_000, 2_000
LOOK = ("standing", "look")


@pytest.mark.parametrize("is_analyzed", [False, True], ids=["never analyzed", "analyzed when empty"])
async def test_a_look_at_the_standing_passes_once_over_what_waits_and_what_is_busy(quiet: Postroom, is_analyzed: bool) -> None:
    if is_analyzed:
        await quiet.pool.execute("vacuum analyze outbox.busy, outbox.pending")
    async with session(quiet.dsn, settings={}) as at_first, session(quiet.dsn, settings={}) as later, worker(quiet) as me:
        await at_first.plan([LOOK])
        await filling.backlog(quiet, BACKLOG)
        await later.plan([LOOK])
        await filling.waiting(quiet, WAITING)
        events = await filling.running(quiet, me)
        for planned in (at_first, later):
            seen = await planned.explain(LOOK)
            assert seen.rows() <= BACKLOG + WAITING + 5 * len(events), seen.text()
