"""Everything that the engine does, once, by a dispatcher of this process: what the rows and the far side say afterwards is asserted here.

Retries, burial, snooze, a step whose answer is lost, a handler's own transaction with a follow-up, a delayed event, coalescing, a lane.
"""

from datetime import UTC, datetime, timedelta

from dispatcher.context import Context
from dispatcher.errors import AnswerLost
from dispatcher.outcome import Dead, Done, Outcome, Retry, Settled, Snooze
from dispatcher.routes import Route
from outbox import Claimed, Event
from outbox.testing import Postroom
from tests.dispatcher.handling import has, hurrying
from tests.dispatcher.running import dispatching, eventually, stage_all

NOTHING_UNDONE = """
select not exists (select from outbox.pending) and not exists (select from outbox.busy) and not exists (select from outbox.delayed)
   and exists (select from outbox.events where kind = 'test.follow_up')"""
LANE = 40


async def run_everything(postroom: Postroom, dsn: str) -> None:
    """`dsn` is how the dispatcher reaches the database of `postroom`."""
    ran: list[str] = []
    kept: list[str] = []

    async def retried(event: Claimed, ctx: Context) -> Outcome:
        ran.append("retried")
        return Done() if ran.count("retried") == 3 else Retry("not yet")

    async def snoozed(event: Claimed, ctx: Context) -> Outcome:
        ran.append("snoozed")
        return Done() if ran.count("snoozed") == 2 else Snooze(60, "later")

    async def buried(event: Claimed, ctx: Context) -> Outcome:
        return Dead("it will never do")

    async def stepped(event: Claimed, ctx: Context) -> Outcome:
        marker = ctx.marker("note")

        async def write() -> str:
            kept.append(marker)
            raise AnswerLost("ghl", "the connection fell")

        async def find() -> str | None:
            return "n-1" if marker in kept else None

        assert await ctx.step("note", write, find=find) == "n-1"
        return Done()

    async def in_transaction(event: Claimed, ctx: Context) -> Outcome | Settled:
        async with ctx.transaction() as tx:
            await tx.stage(Event("test.follow_up", {}))
            return await tx.settle(Done())

    async def in_order(event: Claimed, ctx: Context) -> Outcome:
        ran.append(f"order {event.json()['n']}")
        return Done()

    async def noted(event: Claimed, ctx: Context) -> Outcome:
        ran.append(event.kind)
        return Done()

    routes = {
        "test.retried": Route(retried),
        "test.snoozed": Route(snoozed),
        "test.buried": Route(buried),
        "test.stepped": Route(stepped),
        "test.in_transaction": Route(in_transaction),
        "test.follow_up": Route(noted),
        "test.delayed": Route(noted),
        "test.read": Route(noted, coalesce="read"),
        "test.in_order": Route(in_order),
    }
    staged = [Event(f"test.{word}", {}) for word in ("retried", "snoozed", "buried", "stepped", "in_transaction")]
    staged += [Event("test.read", {"n": n}, lane="page") for n in range(5)]
    staged += [Event("test.in_order", {"n": n}, lane="lane") for n in range(LANE)]
    staged += [Event("test.delayed", {}, due_at=datetime.now(UTC) + timedelta(milliseconds=200))]
    await stage_all(postroom, *staged)
    async with dispatching(dsn, routes), hurrying(postroom.hurry):
        await eventually(has(postroom, NOTHING_UNDONE), within_s=60)

    states = {(event["kind"], event["state"]) for event in await postroom.staged()}
    assert states == {(kind, "done") for kind in routes if kind != "test.buried"} | {("test.buried", "dead"), ("test.read", "skipped")}
    assert [word for word in ran if word.startswith("order")] == [f"order {n}" for n in range(LANE)]
    assert (ran.count("retried"), ran.count("snoozed"), ran.count("test.read")) == (3, 2, 1)
    assert (ran.count("test.follow_up"), ran.count("test.delayed"), len(kept)) == (1, 1, 1)
    totals = await postroom.totals()
    assert totals == {"accepted": len(staged) + 1, "pending": 0, "dead": 1, "done": len(staged) + 1 - 5, "skipped": 4}
