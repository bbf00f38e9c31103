"""Scenes of plans: dead letters that are retried, or discarded, in portions. Each is sent once, and the plan's result adds up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from outbox import db
from outbox.store import plans
from outbox.store.dead import Filter
from outbox.store.plans import Act
from tests.crashes.scenes import Play, Scene, bury
from tests.crashes.world import World

# Portions of one, ten and the rest, which a person let go on by themselves.
LETTERS = 13
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


async def retried(world: World) -> bool:
    """Each was sent once, and is done."""
    return bool(await world.postroom.value(TALLY, LETTERS, b"d", b"p"))


async def discarded(world: World) -> bool:
    """Each is skipped, once."""
    return bool(await world.postroom.value(TALLY, LETTERS, b"s", b"s"))


RETRIES = Scene(planned(Act.RETRY), mended=retried)
DISCARDS = Scene(planned(Act.DISCARD, reason="known"), mended=discarded)
