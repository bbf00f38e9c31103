"""Handlers for tests of the engine, and what the rows say became of an event."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome
from dispatcher.routes import Handler
from outbox import Claimed, DatabaseUnavailable
from outbox.testing import Postroom


def returning(outcome: Any) -> Handler:
    """A handler that always ends with this, whatever it is."""

    async def handler(event: Claimed, ctx: Context) -> Any:
        return outcome

    return handler


def raising(problem: Callable[[], BaseException], *, times: int | None = None) -> Handler:
    """A handler that fails with a fresh exception, the first `times` times or always; then it is done."""
    failed = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal failed
        if times is not None and failed >= times:
            return Done()
        failed += 1
        raise problem()

    return handler


@dataclass(slots=True)
class Blocking:
    """A handler that tells when it has begun and ends when it is let go."""

    begun: asyncio.Event
    release: asyncio.Event
    runs: int = 0

    @classmethod
    def new(cls) -> "Blocking":
        return cls(asyncio.Event(), asyncio.Event())

    async def __call__(self, event: Claimed, ctx: Context) -> Outcome:
        self.runs += 1
        self.begun.set()
        await self.release.wait()
        return Done()


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one event. `failures`, `attempt` and `delay_s` are those of its busy row; None when it has none."""

    state: str
    why: str | None
    outcomes: str
    failures: int | None
    attempt: int | None
    delay_s: float | None
    is_held: bool


async def fate(postroom: Postroom, event_id: int) -> Fate:
    [row] = await postroom.rows(
        """select s.state, s.why, b.failures, b.attempt, b.due_at = 'infinity' is_held,
                  case when b.due_at < 'infinity' then extract(epoch from b.due_at - now())::float8 end delay_s,
                  (select coalesce(string_agg(outcome::text, '' order by attempt, started_at), '')
                   from outbox.attempts where event_id = $1) outcomes
           from outbox.states(array[$1::bigint]) s left join outbox.busy b on b.event_id = s.event_id""",
        event_id,
    )
    return Fate(row["state"], row["why"], row["outcomes"], row["failures"], row["attempt"], row["delay_s"], bool(row["is_held"]))


def is_over(postroom: Postroom, *event_ids: int) -> Callable[[], Awaitable[bool]]:
    """A check that all of these are done or skipped."""

    async def check() -> bool:
        states = await postroom.rows("select state from outbox.states($1::bigint[])", list(event_ids))
        return len(states) == len(event_ids) and all(row["state"] in ("done", "skipped") for row in states)

    return check


def has(postroom: Postroom, query: str, *args: Any) -> Callable[[], Awaitable[bool]]:
    """A check that a query says true."""

    async def check() -> bool:
        return bool(await postroom.value(query, *args))

    return check


def everything_is_over(postroom: Postroom) -> Callable[[], Awaitable[bool]]:
    """A check that every event is done or skipped; while the database is away, it is not."""

    async def check() -> bool:
        try:
            totals = await postroom.totals()
        except DatabaseUnavailable:
            return False
        return totals["accepted"] == totals["done"] + totals["skipped"]

    return check


async def is_so(fact: bool) -> bool:
    """For `eventually`, of a fact in this process."""
    return fact


@asynccontextmanager
async def hurrying(act: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
    """Does it again and again meanwhile (`postroom.hurry`), so that nobody has to wait for a time to come."""

    async def again() -> None:
        while True:
            await act()
            await asyncio.sleep(0.05)

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
