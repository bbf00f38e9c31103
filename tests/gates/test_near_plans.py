"""Near looks, which take over when dead rows make looks over all lanes dear, keep to what they look at, whatever the planner believes."""

import pytest

from outbox.store import fresh
from outbox.testing import Postroom
from tests.gates.statements import LIVE, Send
from tests.gates.test_plans import HISTORIES, SMALL, History, check

NEAR: dict[str, Send] = {
    "a near look": lambda c, b, n: fresh.claim(c, worker=b.worker, limit=n, above=None, urgency=LIVE),
    "a near look at lanes that were let go": lambda c, b, n: fresh.claim(
        c, worker=b.worker, limit=n, above=None, urgency=LIVE, lanes=[event.lane_key for event in b.events]
    ),
}


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)
async def test_a_near_look_costs_what_it_looks_at_whatever_the_planner_believes(quiet: Postroom, history: History) -> None:
    await check(quiet, history, size=SMALL, sends=NEAR, looks_at=fresh.LOOK_AT)
