"""Lanes under real dispatchers: whatever handlers do, whoever dies, whatever is buried and replayed, each lane keeps its order.

P5 in the words of the design: if B is staged by a transaction that began after A's had committed, and both are of one lane and
urgency, A is settled before B starts. A replayed event joins its lane behind what has started.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from outbox.embedded import Embedded
from outbox.store import dead, events
from tests.dispatcher.running import eventually
from tests.outbox.engine import check_invariants
from tests.properties.fleet import WORDS, Fleet, database_with_a_log, fleet, quick_take_overs
from tests.properties.ground import Ground, ground_on, running_loop

LANES = ("chair:1", "chair:2", None)


@dataclass(frozen=True)
class Stage:
    """One event, in a transaction that begins after the one before has committed."""

    lane: str | None
    script: tuple[str, ...]
    urgency: int = 0


@dataclass(frozen=True)
class Lose:
    """A dispatcher's lease ends while it works."""

    which: int


@dataclass(frozen=True)
class Replay:
    """An event that is over, whichever comes first from there on."""

    which: int


@dataclass(frozen=True)
class RetryTheDead:
    pass


@dataclass(frozen=True)
class LetWork:
    """Until so many more runs have begun, or nothing is left to do."""

    runs: int


stagings = st.builds(
    Stage,
    st.sampled_from([LANES[0], *LANES]),
    st.lists(st.sampled_from(WORDS), max_size=3).map(tuple),
    st.sampled_from([0, 0, 0, 1]),
)
interferences = st.one_of(
    st.builds(LetWork, st.integers(1, 5)),
    st.builds(Lose, st.integers(0, 2)),
    st.builds(Replay, st.integers(0, 30)),
    st.just(RetryTheDead()),
)
programs = st.lists(st.one_of(stagings, stagings, interferences), min_size=6, max_size=30)
AS_LONG_AS_IT_TAKES = settings(deadline=None, suppress_health_check=list(HealthCheck), phases=set(Phase) - {Phase.explain})


async def carry_out(fleet: Fleet, program: list[Stage | Lose | Replay | RetryTheDead | LetWork]) -> dict[int, Stage]:
    """What was staged, by id, in order."""
    pool, staged = fleet.postroom.pool, dict[int, Stage]()
    for act in program:
        match act:
            case Stage():
                staged[await fleet.stage(len(staged), act.lane, act.script, urgency=act.urgency)] = act
            case Lose():
                await fleet.lose(act.which)
            case Replay():
                async with pool.acquire() as connection:
                    from_there = [event for n, event in enumerate(staged) if n >= act.which % len(staged)] if staged else []
                    for event in from_there:
                        if await events.replay(connection, event, by="ada"):
                            break
            case RetryTheDead():
                await dead.retry(pool, [row["id"] for row in await dead.find(pool, dead.Filter())], by="ada")
            case LetWork():
                enough = fleet.far_side.runs.total() + act.runs
                await eventually(lambda enough=enough: fleet.has_worked(enough))  # type: ignore[misc]
    return staged


async def settle_all(fleet: Fleet) -> None:
    """Scripts come to their ends: what they buried is retried until nothing is."""
    pool = fleet.postroom.pool
    while True:
        await eventually(lambda: fleet.has_worked(None), within_s=60)
        buried = [row["id"] for row in await dead.find(pool, dead.Filter(), limit=200)]
        if not buried:
            return
        await dead.retry(pool, buried, by="ada")


def check_order(staged: dict[int, Stage], log: dict[int, list[tuple[int, str]]]) -> None:
    first: dict[tuple[int, str], int] = {}
    at_work: dict[int, int | None] = defaultdict(lambda: None)
    for lane, entries in log.items():
        for n, (event, what) in enumerate(entries):
            first.setdefault((event, what), n)
            assert at_work[lane] in (None, event), "two of a lane at once"
            at_work[lane] = event if what == "starts" else None
    queues: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for event, act in staged.items():
        if act.lane is not None:
            queues[act.lane, act.urgency].append(event)
    for queue in queues.values():
        assert sorted(queue, key=lambda event: first[event, "starts"]) == queue
        assert all(first[earlier, "over"] < first[later, "starts"] for earlier, later in pairwise(queue))


@pytest.fixture(scope="module")
def ground(postroom_server: Embedded) -> Iterator[Ground]:
    """A database with a log, and quick take-overs."""
    with running_loop() as loop, quick_take_overs():
        database = database_with_a_log(postroom_server)
        dsn = loop.run_until_complete(database.__aenter__())
        with ground_on(dsn) as opened:
            yield opened
        loop.run_until_complete(database.__aexit__(None, None, None))


def prove(ground: Ground, *, examples: int) -> None:
    @settings(AS_LONG_AS_IT_TAKES, max_examples=examples)
    @given(program=programs)
    def keeps_its_order(program: list[Stage | Lose | Replay | RetryTheDead | LetWork]) -> None:
        ground.run(one_program(ground, program))

    keeps_its_order()


async def one_program(ground: Ground, program: list[Stage | Lose | Replay | RetryTheDead | LetWork]) -> None:
    await ground.empty()
    await ground.postroom.pool.execute("truncate public.lane_log")
    async with fleet(ground.postroom) as at_work:
        staged = await carry_out(at_work, program)
        await settle_all(at_work)
    check_order(staged, await at_work.log())
    assert Counter(at_work.far_side.effects.values()) == Counter({1: len(staged)} if staged else {})
    totals = await ground.postroom.totals()
    assert (totals["accepted"], totals["done"]) == (len(staged), len(staged))
    await check_invariants(ground.postroom)


def test_p5_a_lane_keeps_its_order_through_retries_burials_replays_and_take_overs(ground: Ground) -> None:
    prove(ground, examples=4)


@pytest.mark.long
def test_p5_the_same_for_longer(ground: Ground) -> None:
    prove(ground, examples=40)
