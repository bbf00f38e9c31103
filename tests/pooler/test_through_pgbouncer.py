"""P1 to P9 with nothing but PgBouncer's address: receivers, dispatchers, an app and migrations share a few server connections, and poll."""

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from outbox import db
from outbox.embedded import Embedded
from outbox.migrate import migrate, migrations
from tests.crashes.evidence import Row
from tests.crashes.healing import Interrupted
from tests.crashes.load import accepted, deliveries, under_load, until_accepted
from tests.crashes.world import World
from tests.pooler.conftest import Bouncers
from tests.pooler.pgbouncer import PgBouncer

pytestmark = pytest.mark.long

Keep = Callable[[Row], None]
HERE = ".venv/bin/pytest tests/pooler/test_through_pgbouncer.py"
LEFT_OPEN = """
select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction' and application_name = $1"""
CALL_S = 0.05  # what GHL takes for an answer, so that a kill meets handlers at work


@asynccontextmanager
async def world_behind(bouncer: PgBouncer) -> AsyncIterator[World]:
    """A world that knows no other way to its database, from its first migration on."""
    name = f"pooled_{uuid.uuid4().hex[:12]}"
    await administer(bouncer.server, f"create database {name}")
    try:
        through = bouncer.dsn(bouncer.server.dsn(name))
        connection = await db.connect(through, name="postroom:migrate", timeout_s=60)
        assert db.is_pooled(connection)
        assert len(await migrate(connection)) == len(migrations())
        await connection.close()
        async with db.pool(through, name="postroom:test", timeout_s=30) as pool, World.open(through, pool) as world:
            world.ghl.faults.add("delay", "**", times=None, delay_s=CALL_S)
            yield world
    finally:
        await administer(bouncer.server, f"drop database {name} with (force)")


async def administer(server: Embedded, statement: str) -> None:
    connection = await db.connect(server.dsn("postgres"), name="postroom:test", timeout_s=60)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def staff(world: World, *, dispatchers: int = 2, receivers: int = 2) -> None:
    """Its processes, ready, one after the other: `world.children` in this order, the dispatchers first."""
    for _ in range(dispatchers):
        await world.dispatcher()
    for _ in range(receivers):
        await world.receiver()


async def add_up(world: World, evidence: Keep, *, what: str, test: str, healed_s: float | None = None) -> None:
    """Every id, effect and lane."""
    events = accepted(world)
    await world.settled(120)
    account = await world.account()
    told = f"{what}: {account}\n{world.logs()}"
    assert account.is_clean, told
    assert (account.undone, account.dead) == (0, 0), told
    assert account.done + account.skipped == account.accepted >= events, told
    evidence(Row(f"through PgBouncer: {what}", account.accepted, account.lost, account.duplicated, healed_s, f"{HERE} -k {test}"))


async def is_at_work(world: World, worker: int) -> bool:
    return bool(await db.fetchval(world.pool, "select exists (select from outbox.busy where owner = $1)", worker))


async def incarnations(world: World) -> int:
    return int(await db.fetchval(world.pool, "select count(*) from outbox.workers"))


async def test_everything_is_handled_once_through_a_few_server_connections(bouncer: PgBouncer, evidence: Keep) -> None:
    async with world_behind(bouncer) as world:
        await staff(world)
        repeated = deliveries(world, 60)
        async with asyncio.TaskGroup() as sending:
            sending.create_task(world.post(300))
            sending.create_task(world.change(150))
            for _ in range(3):
                sending.create_task(world.deliver(repeated))
        what = "two dispatchers, two receivers and an app on 6 server connections; 60 deliveries three times at once"
        await add_up(world, evidence, what=what, test="handled_once")
        duplicates = await db.fetchval(world.pool, "select coalesce(sum(seen), 0) from outbox.duplicates")
        assert duplicates == 120
        assert await incarnations(world) == 2  # nobody lost its lease
        assert await db.fetchval(world.pool, "select count(*) from pg_stat_activity where datname = current_database()") <= 6


