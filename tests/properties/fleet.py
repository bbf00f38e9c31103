"""Several real dispatchers in one process, handlers that follow a script, a far side that counts, and the database's own log of each lane.

Owns what happened; what should have happened is said by the tests. The log is written by a trigger on outbox.busy, inside the
transactions of the engine itself, so its order in a lane is the order in which the lane was taken and given free.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest

from dispatcher import effects, worker
from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.errors import AnswerLost
from dispatcher.outcome import Dead, Done, Outcome, Retry, Snooze
from dispatcher.policy.retry import RetryPolicy
from dispatcher.routes import Route
from dispatcher.service import Dispatcher
from outbox import Claimed
from outbox.embedded import Embedded
from outbox.migrate import migrate
from outbox.store import workers
from outbox.store.events import Arrival, stage_many
from outbox.testing import Postroom
from tests.dispatcher.running import dispatching
from tests.outbox.conftest import new_database

KIND = "test.scripted"
WORDS = ("retry", "raise", "snooze", "slow", "bury", "lose the answer", "dawdle afterwards")
AT_ONCE = RetryPolicy(quick=1000, base_s=0.01, factor=1, jitter=0, slow_s=())
LOG = """
create table public.lane_log (n bigint generated always as identity, lane bigint, event_id bigint, what text);
create function public.log_lane() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' or (tg_op = 'UPDATE' and old.event_id <> new.event_id) then
    insert into public.lane_log (lane, event_id, what) values (old.lane, old.event_id, 'over');
  end if;
  if tg_op <> 'DELETE' and new.owner is not null and (tg_op = 'INSERT' or old.owner is null or old.event_id <> new.event_id) then
    insert into public.lane_log (lane, event_id, what) values (new.lane, new.event_id, 'starts');
  end if;
  return null;
end $$;
create trigger log_lane after insert or update or delete on outbox.busy for each row execute function public.log_lane()"""


@asynccontextmanager
async def database_with_a_log(server: Embedded) -> AsyncIterator[str]:
    """A migrated database of its own, whose lanes are logged."""
    async with new_database(server) as dsn:
        connection = await asyncpg.connect(dsn)
        try:
            await migrate(connection)
            await connection.execute(LOG)
        finally:
            await connection.close()
        yield dsn


@contextmanager
def quick_take_overs() -> Iterator[None]:
    """Lost workers are noticed, and lost answers looked for, in a tenth of a second, so that an example need not wait for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "LOOK_S", 0.1)
        patch.setattr(worker, "RENEW_S", 0.1)
        patch.setattr(effects, "SETTLING_S", 0.1)
        yield


@dataclass
class FarSide:
    """Where the handlers' effects happen, and what each handler was called for."""

    scripts: dict[int, tuple[str, ...]] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    runs: Counter[int] = field(default_factory=Counter)

    async def handle(self, event: Claimed, ctx: Context) -> Outcome:
        """The next word of the event's script; when it has no more, done. Whatever the word, the effect must happen once in the end."""
        script, n = self.scripts[event.json()["n"]], self.runs[event.id]
        self.runs[event.id] += 1
        word = script[n] if n < len(script) else "done"
        match word:
            case "retry":
                return Retry("not yet")
            case "raise":
                raise LookupError("not yet")
            case "snooze":
                return Snooze(0.01, "not yet")
            case "bury":
                return Dead("never, says its script")
            case "slow":
                await asyncio.sleep(0.03)
        await ctx.step("effect", lambda: self._call(ctx.marker("effect"), lose=word == "lose the answer"), find=lambda: self._find(ctx))
        if word == "dawdle afterwards":
            await asyncio.sleep(0.05)
        return Done()

    async def _call(self, marker: str, *, lose: bool) -> str:
        self.effects[marker] += 1
        if lose:
            raise AnswerLost("far side", "the line was cut")
        return marker

    async def _find(self, ctx: Context) -> str | None:
        return ctx.marker("effect") if self.effects[ctx.marker("effect")] else None


class Fleet:
    """Dispatchers at work on one database."""

    def __init__(self, postroom: Postroom, far_side: FarSide, dispatchers: Sequence[Dispatcher]) -> None:
        self.postroom, self.far_side, self._dispatchers = postroom, far_side, dispatchers

    async def stage(self, n: int, lane: str | None, script: tuple[str, ...], *, urgency: int) -> int:
        """One event in a transaction of its own."""
        self.far_side.scripts[n] = script
        arrival = Arrival("app", KIND, None, lane, json.dumps({"n": n}).encode(), urgency=urgency)
        async with self.postroom.pool.acquire() as connection:
            [staged] = await stage_many(connection, [arrival])
        return staged.id

    async def lose(self, which: int) -> None:
        """Its lease has ended, and another worker noticed."""
        lost = self._dispatchers[which % len(self._dispatchers)].worker
        async with self.postroom.pool.acquire() as connection:
            await connection.execute("update outbox.workers set until = now() - interval '1 ms' where id = $1", lost)
            await workers.end_lapsed(connection)

    async def has_worked(self, runs: int | None) -> bool:
        """Whether so many runs have begun, or else nothing is left that would begin by itself."""
        if runs is not None and self.far_side.runs.total() >= runs:
            return True
        return (await self.postroom.totals())["pending"] == 0

    async def log(self) -> dict[int, list[tuple[int, str]]]:
        """What each lane did, in order: (event, starts or over)."""
        lanes: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
        for row in await self.postroom.rows("select lane, event_id, what from public.lane_log order by n"):
            lanes[row["lane"]].append((row["event_id"], row["what"]))
        return lanes


@asynccontextmanager
async def fleet(postroom: Postroom, *, size: int = 3) -> AsyncIterator[Fleet]:
    """Dispatchers with one far side; stopped in order at the end."""
    far_side = FarSide()
    routes = {KIND: Route(far_side.handle, retry=AT_ONCE)}
    own = DispatcherSettings.model_construct(concurrency=8, grace_s=0.0)
    async with AsyncExitStack() as stack:
        dispatchers = [await stack.enter_async_context(dispatching(postroom.dsn, routes, settings=own)) for _ in range(size)]
        yield Fleet(postroom, far_side, dispatchers)
