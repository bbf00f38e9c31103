"""The life of an event against the real Postgres: no order in which stagers, workers, deaths and people act breaks an invariant.

The rules, and what their model leaves out, are in machine.py.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.ground import Ground, ground_on
from tests.properties.machine import EventLife

AS_LONG_AS_IT_TAKES = settings(deadline=None, suppress_health_check=list(HealthCheck), phases=set(Phase) - {Phase.explain})
OFTEN = ("settled", "taken over", "an old outcome was refused", "duplicate", "buried")
NOW_AND_THEN = (
    *(
        "key reused",
        "committed late",
        "covered",
        "lane kept",
        "stray",
        "poison",
        "replayed",
        "dead retried",
        "discarded",
        "released",
        "probed",
    ),
    *("ended while it claimed", "frozen, cut", "frozen, awake again", "retried", "snoozed", "away", "rate limited"),
    *("held for ghl", "held for notion after a failure"),
)


def live(dsn: str, *, examples: int, steps: int) -> Ground:
    with ground_on(dsn) as ground:
        run_state_machine_as_test(
            lambda: EventLife(ground),  # type: ignore[arg-type]  # any factory will do
            settings=settings(AS_LONG_AS_IT_TAKES, max_examples=examples, stateful_step_count=steps),
        )
    return ground


def test_i1_to_i5_and_p7_hold_in_whatever_order_things_happen(postroom_database: str) -> None:
    happened = live(postroom_database, examples=15, steps=50).happened
    assert [what for what in OFTEN if not happened[what]] == [], "the examples were about something"


@pytest.mark.long
def test_i1_to_i5_and_p7_hold_for_longer(postroom_database: str) -> None:
    happened = live(postroom_database, examples=180, steps=70).happened
    assert [what for what in (*OFTEN, *NOW_AND_THEN) if not happened[what]] == [], "each kind of thing happened"
