"""A handler's own transaction: its writes and its settlement are one commit; whatever cuts it, the event is handled, nothing doubled."""

import asyncio
from collections import Counter

import pytest

from dispatcher import context as context_module
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome, Retry, Settled, Skipped
from dispatcher.policy.retry import RetryPolicy
from dispatcher.routes import Route
from outbox import Claimed, Event
from outbox.testing import Drain, Postroom
from outbox.timeline import story
from tests.dispatcher.handling import fate, has, is_over, is_so
from tests.dispatcher.running import dispatching, eventually, stage_all

FOLLOW_UP = Event("test.follow_up", {})
WRITTEN = "select count(*)::int from outbox.events where kind = 'test.follow_up'"
KILL_HANDLERS = """select count(pg_terminate_backend(pid)) from pg_stat_activity
where application_name = 'postroom:handlers' and datname = current_database() and state = 'idle in transaction'"""


async def writing(event: Claimed, ctx: Context) -> Outcome | Settled:
    async with ctx.transaction() as tx:
        await tx.stage(FOLLOW_UP)
        return await tx.settle(Done({"wrote": 1}))


async def test_the_writes_and_the_settlement_are_one_commit(postroom: Postroom, drain: Drain) -> None:
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(writing)})
    assert (await fate(postroom, event_id)).why == '{"wrote": 1}'
    one = await postroom.value("select xmin::text from outbox.events where kind = 'test.follow_up'")
    assert one == await postroom.value("select xmin::text from outbox.attempts where event_id = $1", event_id)


async def test_what_a_run_stages_names_its_event_and_the_story_of_each_leads_to_the_other(postroom: Postroom, drain: Drain) -> None:
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(writing)})
    await stage_all(postroom, Event("test.follow_up", {"of": "nobody"}))
    caused = await postroom.rows("select id from outbox.events where cause = $1", event_id)
    cause, follow_up = await story(postroom.pool, event_id), await story(postroom.pool, caused[0]["id"])
    assert cause is not None
    assert follow_up is not None
    assert [one["id"] for one in cause["follow_ups"]] == [row["id"] for row in caused]
    assert (cause["caused_by"], follow_up["follow_ups"]) == (None, [])
    assert follow_up["caused_by"] == {"id": event_id, "kind": "test.work", "mark": "done"}


async def test_a_failure_after_the_settlement_takes_everything_back(postroom: Postroom, drain: Drain) -> None:
    runs = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        nonlocal runs
        runs += 1
        async with ctx.transaction() as tx:
            await tx.stage(FOLLOW_UP)
            settled = await tx.settle(Done())
            if runs == 1:
                raise LookupError("after all, no")
            return settled

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)}, hurry=True)
    assert (await fate(postroom, event_id)).outcomes == "rd"
    assert await postroom.value(WRITTEN) == 1


async def test_a_failure_after_the_commit_changes_nothing_any_more(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        await writing(event, ctx)
        raise LookupError("too late")

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)}, hurry=True)
    assert (await fate(postroom, event_id)).outcomes == "d"
    assert await postroom.value(WRITTEN) == 1


@pytest.mark.parametrize("says", [Done({"again": True}), Retry("again"), None], ids=["done", "retry", "nothing"])
async def test_what_a_handler_says_after_its_commit_does_not_count(postroom: Postroom, drain: Drain, says: Outcome | None) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        await writing(event, ctx)
        return says  # type: ignore[return-value] # one of them is the mistake that is tested

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)}, hurry=True)
    found = await fate(postroom, event_id)
    assert (found.state, found.why, found.outcomes) == ("done", '{"wrote": 1}', "d")


async def test_a_transaction_that_is_not_settled_is_rolled_back_and_says_how_to_end_it(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        async with ctx.transaction() as tx:
            await tx.stage(FOLLOW_UP)
        return Done()

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler, retry=RetryPolicy(quick=0, slow_s=()))})
    found = await fate(postroom, event_id)
    assert found.state == "dead"
    assert found.why is not None
    assert "a handler's transaction ends with `return await tx.settle(outcome)`" in found.why
    assert await postroom.value(WRITTEN) == 0


