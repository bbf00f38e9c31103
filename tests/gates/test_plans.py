"""Every statement of the engine costs its batch: not what stands in the tables, and whatever the planner was led to believe.

The tables swing between empty and large, a worker keeps a plan for hours, and statistics are of another moment. So each statement is
planned at every moment of several histories, and run at the end of each.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import pytest

from outbox.event import Claimed
from outbox.queries import load
from outbox.store import lanes
from outbox.testing import Postroom
from tests.gates import filling
from tests.gates.filling import BATCH, FOLLOWERS
from tests.gates.plans import Explained, Session, Statement, session
from tests.gates.statements import FILES, SENDS, Batch, Send, sent, statements
from tests.outbox.engine import Worker, worker

SMALL: Final = 8_000
# Rows and pages for each event of a batch: the deepest look-up has four levels, and an event costs at most a dozen of them.
ROWS, ROWS_ALWAYS = 2 + FOLLOWERS, 20
PAGES, PAGES_ALWAYS = 80, 250
# What does not go with a batch, and why it may cost more.
EXEMPT: Final[Mapping[Statement, str]] = {
    ("pending", "next_due"): "the first rows of three indexes; asked at rest",
    ("busy", "hand_back"): "one pass over busy when a worker stops",
    ("busy", "strays"): "one pass over busy, only while an answer is missing",
    ("busy", "hand_back_strays"): "as strays",
    ("busy", "hold_lock"): "one row by its key",
    ("busy", "wake"): "the lanes that wait for one repair, by their keys",
    ("busy", "progress"): "one row by its key, once for each page of a sync",
    ("pending", "take_one"): "the head of one lane, for a command that works on no other",
    ("busy", "release_probe"): "what is held for one destination, once for each probe of it",
    ("busy", "held"): "counts what is held",
    ("busy", "bury_poison"): "one pass over busy when a worker was lost",
    ("busy", "release_orphans"): "one pass over busy when a worker was lost: see below",
    ("busy", "orphan_owners"): "one pass over busy when a worker was lost",
    ("busy", "held_long"): "for people",
    ("busy", "blocked"): "for people",
}


@dataclass(slots=True)
class Told:
    """A database with a past, and a session with its plans from each moment of it."""

    postroom: Postroom
    me: Worker
    size: int
    stack: AsyncExitStack
    sends: Mapping[str, Send]
    sessions: dict[str, Session] = field(default_factory=dict)

    async def plan(self, moment: str) -> None:
        """A worker that prepares its statements now."""
        made = await self.stack.enter_async_context(session(self.postroom.dsn))
        await made.plan(await statements(self.sends))
        self.sessions[moment] = made

    async def fill(self) -> None:
        """Large."""
        await filling.backlog(self.postroom, self.size)
        await filling.waiting(self.postroom, self.size // 2)

    async def run(self) -> list[Claimed]:
        """A full batch at work, and some due."""
        await filling.due(self.postroom)
        return await filling.running(self.postroom, self.me)

    async def empty(self) -> None:
        """As after a drain and a vacuum: how many rows there are is known, what they look like is remembered."""
        for table in ("pending", "busy"):
            await self.postroom.pool.execute(f"delete from outbox.{table}")
            await self.postroom.pool.execute(f"vacuum outbox.{table}")

    async def analyze(self) -> None:
        await self.postroom.pool.execute("analyze")


History: TypeAlias = Callable[[Told], Awaitable[list[Claimed]]]


async def never_analyzed(told: Told) -> list[Claimed]:
    await told.plan("empty")
    await told.fill()
    await told.plan("full")
    events = await told.run()
    await told.plan("at work")
    return events


async def analyzed_empty(told: Told) -> list[Claimed]:
    await told.analyze()
    return await never_analyzed(told)


async def analyzed_now(told: Told) -> list[Claimed]:
    await told.fill()
    events = await told.run()
    await told.analyze()
    await told.plan("now")
    return events


async def analyzed_when_all_waited(told: Told) -> list[Claimed]:
    await told.fill()
    await told.analyze()
    await told.plan("before the claim")
    events = await told.run()
    await told.plan("at work")
    return events


async def analyzed_when_all_ran(told: Told) -> list[Claimed]:
    events = await told.run()
    await told.analyze()
    await told.plan("before the backlog")
    await told.fill()
    await told.plan("full")
    return events


async def analyzed_with_one_row(told: Told) -> list[Claimed]:
    await told.postroom.value("select outbox.stage('a', '{}', lane => 'one')")
    one = await told.me.claim(limit=1)
    await told.analyze()
    await told.plan("one row")
    await told.me.done(*one)
    await told.fill()
    events = await told.run()
    await told.plan("full")
    return events


async def analyzed_full_then_emptied(told: Told) -> list[Claimed]:
    await told.fill()
    await told.analyze()
    await told.empty()
    await told.plan("emptied")
    events = await told.run()
    await told.plan("at work")
    return events


async def analyzed_emptied_then_refilled(told: Told) -> list[Claimed]:
    await told.fill()
    await told.empty()
    await told.analyze()
    await told.plan("emptied")
    await told.fill()
    events = await told.run()
    await told.plan("refilled")
    return events


HISTORIES: Final[tuple[History, ...]] = (
    never_analyzed,
    analyzed_empty,
    analyzed_now,
    analyzed_when_all_waited,
    analyzed_when_all_ran,
    analyzed_with_one_row,
    analyzed_full_then_emptied,
    analyzed_emptied_then_refilled,
)


def faults(found: Explained, count: int, *, looks_at: int) -> list[str]:
    """What makes it grow with a table, or with the square of the batch. `looks_at`: rows that it may look at besides."""
    told = [f"{scan} without a condition" for scan in found.unbounded()]
    if found.rows() > (most := ROWS * count + ROWS_ALWAYS + looks_at):
        told.append(f"{found.rows():,} rows, not {most:,}")
    if found.buffers() > (most := PAGES * count + PAGES_ALWAYS + PAGES * looks_at // 2):
        told.append(f"{found.buffers():,} pages, not {most:,}")
    return told


async def check(quiet: Postroom, history: History, *, size: int, sends: Mapping[str, Send] = SENDS, looks_at: int = 0) -> None:
    """Lives through a history and runs every statement with every plan that was made on the way."""
    async with AsyncExitStack() as stack:
        told = Told(quiet, await stack.enter_async_context(worker(quiet)), size, stack, sends)
        await _check(told, await history(told), looks_at)


async def _check(told: Told, events: list[Claimed], looks_at: int) -> None:
    behind = {lane: tuple(event_id for event_id, _ in found) for lane, found in (await lanes.followers(told.me.connection, events)).items()}
    assert len(events) == len(behind) == BATCH
    batch, found, plans = Batch(told.me.id, events, behind), list[str](), list[str]()
    for moment, planned in told.sessions.items():
        for what, send in told.sends.items():
            for count in (1, BATCH):
                statement, values = await sent(send, batch, count)
                explained = await planned.explain(statement, *values)
                if wrong := faults(explained, count, looks_at=looks_at):
                    found.append(f"{what} of {count}, planned when {moment}: {'; '.join(wrong)}")
                    plans.append(explained.text())
    assert not found, "\n".join([*found, "The plan of the last:", plans[-1]])


@pytest.mark.parametrize("size", [SMALL, pytest.param(200_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)
async def test_a_statement_costs_its_batch_whatever_the_planner_believes(quiet: Postroom, history: History, size: int) -> None:
    await check(quiet, history, size=size)


async def test_every_statement_of_the_engine_is_held_to_its_batch_or_exempt_for_a_reason() -> None:
    every = {(stem, name) for stem in FILES for name in load(stem)}
    assert every == set(await statements()) | EXEMPT.keys()
    assert not set(await statements()) & EXEMPT.keys()
