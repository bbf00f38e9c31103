"""A plan of a replay, from counting to its end, beside fresh events: no-op handler, one process."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks import load
from benchmarks.drain import LEFT, PATIENCE_S, POLL_S, SLOTS, Process
from benchmarks.drainer import Options
from benchmarks.load import FRESH, KIND
from benchmarks.server import database
from benchmarks.tally import Tally
from outbox import Event, db, planning, stage
from outbox.embedded import Embedded
from outbox.operators import Actor
from outbox.store import plans
from outbox.store.plans import State
from outbox.store.search import Wanted

LOOK_S: Final = 0.1
FRESH_EVERY_S: Final = 0.1
BENCH: Final = Actor("bench", "api")
WAITED: Final = """select extract(epoch from a.started_at - e.staged_at) * 1000
                   from outbox.events e join outbox.attempts a on a.event_id = e.id
                   where e.id > $1 and e.kind = $2 and a.attempt = 1 order by 1"""


@dataclass(frozen=True, slots=True)
class Replayed:
    """Seconds: to count and store the plan, from its start until its last event was sent, and until all of it was over.

    `fresh_ms`: how long live events beside it waited until they started, sorted.
    """

    made_s: float
    sent_s: float
    over_s: float
    fresh_ms: list[float]


async def replay(running: Embedded, *, events: int, lanes: int) -> Replayed:
    """Stages and drains them, then replays them all by a plan that goes on by itself after its canary."""
    async with database(running, "replay") as dsn:
        control = await db.connect(dsn, name="bench:control", timeout_s=PATIENCE_S)
        await load.stage(control, events, lanes=lanes)
        await db.fetch(control, "analyze")
        with Tally(1) as tally:
            drainer = await Process.start(dsn, Options(SLOTS, str(tally.path)))
            drainer.go()
            async with asyncio.timeout(PATIENCE_S):
                while tally.total() < events or await db.fetchval(control, LEFT, None):
                    await asyncio.sleep(POLL_S)
            last = int(await db.fetchval(control, "select max(id) from outbox.events"))
            async with db.pool(dsn, name="bench:plan", size=2) as pool, _fresh_events(dsn):
                made_s, sent_s, over_s = await _timed(pool, events)
            await drainer.report()
        waited = [float(row[0]) for row in await db.fetch(control, WAITED, last, FRESH)]
        await control.close()
    return Replayed(made_s, sent_s, over_s, waited)


async def _timed(pool: db.Pool, events: int) -> tuple[float, float, float]:
    began = time.perf_counter()
    made = await planning.make_replay(pool, BENCH, Wanted(kinds=[KIND]))
    made_s = time.perf_counter() - began
    await planning.start(pool, BENCH, made, alone=True)
    began = time.perf_counter()
    sent_s: float | None = None
    async with asyncio.timeout(PATIENCE_S):
        while (plan := await plans.one(pool, made)) is not None and plan["state"] != State.DONE:
            assert plan["state"] == State.RUNNING, dict(plan)
            sent_s = time.perf_counter() - began if sent_s is None and plan["turn"] == plan["events"] else sent_s
            await asyncio.sleep(LOOK_S)
    over_s = time.perf_counter() - began
    became = await plans.tally(pool, made)
    assert became == {"done": events}, became
    return made_s, over_s if sent_s is None else sent_s, over_s


@asynccontextmanager
async def _fresh_events(dsn: str) -> AsyncIterator[None]:
    """One live event after the other, as long as it is entered."""

    async def keep_staging() -> None:
        connection, n = await db.connect(dsn, name="bench:fresh"), 0
        try:
            while True:
                await stage(connection, Event(FRESH, {"n": n}, key=f"fresh-{n}", lane=f"fresh-{n % 50}"))
                n += 1
                await asyncio.sleep(FRESH_EVERY_S)
        finally:
            connection.terminate()

    task = asyncio.create_task(keep_staging())
    try:
        yield
    finally:
        task.cancel()
