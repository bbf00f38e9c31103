"""Two transactions with one key, over every door: the second waits for the first's end and is answered by it."""

import asyncio

import pytest

from outbox import Event, KeyReused
from outbox.testing import Postroom
from tests.outbox.doors import Open
from tests.outbox.waiting import until_it_waits_for_a_lock

EVENT = Event("salon.booked", {"name": "Ada"}, key="k1")


async def test_the_second_of_two_equal_keys_waits_and_is_a_duplicate_when_the_first_commits(postroom: Postroom, door: Open) -> None:
    async with door(postroom.dsn) as first, door(postroom.dsn) as second:
        first_id = await first.stage(EVENT)
        waiting = asyncio.ensure_future(second.stage(EVENT))
        await until_it_waits_for_a_lock(postroom, second.pid)
        await first.commit()
        assert await waiting == first_id
        await second.commit()
    assert [event["id"] for event in await postroom.staged()] == [first_id]
    assert await postroom.rows("select event_id, seen from outbox.duplicates") == [{"event_id": first_id, "seen": 1}]


async def test_the_second_of_two_equal_keys_is_accepted_when_the_first_rolls_back(postroom: Postroom, door: Open) -> None:
    async with door(postroom.dsn) as first, door(postroom.dsn) as second:
        first_id = await first.stage(EVENT)
        waiting = asyncio.ensure_future(second.stage(EVENT))
        await until_it_waits_for_a_lock(postroom, second.pid)
        await first.rollback()
        second_id = await waiting
        await second.commit()
    assert second_id != first_id
    assert [event["id"] for event in await postroom.staged()] == [second_id]
    assert await postroom.rows("select * from outbox.duplicates") == []


async def test_another_body_under_a_key_that_commits_meanwhile_is_refused(postroom: Postroom, python_door: Open) -> None:
    async with python_door(postroom.dsn) as first, python_door(postroom.dsn) as second:
        await first.stage(EVENT)
        waiting = asyncio.ensure_future(second.stage(Event("salon.booked", {"name": "Eve"}, key="k1")))
        await until_it_waits_for_a_lock(postroom, second.pid)
        await first.commit()
        with pytest.raises(KeyReused):
            await waiting


async def test_transactions_without_a_common_key_do_not_wait_for_each_other(postroom: Postroom, door: Open) -> None:
    async with door(postroom.dsn) as first, door(postroom.dsn) as second:
        await first.stage(Event("salon.booked", {}, key="k1", lane="chair:1"))
        async with asyncio.timeout(10):
            await second.stage(Event("salon.booked", {}, key="k2", lane="chair:1"))
            await second.commit()
        assert [event["key"] for event in await postroom.staged()] == ["k2"]
        await first.commit()
    assert [event["key"] for event in await postroom.staged()] == ["k1", "k2"]
