"""The claim stays a loose index scan: one step for each lane it looks at, at any size and whatever the planner believes.

What a claim costs behind one long lane, and which partition it reads, is in tests/outbox/test_claim_cost.py.
"""

from typing import Any, Final

import pytest

from outbox.store import lanes
from outbox.store.lanes import LOWEST
from outbox.testing import Postroom
from tests.gates import filling
from tests.gates.plans import Explained, Session, session
from tests.outbox.engine import Worker, worker

LIMIT: Final = 500
CLAIM: Final = ("pending", "claim")
PAGES = 80


async def explain(planned: Session, me: Worker, *, urgency: int = 0, limit: int = LIMIT) -> Explained:
    return await planned.explain(CLAIM, me.id, limit, LOWEST, urgency)


def steps(found: Explained) -> list[dict[str, Any]]:
    """The walk over the lanes: each node that reads the index of pending inside the recursion."""
    [walk] = [node for node in found.nodes() if node["Node Type"] == "Recursive Union"]
    return Explained(walk).table_scans()


def check(found: Explained) -> None:
    first, following = steps(found)
    for step in (first, following):
        assert step["Node Type"] in ("Index Scan", "Index Only Scan"), found.text()
        assert step["Index Name"] == "pending_pkey"
        assert "Filter" not in step, found.text()
    assert "(urgency = $4) AND (lane > $3)" in first["Index Cond"]
    assert "(urgency = $4) AND (lane > h.lane)" in following["Index Cond"]
    assert following["Actual Loops"] <= LIMIT
    assert following["Actual Rows"] <= 1, "a step is the head of the next lane, and not what stands behind it"
    assert found.unbounded() == [], found.text()
    assert found.rows() <= 2 * LIMIT, found.text()
    assert found.buffers() <= PAGES * LIMIT, found.text()


@pytest.mark.parametrize("count", [0, 100_000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_the_claim_is_a_loose_index_scan_with_fresh_and_with_lying_statistics(quiet: Postroom, count: int) -> None:
    await quiet.pool.execute("analyze")
    async with worker(quiet) as me, session(quiet.dsn) as early, session(quiet.dsn) as late, session(quiet.dsn) as informed:
        await early.plan([CLAIM])
        await filling.backlog(quiet, count)
        await late.plan([CLAIM])
        found = [await explain(planned, me, urgency=urgency) for planned in (early, late) for urgency in (0, 1)]
        await quiet.pool.execute("analyze")
        found += [await explain(informed, me, urgency=urgency) for urgency in (0, 1)]
        for one in found:
            check(one)
        for urgency in (0, 1):
            assert len(await me.claim(limit=LIMIT, urgency=urgency)) == min(count, LIMIT)


async def test_a_claim_passes_by_a_hundred_thousand_waiting_lanes(quiet: Postroom) -> None:
    """What waits is not in pending, so it costs the claim nothing; only what stands behind it is looked at, once a lane."""
    await filling.backlog(quiet, 5_000)
    async with worker(quiet) as me, session(quiet.dsn) as planned:
        before = await explain(planned, me)
        await filling.waiting(quiet, 100_000)
        after = await explain(planned, me)
        looked = await lanes.claim(me.connection, worker=me.id, limit=LIMIT, cursor=LOWEST, urgency=0)
    assert after.rows() == before.rows(), after.text()
    assert after.buffers() <= before.buffers() + 5 * LIMIT  # the index of busy is deeper
    assert len(looked.events) == looked.seen
