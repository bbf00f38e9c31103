"""Coalescing under a real dispatcher: what a head covers is exactly what stood right behind it at its start and meant the same.

A program says what waits in a lane, how each event ends, and what arrives while it runs. A few lines below say what must become of
each event; the dispatcher must come to the same, event by event. One dispatcher serves all examples, each in lanes of its own.
"""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.outcome import Dead, Done, Outcome, Retry, Skipped
from dispatcher.routes import Route
from outbox import Claimed, Event
from outbox.testing import Postroom
from tests.dispatcher.running import dispatching, eventually, stage_all
from tests.properties.fleet import AT_ONCE
from tests.properties.ground import Ground, ground_on

WORDS = {"test.page": "read", "test.page_again": "read", "test.list": "list", "test.plain": None}
OUTCOMES: dict[str, Outcome] = {"done": Done(), "skipped": Skipped("as new"), "dead": Dead("broken")}
ENDS = ("done", "done", "done", "skipped", "dead")


@dataclass(frozen=True)
class Item:
    """An event of one lane: how often it is retried before its end, and what arrives during each of its runs."""

    kind: str
    end: str
    retries: int = 0
    meanwhile: tuple[tuple["Item", ...], ...] = ()


kinds, ends = st.sampled_from(sorted(WORDS)), st.sampled_from(ENDS)
plain_items = st.builds(Item, kinds, ends, st.sampled_from([0, 0, 1]))
items = st.builds(
    Item, kinds, ends, st.sampled_from([0, 0, 0, 1, 2]), st.lists(st.lists(plain_items, max_size=3).map(tuple), max_size=3).map(tuple)
)
lanes = st.lists(st.lists(items, min_size=1, max_size=8), min_size=1, max_size=3)


@dataclass(eq=False)
class Fate:
    """One event as it was staged, and what must become of it."""

    item: Item
    lane: "Lane"
    event: int = 0
    runs: int = 0
    head: "Fate | None" = None

    def expected(self) -> tuple[str, str | None]:
        if self.head is not None:
            return "skipped", f"coalesced into #{self.head.event}"
        return self.item.end, {"done": None, "skipped": "as new", "dead": "broken"}[self.item.end]


@dataclass
class Lane:
    """What was staged into it, in order; what ran, in order."""

    name: str
    fates: list[Fate] = field(default_factory=list)
    ran: list[Fate] = field(default_factory=list)

    def add(self, new: Sequence[Item]) -> list[Fate]:
        added = [Fate(item, self) for item in new]
        self.fates += added
        return added


def foretell(lane: Lane, first: Sequence[Item]) -> None:
    """What must happen, without a database: the head runs to its end, with those that stood behind it when that run began."""
    waiting = deque(lane.add(first))
    while waiting:
        head = waiting.popleft()
        for run in range(head.item.retries + 1):
            word = WORDS[head.item.kind]
            behind = takewhile(lambda fate, word=word: WORDS[fate.item.kind] == word, list(waiting))  # type: ignore[misc]
            covered = [] if word is None else list(behind)
            lane.ran.append(head)
            waiting += lane.add(head.item.meanwhile[run] if run < len(head.item.meanwhile) else ())
        if head.item.end != "dead":
            for fate in covered:
                assert waiting.popleft() is fate
                fate.head = head


class Stage:
    """Where programs are played: the handlers of all lanes."""

    def __init__(self, postroom: Postroom) -> None:
        self._postroom, self._numbers, self.fates = postroom, count(), dict[int, Fate]()

    async def put(self, fates: Sequence[Fate]) -> None:
        """In one transaction, so that nobody sees a part of them."""
        numbers = [next(self._numbers) for _ in fates]
        self.fates |= dict(zip(numbers, fates, strict=True))
        happened = [Event(fate.item.kind, {"n": n}, lane=fate.lane.name) for n, fate in zip(numbers, fates, strict=True)]
        for fate, event in zip(fates, await stage_all(self._postroom, *happened), strict=True):
            fate.event = event

    async def handle(self, event: Claimed, ctx: Context) -> Outcome:
        fate = self.fates[json.loads(event.payload)["n"]]
        item, run = fate.item, fate.runs
        fate.lane.ran.append(fate)
        fate.runs += 1
        if run < len(item.meanwhile):
            await self.put(fate.lane.add(item.meanwhile[run]))
        if run < item.retries:
            return Retry("not yet")
        return OUTCOMES[item.end]


@dataclass(frozen=True)
class Theatre:
    ground: Ground
    stage: Stage
    numbers: Iterator[int] = field(default_factory=count)


@pytest.fixture(scope="module")
def theatre(postroom_database: str) -> Iterator[Theatre]:
    with ground_on(postroom_database) as ground:
        ground.run(ground.empty())
        stage = Stage(ground.postroom)
        routes = {kind: Route(stage.handle, retry=AT_ONCE, coalesce=word) for kind, word in WORDS.items()}
        playing = dispatching(ground.postroom.dsn, routes, settings=DispatcherSettings.model_construct())
        ground.run(playing.__aenter__())
        yield Theatre(ground, stage)
        ground.run(playing.__aexit__(None, None, None))


async def play(theatre: Theatre, programs: Sequence[Sequence[Item]]) -> tuple[list[Lane], dict[int, tuple[str, str | None]]]:
    """The lanes after the dispatcher has settled all of it, and what the database says of each event."""
    postroom, played = theatre.ground.postroom, [Lane(f"example {next(theatre.numbers)}") for _ in programs]
    for lane, first in zip(played, programs, strict=True):
        await theatre.stage.put(lane.add(first))

    async def is_over() -> bool:
        return not (await postroom.totals())["pending"]

    await eventually(is_over)
    ids = [fate.event for lane in played for fate in lane.fates]
    rows = await postroom.rows("select event_id, state, why from outbox.states($1::bigint[])", ids)
    return played, {row["event_id"]: (row["state"], row["why"]) for row in rows}


def prove(theatre: Theatre, *, examples: int) -> None:
    @settings(deadline=None, max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(programs=lanes)
    def covers_exactly_its_equals(programs: list[list[Item]]) -> None:
        played, said = theatre.ground.run(play(theatre, programs))
        for lane, first in zip(played, programs, strict=True):
            foretold = Lane(lane.name)
            foretell(foretold, first)
            assert [fate.item for fate in lane.fates] == [fate.item for fate in foretold.fates]
            events = {fate: real.event for fate, real in zip(foretold.fates, lane.fates, strict=True)}
            for fate, event in events.items():
                fate.event = event
            assert [fate.event for fate in lane.ran] == [fate.event for fate in foretold.ran]
            for fate in foretold.fates:
                assert said[fate.event] == fate.expected()
                assert fate.head is None or said[fate.head.event][0] in ("done", "skipped")
                assert fate.head is None or fate.head.event < fate.event

    covers_exactly_its_equals()


def test_a_head_covers_exactly_what_stood_behind_it_at_its_start_and_meant_the_same(theatre: Theatre) -> None:
    prove(theatre, examples=12)


@pytest.mark.long
def test_the_same_for_longer(theatre: Theatre) -> None:
    prove(theatre, examples=200)
