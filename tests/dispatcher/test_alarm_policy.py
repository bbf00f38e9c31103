"""People are told of changes of state, once each, and only of those that last."""

from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.policy.alarm import WELL, Act, Condition, changes


@dataclass(frozen=True)
class Known:
    state: str
    seen: str
    seen_s: float
    detail: str = "it is"


def acts(conditions: list[Condition], known: dict[str, Known]) -> list[tuple[str, str, str]]:
    return [(step.act.value, step.condition.name, step.condition.state) for step in changes(conditions, known)]


LASTING = Condition("health", "unhealthy", "it is", "health", 60)
AT_ONCE = Condition("connection:ghl", "unauthorised", "it is", "connection")


def test_a_rejected_token_is_told_at_once_and_a_rate_only_when_it_lasts() -> None:
    assert acts([LASTING, AT_ONCE], {}) == [
        ("see", "health", "unhealthy"),
        ("see", "connection:ghl", "unauthorised"),
        ("tell", "connection:ghl", "unauthorised"),
    ]
    assert acts([LASTING], {"health": Known(WELL, "unhealthy", 59)}) == []
    assert acts([LASTING], {"health": Known(WELL, "unhealthy", 60)}) == [("tell", "health", "unhealthy")]


def test_what_was_told_is_not_told_again() -> None:
    known = {"health": Known("unhealthy", "unhealthy", 9000), "connection:ghl": Known("unauthorised", "unauthorised", 9000)}
    assert acts([LASTING, AT_ONCE], known) == []


def test_what_swings_back_before_it_was_told_is_forgotten_without_a_word() -> None:
    well = replace(LASTING, state=WELL)
    assert acts([well], {"health": Known(WELL, "unhealthy", 30)}) == [("see", "health", WELL), ("forget", "health", WELL)]
    assert acts([well], {}) == []


def test_an_end_is_told_once_it_has_lasted_and_then_forgotten() -> None:
    well = replace(LASTING, state=WELL)
    assert acts([well], {"health": Known("unhealthy", "unhealthy", 500)}) == [("see", "health", WELL)]
    assert acts([well], {"health": Known("unhealthy", WELL, 60)}) == [("tell", "health", WELL), ("forget", "health", WELL)]


def test_a_connection_that_is_no_longer_named_is_well_again() -> None:
    assert acts([], {"connection:ghl": Known("unauthorised", "unauthorised", 500)}) == [
        ("see", "connection:ghl", WELL),
        ("tell", "connection:ghl", WELL),
        ("forget", "connection:ghl", WELL),
    ]


STATES = st.sampled_from([WELL, "degraded", "unhealthy"])


@given(st.lists(st.tuples(STATES, st.floats(0, 200)), max_size=40))
def test_whatever_happens_nobody_is_told_the_same_twice_in_a_row(looks: list[tuple[str, float]]) -> None:
    known: dict[str, Known] = {}
    told: list[str] = [WELL]
    for state, passed_s in looks:
        if "health" in known:
            known["health"] = replace(known["health"], seen_s=known["health"].seen_s + passed_s)
        for step in changes([Condition("health", state, "it is", "health", 60)], known):
            match step.act:
                case Act.SEE:
                    before = known.get("health", Known(WELL, state, 0))
                    known["health"] = replace(before, seen=state, seen_s=before.seen_s if before.seen == state else 0.0)
                case Act.TELL:
                    told.append(state)
                    known["health"] = replace(known["health"], state=state)
                case Act.FORGET:
                    if known["health"].state == known["health"].seen:
                        del known["health"]
    assert all(one != after for one, after in pairwise(told))