async def test_p9_a_killed_dispatcher_is_replaced(bouncer: PgBouncer, evidence: Keep) -> None:
    async with world_behind(bouncer) as world:
        await staff(world)
        world.ghl.faults.add("delay", "**", times=None, delay_s=10 * CALL_S)
        async with under_load(world):
            await until_accepted(world, 100)
            victim = world.children[0]  # it began first, so that what the other runs afterwards is known by its higher number
            [began_first] = await world.workers(victim)
            await world.until(lambda: is_at_work(world, began_first), what="at work")
            assert await victim.end(signal.SIGKILL) == -signal.SIGKILL
            assert await is_at_work(world, began_first)  # by the rows: its handlers were in the middle of calls
            caught = replace(await Interrupted.now(world), worker=began_first)
            healed_s = await caught.healed(world)
        await add_up(world, evidence, what="a dispatcher killed under load", test="killed_dispatcher", healed_s=healed_s)


async def test_p9_a_dispatcher_frozen_in_the_middle_of_a_settlement_holds_nobody_up(bouncer: PgBouncer, evidence: Keep) -> None:
    """Through a pooler a statement's commit is a message of its own: frozen before it, the client holds locks and a server connection."""
    async with world_behind(bouncer) as world:
        await world.receiver()
        frozen = await world.dispatcher(points=["tell:during:finish_and_take"])
        sending = asyncio.create_task(world.mention(60))
        await frozen.wait_point()
        frozen.send(signal.SIGSTOP)
        name = f"postroom:{(await world.workers(frozen))[-1]}"
        assert await db.fetchval(world.pool, LEFT_OPEN, name) >= 1  # PgBouncer tells Postgres whose transaction it is
        caught = await Interrupted.now(world)
        await world.dispatcher()
        healed_s = await caught.healed(world)
        await sending
        frozen.send(signal.SIGUSR1)
        frozen.send(signal.SIGCONT)
        await frozen.wait_incarnation(2)
        await world.post(20)
        await world.change(20)
        what = "a dispatcher frozen between a settlement and its commit, woken later"
        await add_up(world, evidence, what=what, test="frozen", healed_s=healed_s)


async def test_p9_pgbouncer_killed_again_and_again(bouncer: PgBouncer, evidence: Keep) -> None:
    async with world_behind(bouncer) as world:
        await staff(world)
        healed: list[float] = []
        async with under_load(world):
            for n in range(1, 4):
                await until_accepted(world, n * 60)
                caught = await Interrupted.now(world, everywhere=True)
                bouncer.end(signal.SIGKILL)
                await asyncio.sleep(1)  # it is away for so long
                await asyncio.to_thread(bouncer.start)
                healed.append(await caught.healed(world, since=time.monotonic()))
        await add_up(
            world, evidence, what="PgBouncer killed and started three times under load", test="pgbouncer_killed", healed_s=max(healed)
        )


async def test_p9_postgres_stopped_behind_pgbouncer(own_server: Embedded, bouncers: Bouncers, evidence: Keep) -> None:
    with bouncers(own_server, server_login_retry="1") as bouncer:
        async with world_behind(bouncer) as world:
            await staff(world)
            async with under_load(world):
                await until_accepted(world, 80)
                caught = await Interrupted.now(world, everywhere=True)
                await asyncio.to_thread(own_server.kill)
                await asyncio.to_thread(own_server.start)
                healed_s = await caught.healed(world, since=time.monotonic())
            what = "Postgres killed behind it (server_login_retry = 1)"
            await add_up(world, evidence, what=what, test="postgres_stopped", healed_s=healed_s)


async def test_leases_hold_while_others_keep_most_of_the_pool(bouncers: Bouncers, postroom_server: Embedded, evidence: Keep) -> None:
    """Four server connections, three of them taken by transactions that last: one is left for everybody."""
    with bouncers(postroom_server, default_pool_size="4") as bouncer:
        async with world_behind(bouncer) as world:
            await staff(world)
            async with under_load(world, webhooks_per_s=10, changes_per_s=2):
                await until_accepted(world, 20)
                slow = [asyncio.create_task(db.fetchval(world.pool, "select pg_sleep(15)::text", timeout_s=60)) for _ in range(3)]
                await asyncio.gather(*slow)
            what = "three of 4 server connections taken for 15 s"
            await add_up(world, evidence, what=what, test="leases_hold")
            assert await incarnations(world) == 2
