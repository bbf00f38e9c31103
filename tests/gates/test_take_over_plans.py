"""What heals costs one pass over the busy lanes at most, never one for each lane it frees: or a take-over runs into its time limit (P9).

Unlike the claims these run with a connection's common settings, so a plan from an empty table may read all of it; but only once.
"""

from typing import Final

import pytest

from outbox.testing import Postroom
from tests.gates import filling
from tests.gates.filling import BATCH
from tests.gates.plans import session
from tests.outbox.engine import worker

WAITING: Final = 20_000
GENERIC: Final = {"plan_cache_mode": "force_generic_plan"}
VALUES: Final = {
    ("busy", "release_orphans"): (),
    ("busy", "bury_poison"): (),
    ("busy", "orphan_owners"): (),
    ("busy", "release_held"): ("held for ghl", BATCH, 0, 1),
    ("busy", "release_probe"): ("held for ghl", 0),
}


@pytest.mark.parametrize("settings", [{}, GENERIC], ids=["custom plans", "generic plans"])
@pytest.mark.parametrize("is_analyzed", [False, True], ids=["never analyzed", "analyzed when empty"])
async def test_p9_a_take_over_beside_waiting_lanes_passes_over_them_once(
    quiet: Postroom, is_analyzed: bool, settings: dict[str, str]
) -> None:
    if is_analyzed:
        await quiet.pool.execute("analyze")
    async with worker(quiet) as dead, session(quiet.dsn, settings=settings) as planned:
        await planned.plan(VALUES)
        await filling.waiting(quiet, WAITING)
        events = await filling.running(quiet, dead)
        await quiet.pool.execute("update outbox.busy set crashes = 2 where owner is not null and lane % 10 = 0")
        await dead.die()
        for statement, values in VALUES.items():
            found = await planned.explain(statement, *values)
            assert found.rows() <= 2 * (WAITING + BATCH), f"{statement}\n{found.text()}"
            # Each row that is freed is found by its key and written; the rest is the pass.
            assert found.buffers() <= (WAITING + BATCH) / 5 + 40 * BATCH, f"{statement}: {found.buffers()}\n{found.text()}"
    assert len(events) == BATCH
