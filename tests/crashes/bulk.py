"""Scenes of plans: dead letters retried or discarded, settled events replayed. Each is sent once, and the result adds up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from outbox import Event, db
from outbox.store import lanes, plans
from outbox.store.dead import Filter
from outbox.store.lanes import End
from outbox.store.plans import Act
from outbox.store.search import Wanted
from tests.crashes.scenes import Play, Scene, bury, claim_as
from tests.crashes.world import World
from tests.dispatcher.running import stage_all

# Portions of one, ten and the rest, which a person let go on by themselves.
LETTERS = 13
STARTED = 1_800_000_000.0
TALLY = """
select bool_and(p.state = 'done')
       and (select count(*) = $1 and bool_and(ended = $2::"char") from outbox.plan_events)
       and (select count(*) = $1 and count(distinct event_id) = $1
            from outbox.attempts join outbox.plan_events using (event_id) where outcome = $3::"char")
from outbox.plans p"""


def planned(act: Act, *, reason: str | None = None) -> Play:
    """Appointment changes, each of a lane of its own, that died by one cause, and a plan of them that was begun."""

    @asynccontextmanager
    async def play(world: World) -> AsyncIterator[None]:
        await world.confirm(LETTERS)
        assert len(await bury(world)) == LETTERS
        async with db.transaction(world.pool) as connection:
            plan_id = await plans.make(connection, Filter(), act=act, by="otto", reason=reason)
            assert plan_id is not None
            assert await plans.start(connection, plan_id, canary=act is Act.RETRY, alone=True, leave_out=False)
        await world.mention(6)
        yield

    return play


@asynccontextmanager
async def settled(world: World) -> AsyncIterator[None]:
    """Facts that nobody routed, each of a lane of its own and skipped, and a plan of their replay that was begun."""
    ids = await stage_all(world.postroom, *(Event("other.fact", {"n": n}, lane=f"fact-{n}") for n in range(LETTERS)))
    worker, found = await claim_as(world, "before", limit=LETTERS)
    async with world.pool.acquire() as connection:
        await lanes.finish(connection, [End(event, STARTED, 5, "s", "no route") for event in found], worker=worker)
    async with db.transaction(world.pool) as connection:
        plan_id = await plans.make_replay(connection, Wanted(), ids, by="otto")
        assert plan_id is not None
        assert await plans.start(connection, plan_id, canary=True, alone=True, leave_out=False)
    await world.mention(6)
    yield


async def retried(world: World) -> bool:
    """Each was sent once, and is done."""
    return bool(await world.postroom.value(TALLY, LETTERS, b"d", b"p"))


async def discarded(world: World) -> bool:
    """Each is skipped, once."""
    return bool(await world.postroom.value(TALLY, LETTERS, b"s", b"s"))


RETRIES = Scene(planned(Act.RETRY), mended=retried)


async def replayed(world: World) -> bool:
    """Each was sent once, and is skipped again."""
    return bool(await world.postroom.value(TALLY, LETTERS, b"s", b"p"))


REPLAYS = Scene(settled, mended=replayed)
DISCARDS = Scene(planned(Act.DISCARD, reason="known"), mended=discarded)