async def test_a_skip_may_be_settled_with_writes_too(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        async with ctx.transaction() as tx:
            await tx.stage(FOLLOW_UP)
            return await tx.settle(Skipped("as new as it gets"))

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)})
    assert ((await fate(postroom, event_id)).why, await postroom.value(WRITTEN)) == ("as new as it gets", 1)


async def test_the_settlement_of_an_event_that_is_anothers_by_now_takes_the_writes_back(postroom: Postroom, drain: Drain) -> None:
    runs = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        nonlocal runs
        runs += 1
        if runs == 1:
            await postroom.pool.execute("update outbox.busy set owner = null, due_at = now(), attempt = attempt + 1")
        return await writing(event, ctx)

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)})
    assert (runs, await postroom.value(WRITTEN)) == (2, 1)
    assert (await fate(postroom, event_id)).outcomes == "d"


async def test_a_connection_that_dies_before_the_commit_leaves_nothing_and_the_event_runs_again(postroom: Postroom) -> None:
    ran: Counter[int] = Counter()

    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        ran[event.id] += 1
        async with ctx.transaction() as tx:
            await tx.stage(FOLLOW_UP)
            settled = await tx.settle(Done())
            if ran[event.id] == 1:
                assert await postroom.value(KILL_HANDLERS) == 1
            return settled

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, {"test.work": Route(handler), "test.follow_up": Route(writing_nothing)}):
        await eventually(is_over(postroom, event_id))
    assert (ran[event_id], await postroom.value(WRITTEN)) == (2, 1)
    assert (await fate(postroom, event_id)).outcomes == "rd"


async def test_a_commit_whose_answer_is_lost_is_not_handled_twice(postroom: Postroom) -> None:
    """The server commits, and its connection dies before the driver has heard of it."""
    ran: Counter[int] = Counter()
    committed = asyncio.Event()

    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        ran[event.id] += 1
        async with ctx.transaction() as tx:
            await tx.stage(FOLLOW_UP)
            settled = await tx.settle(Done())
            connection = tx.connection
            await connection.execute("commit")
            committed.set()
            await postroom.value("select pg_terminate_backend($1)", await connection.fetchval("select pg_backend_pid()"))
            return settled

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, {"test.work": Route(handler), "test.follow_up": Route(writing_nothing)}) as dispatcher:
        await asyncio.wait_for(committed.wait(), 10)
        await eventually(is_over(postroom, event_id))
        await eventually(lambda: is_so(dispatcher.loop is not None and not dispatcher.loop.running))
    assert (ran[event_id], await postroom.value(WRITTEN)) == (1, 1)
    assert (await fate(postroom, event_id)).outcomes == "d"


async def test_a_transaction_left_idle_is_ended_by_the_server_and_the_lane_goes_on(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "IDLE_IN_TRANSACTION_MS", 200)
    runs = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        nonlocal runs
        runs += 1
        async with ctx.transaction() as tx:
            await tx.stage(FOLLOW_UP)
            if runs == 1:
                # No network call belongs in here; this is what one would cost.
                await eventually(has(postroom, f"select not exists ({KILL_HANDLERS.replace('count(pg_terminate_backend(pid))', '')})"))
            return await tx.settle(Done())

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with dispatching(postroom.dsn, {"test.work": Route(handler), "test.follow_up": Route(writing_nothing)}):
        await eventually(is_over(postroom, event_id))
    assert (runs, await postroom.value(WRITTEN)) == (2, 1)
    [note] = await postroom.rows("select note from outbox.attempts where event_id = $1 and outcome = 'r'", event_id)
    assert note["note"].startswith("Postgres did not answer (")


async def test_a_cancelled_transaction_is_rolled_back_and_its_connection_can_be_used_again(postroom: Postroom, drain: Drain) -> None:
    runs = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        nonlocal runs
        runs += 1
        async with ctx.transaction() as tx:
            await tx.stage(FOLLOW_UP)
            if runs == 1:
                await tx.connection.fetchval("select pg_sleep(30)")
            return await tx.settle(Done())

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler, deadline_s=1)}, hurry=True)
    assert (await fate(postroom, event_id)).outcomes == "rd"
    assert await postroom.value(WRITTEN) == 1


async def writing_nothing(event: Claimed, ctx: Context) -> Outcome:
    return Done()
