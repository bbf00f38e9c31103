"""P9 after many outages: an event that met one after the other is not put off for minutes."""

from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome
from dispatcher.routes import Route
from outbox import Claimed, DatabaseUnavailable, Event
from outbox.testing import Postroom
from tests.crashes.evidence import HEALS_WITHIN_S
from tests.dispatcher.handling import fate, has, is_over
from tests.dispatcher.running import dispatching, eventually, stage_all

OUTAGES = 8


async def test_p9_outages_met_again_and_again_do_not_put_an_event_off(postroom: Postroom) -> None:
    runs = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal runs
        runs += 1
        if runs <= OUTAGES:
            raise DatabaseUnavailable("Postgres did not answer")
        return Done()

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}):
        for met in range(1, OUTAGES + 1):
            waits = "select attempt = $2 and owner is null from outbox.busy where event_id = $1"
            await eventually(has(postroom, waits, event_id, met))
            found = await fate(postroom, event_id)
            assert found.failures == 0
            assert found.delay_s is not None
            assert found.delay_s <= HEALS_WITHIN_S / 2
            await postroom.hurry()
        await eventually(is_over(postroom, event_id))
    assert runs == OUTAGES + 1
