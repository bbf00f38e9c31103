"""Fresh events pass a dispatcher while old transactions stand open: a snapshot, an app that has not committed yet, a long import."""

from contextlib import AsyncExitStack

from dispatcher.outcome import Done
from dispatcher.routes import Route
from outbox import Event
from outbox.testing import Postroom
from tests.dispatcher.handling import everything_is_over, is_over, is_so, returning
from tests.dispatcher.running import dispatching, eventually, stage_all
from tests.outbox.engine import check_invariants
from tests.storage.held import snapshot, staging, writing

DONE = {"test.work": Route(returning(Done()))}
DEAD = 30_000


async def leave_dead_rows(postroom: Postroom) -> None:
    """As many as an hour of a few events a second leaves behind, which nobody can clear away."""
    for statement in (
        f"insert into outbox.pending (urgency, lane, event_id) select n % 2, hashint8extended(n, 0), n from generate_series(1, {DEAD}) n",
        "delete from outbox.pending",
        f"""insert into outbox.busy (lane, event_id, urgency, due_at, why)
            select hashint8extended(n, 0), n, 0, now(), 'again' from generate_series(1, {DEAD}) n""",
        "delete from outbox.busy",
    ):
        await postroom.pool.execute(statement)


async def test_fresh_events_pass_whoever_keeps_a_transaction_open(postroom: Postroom) -> None:
    async with AsyncExitStack() as open_ones:
        app = AsyncExitStack()
        await open_ones.enter_async_context(snapshot(postroom.dsn))
        await open_ones.enter_async_context(writing(postroom.dsn))
        await open_ones.enter_async_context(app)
        await app.enter_async_context(staging(postroom.dsn, "slow"))
        await leave_dead_rows(postroom)
        async with dispatching(postroom.dsn, DONE) as dispatcher:
            loop = dispatcher.loop
            assert loop is not None
            for n in range(60):
                # One of its lane among them: what is not committed blocks nobody, it is not there yet.
                ids = await stage_all(postroom, *(Event("test.work", {}, lane=lane) for lane in ("slow", f"lane-{n % 7}", None)))
                await eventually(is_over(postroom, *ids), within_s=10)
            assert loop.sight.is_dear(0), "it looks over all lanes only now and then"
            assert await postroom.value("select count(*) from outbox.events") == 180
            await app.aclose()
            await eventually(everything_is_over(postroom), within_s=15)
        assert await postroom.value("select count(*) from outbox.events") == 181
        await check_invariants(postroom)


async def test_retries_and_delayed_events_come_while_a_snapshot_is_held(postroom: Postroom) -> None:
    async with snapshot(postroom.dsn):
        await leave_dead_rows(postroom)
        async with dispatching(postroom.dsn, DONE):
            await postroom.pool.execute("select outbox.stage('test.work', '{}', due_at => now() + interval '300 ms')")
            [event_id] = await stage_all(postroom, Event("test.work", {}, lane="again"))
            await eventually(is_over(postroom, event_id))
            async with postroom.pool.acquire() as connection:
                await connection.execute(
                    """insert into outbox.busy (lane, event_id, urgency, due_at, why)
                       select outbox.lane_of('again', 0), outbox.stage('test.work', '{}', lane => 'again'), 0, now(), 'again'"""
                )
                await connection.execute("delete from outbox.pending where event_id in (select event_id from outbox.busy)")
            await eventually(everything_is_over(postroom), within_s=15)
        await check_invariants(postroom)


async def test_when_the_snapshot_is_gone_a_worker_looks_over_all_lanes_in_each_round_again(postroom: Postroom) -> None:
    async with AsyncExitStack() as holding:
        await holding.enter_async_context(snapshot(postroom.dsn))
        await leave_dead_rows(postroom)
        async with dispatching(postroom.dsn, DONE) as dispatcher:
            loop = dispatcher.loop
            assert loop is not None
            await eventually(lambda: is_so(loop.sight.is_dear(0)))
            await holding.aclose()
            await eventually(lambda: is_so(not loop.sight.is_dear(0)))
            ids = await stage_all(postroom, *(Event("test.work", {}, lane=f"lane-{n}") for n in range(5)))
            await eventually(is_over(postroom, *ids))
