"""crm.phorest_repairs: one repair for a client, however many ask, and whatever moment they choose."""

import asyncio

from outbox import db, stage
from outbox.store import phorest_repairs
from outbox.store.phorest import Kind, event_for, import_of
from outbox.store.phorest_repairs import Repair
from outbox.testing import Postroom
from tests.outbox.waiting import until_it_waits_for_a_lock

FETCH = import_of(Kind.CLIENT, "p1")


async def ask(postroom: Postroom) -> Repair:
    async with db.transaction(postroom.pool) as connection:
        return await phorest_repairs.ask(connection, "p1", FETCH)


async def test_whoever_asks_while_a_repair_is_under_way_is_told_of_it(postroom: Postroom) -> None:
    assert await phorest_repairs.known(postroom.pool, "p1") is None
    first = await ask(postroom)
    assert (first.is_new, await ask(postroom), await phorest_repairs.known(postroom.pool, "p1")) == (True, *[Repair(first.event_id)] * 2)
    assert len(await postroom.staged(FETCH.kind)) == 1


async def test_whoever_asks_just_when_a_repair_ends_and_goes_on_as_another_event_is_told_of_that_one(postroom: Postroom) -> None:
    first = await ask(postroom)
    # The fetch is over, and what follows it is not to be seen yet.
    await postroom.pool.execute(
        """with gone as (delete from outbox.pending returning event_id)
           insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome)
           select event_id, now(), 0, 1, 0, 'd' from gone"""
    )
    assert await phorest_repairs.known(postroom.pool, "p1") is None
    async with postroom.pool.acquire() as fetched, postroom.pool.acquire() as asking:
        going_on = fetched.transaction()
        await going_on.start()
        follows = int(await stage(fetched, event_for(Kind.CLIENT, "p1")))
        await phorest_repairs.follow(fetched, "p1", follows)
        async with asking.transaction():
            asked = asyncio.create_task(phorest_repairs.ask(asking, "p1", FETCH))
            await until_it_waits_for_a_lock(postroom, asking.get_server_pid())
            await going_on.commit()
            assert await asked == Repair(follows)
    assert [event["id"] for event in await postroom.staged(FETCH.kind)] == [first.event_id]


async def test_whoever_looks_does_not_wait_for_who_asks_just_then(postroom: Postroom) -> None:
    first = await ask(postroom)
    async with db.transaction(postroom.pool) as connection:
        await phorest_repairs.ask(connection, "p1", FETCH)
        async with asyncio.timeout(10):
            assert await phorest_repairs.known(postroom.pool, "p1") == Repair(first.event_id)


async def test_a_client_that_cannot_be_in_ghl_is_not_asked_for_again_until_it_changes(postroom: Postroom) -> None:
    async with db.transaction(postroom.pool) as connection:
        await phorest_repairs.refuse(connection, "p1", "no phone")
    refused = await ask(postroom)
    assert (refused.refused, refused.is_new) == ("no phone", False)
    async with db.transaction(postroom.pool) as connection:
        await phorest_repairs.done(connection, "p1")
    assert (await ask(postroom)).is_new
