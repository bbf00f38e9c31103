"""That no dispatcher is alive is told by whoever looks beside a receiver, once, and a dispatcher that is back tells its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dispatcher.alarms import Alarms
from dispatcher.clients.channels import opened
from dispatcher.config import AlertSettings
from dispatcher.vigil import TRIES, Vigil
from outbox.testing import Postroom
from simulators.hooks import HookSimulator
from simulators.serving import serve

AGO = "update outbox.alerts set seen_at = now() - interval '61 s'"
DEAD = "insert into outbox.workers (name, until) values ('worker-a', now() - interval '5 min')"
ALIVE = "insert into outbox.workers (name, until) values ('worker-b', now() + interval '1 h')"


@asynccontextmanager
async def vigils(postroom: Postroom, hooks: HookSimulator, *, rooms: str) -> AsyncIterator[tuple[Vigil, Vigil]]:
    """Those of two receivers. `rooms`: with {at} for where the hooks are."""
    async with serve(hooks.app) as at:
        settings = AlertSettings.read(alert_urls=rooms.format(at=at.base_url), alert_private=True)
        async with opened(settings.channels(), allow_private=True) as channels:
            yield Vigil(postroom.pool, channels, settings), Vigil(postroom.pool, channels, settings)


async def test_dispatchers_that_are_all_dead_for_a_minute_are_told_once_and_their_end_by_one_that_is_back(postroom: Postroom) -> None:
    hooks = HookSimulator()
    await postroom.pool.execute(DEAD)
    async with vigils(postroom, hooks, rooms="a=slack+{at}/slack/x,c={at}/standard/x") as (one, other):
        assert await one.once() == []  # a deploy is no alarm
        assert await one.once() == []
        await postroom.pool.execute(AGO)
        assert await one.once() == ["a", "c"]
        assert (await other.once(), await one.once()) == ([], [])
        await postroom.pool.execute(ALIVE)
        assert (await one.once(), await other.once()) == ([], [])
    said = {taken.hook: taken for taken in hooks.taken}
    assert "dispatchers: unhealthy (was ok)" in said["slack"].body["text"]
    assert "The last was worker-a" in said["slack"].body["text"]
    assert "docs/runbooks/dispatchers.md" in said["slack"].body["text"]
    assert said["standard"].headers["webhook-id"].startswith("msg_dispatchers_")
    assert len(hooks.taken) == 2
    for _ in range(2):
        await Alarms(postroom.pool).once()
    cleared = await postroom.rows("select kind, lane from outbox.events where lane = 'alert:dispatchers'")
    assert cleared == [{"kind": "alert.cleared", "lane": "alert:dispatchers"}]


async def test_a_dispatcher_that_is_back_within_the_minute_is_no_alarm(postroom: Postroom) -> None:
    hooks = HookSimulator()
    async with vigils(postroom, hooks, rooms="a=slack+{at}/slack/x") as (one, _):
        await one.once()
        alive = await postroom.value(ALIVE + " returning id")
        await one.once()
        await postroom.pool.execute("update outbox.workers set ended_at = now() where id = $1", alive)
        await postroom.pool.execute(AGO)
        assert await one.once() == []
    assert hooks.taken == []


async def test_a_room_that_does_not_answer_is_called_again_but_not_for_ever_and_no_other_hears_it_twice(postroom: Postroom) -> None:
    hooks = HookSimulator(refusals={"discord": [(503, {})] * 100})
    await postroom.pool.execute(DEAD)
    async with vigils(postroom, hooks, rooms="a=slack+{at}/slack/x,b=discord+{at}/discord/x") as (one, _):
        await one.once()
        await postroom.pool.execute(AGO)
        told = [await one.once() for _ in range(TRIES + 2)]
    assert told == [["a"], *[[]] * (TRIES + 1)]
    assert len(hooks.taken) == 1
    assert 100 - len(hooks.refusals["discord"]) >= TRIES
    assert await postroom.value("select state from outbox.alerts where name = 'dispatchers'") == "unhealthy"
