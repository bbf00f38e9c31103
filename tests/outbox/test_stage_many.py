"""Batches of a receiver: each row is answered by itself, a key is accepted once, and a lane keeps its order."""

import asyncio
import random

import asyncpg
import pytest

from outbox.errors import DatabaseUnavailable, InvalidEvent
from outbox.store import events
from outbox.store.events import Arrival, Staged
from outbox.testing import Postroom
from tests.outbox.engine import check_invariants, worker
from tests.outbox.waiting import until_it_waits_for_a_lock


def arrival(key: str | None = None, *, lane: str | None = None, payload: bytes = b"{}", urgency: int = 0) -> Arrival:
    return Arrival("ghl", "ghl.ContactUpdate", key, lane, payload, urgency=urgency)


async def test_each_row_of_a_batch_is_staged_with_its_exact_bytes(postroom: Postroom) -> None:
    batch = [
        Arrival("ghl", "ghl.ContactUpdate", "k1", "ghl:contact:1", b'{"a":1,  "a":2}', {"x-request": "ü"}),
        Arrival("notion", "notion.page.created", None, None, b"\xff\x00 no text", urgency=1),
    ]
    async with postroom.pool.acquire() as connection:
        answers = await events.stage_many(connection, batch)
    rows = await postroom.rows("select id, source, kind, key, lane, payload, headers from outbox.events order by id")
    assert [row.pop("id") for row in rows] == [answer.id for answer in answers]
    assert [answer.duplicate for answer in answers] == [False, False]
    assert rows == [
        {
            "source": "ghl",
            "kind": "ghl.ContactUpdate",
            "key": "k1",
            "lane": "ghl:contact:1",
            "payload": b'{"a":1,  "a":2}',
            "headers": '{"x-request":"ü"}'.encode(),
        },
        {"source": "notion", "kind": "notion.page.created", "key": None, "lane": None, "payload": b"\xff\x00 no text", "headers": None},
    ]
    assert await postroom.rows("select urgency from outbox.pending order by event_id") == [{"urgency": 0}, {"urgency": 1}]
    await check_invariants(postroom)


async def test_the_order_of_a_batch_is_the_order_of_its_lanes(postroom: Postroom) -> None:
    """Keys go to the database in the order of their digests; ids must not."""
    batch = [arrival(f"k{n}", lane=f"ghl:contact:{n % 3}", payload=str(n).encode()) for n in range(300)]
    async with postroom.pool.acquire() as connection:
        answers = await events.stage_many(connection, batch)
    ids = [answer.id for answer in answers]
    assert ids == sorted(ids)
    seen: list[int] = []
    async with worker(postroom) as me:
        running = [event for event in await me.claim() if event.lane == "ghl:contact:0"]
        while running:
            seen += [int(event.payload) for event in running]
            running = [event for _, event in (await me.done_and_next(*running))[1]]
    assert seen == list(range(0, 300, 3))


async def test_a_key_repeated_inside_a_batch_is_answered_with_the_first(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        answers = await events.stage_many(connection, [arrival("k1"), arrival("k2"), arrival("k1"), arrival("k1", payload=b"other")])
    first, second, *repeated = answers
    assert [first.duplicate, second.duplicate] == [False, False]
    assert repeated == [Staged(first.id, duplicate=True)] * 2
    assert await postroom.rows("select event_id, seen from outbox.duplicates") == [{"event_id": first.id, "seen": 2}]


async def test_p2_a_key_of_an_earlier_batch_is_answered_with_the_first_and_counted(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        (first,) = await events.stage_many(connection, [arrival("k1")])
        for _ in range(2):
            repeated, fresh = await events.stage_many(connection, [arrival("k1"), arrival()])
            assert repeated == Staged(first.id, duplicate=True)
            assert not fresh.duplicate
    assert await postroom.rows("select event_id, seen from outbox.duplicates") == [{"event_id": first.id, "seen": 2}]
    assert await postroom.value("select count(*) from outbox.events") == 3


async def test_rows_without_a_key_are_never_the_same(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        answers = await events.stage_many(connection, [arrival(), arrival()])
    assert answers[0].id != answers[1].id
    assert not any(answer.duplicate for answer in answers)


async def test_an_empty_batch_is_answered_with_nothing(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        assert await events.stage_many(connection, []) == []


async def test_p2_flushers_with_the_same_keys_in_opposite_order_do_not_deadlock(postroom: Postroom) -> None:
    """Both stop at a key in the middle, that a third has in flight; had each locked its half by then, none could go on."""
    batch = [arrival(f"k{n}") for n in range(41)]
    async with postroom.pool.acquire() as slow, postroom.pool.acquire() as one, postroom.pool.acquire() as other:
        transaction = slow.transaction()
        await transaction.start()
        await events.stage_many(slow, [batch[20]])
        flushes = [asyncio.create_task(events.stage_many(one, batch)), asyncio.create_task(events.stage_many(other, batch[::-1]))]
        for connection in (one, other):
            await until_it_waits_for_a_lock(postroom, connection.get_server_pid())
        await transaction.rollback()
        forward, backward = await asyncio.gather(*flushes)
    assert [answer.id for answer in forward] == [answer.id for answer in backward[::-1]]
    assert sorted([answer.duplicate for answer in (*forward, *backward)]) == [False] * 41 + [True] * 41


async def test_p2_many_flushers_accept_each_key_once(postroom: Postroom) -> None:
    keys = [f"k{n}" for n in range(200)]

    async def flusher(seed: int) -> list[tuple[str, Staged]]:
        mixed = random.Random(seed)
        answered: list[tuple[str, Staged]] = []
        connection = await asyncpg.connect(postroom.dsn)
        for _ in range(8):
            batch = mixed.sample(keys, 100)
            answered += zip(batch, await events.stage_many(connection, [arrival(key) for key in batch]), strict=True)
        await connection.close()
        return answered

    answers = [pair for each in await asyncio.gather(*(flusher(seed) for seed in range(4))) for pair in each]
    ids = {key: answer.id for key, answer in answers if not answer.duplicate}
    accepted = [key for key, answer in answers if not answer.duplicate]
    assert len(accepted) == len(ids) == len({key for key, _ in answers})
    assert all(ids[key] == answer.id for key, answer in answers)
    assert await postroom.value("select sum(seen) from outbox.duplicates") == len(answers) - len(accepted)
    assert await postroom.value("select count(*) from outbox.events") == len(accepted)


async def test_p2_a_flusher_that_meets_a_key_in_flight_waits_and_is_answered_by_how_it_ends(postroom: Postroom) -> None:
    for ends, duplicate in (("commit", True), ("rollback", False)):
        async with postroom.pool.acquire() as slow, postroom.pool.acquire() as connection:
            transaction = slow.transaction()
            await transaction.start()
            (first,) = await events.stage_many(slow, [arrival(ends)])
            waiting = asyncio.create_task(events.stage_many(connection, [arrival(ends)]))
            await until_it_waits_for_a_lock(postroom, connection.get_server_pid())
            await getattr(transaction, ends)()
            (second,) = await waiting
            assert (second.duplicate, second.id == first.id) == (duplicate, duplicate)


@pytest.mark.parametrize(
    "bad",
    [
        Arrival("ghl", "a\x00b", None, None, b""),
        Arrival("ghl", "a", "k\x00", None, b""),
        Arrival("ghl", "a", None, "\ud800", b""),
        Arrival("ghl", "a", "\ud800", None, b""),
    ],
    ids=["NUL in the kind", "NUL in the key", "half a character in the lane", "half a character in the key"],
)
async def test_a_row_that_postgres_cannot_take_fails_its_batch_whole_and_by_name(postroom: Postroom, bad: Arrival) -> None:
    """So that the receiver can try its neighbours one by one, without knowing the driver."""
    async with postroom.pool.acquire() as connection:
        with pytest.raises(InvalidEvent):
            await events.stage_many(connection, [arrival("good"), bad])
        assert await postroom.value("select count(*) from outbox.events") == 0
        assert await postroom.value("select count(*) from outbox.keys") == 0
        (answer,) = await events.stage_many(connection, [arrival("good")])
        assert not answer.duplicate


async def test_a_database_that_is_gone_has_our_name(postroom: Postroom) -> None:
    connection = await asyncpg.connect(postroom.dsn)
    connection.terminate()
    with pytest.raises(DatabaseUnavailable):
        await events.stage_many(connection, [arrival("k1")])


async def test_a_batch_wakes_the_listeners_once(postroom: Postroom) -> None:
    heard: list[str] = []
    fence = asyncio.Event()
    async with postroom.pool.acquire() as listener, postroom.pool.acquire() as connection:
        await listener.add_listener("postroom", lambda *_: heard.append("staged"))
        await listener.add_listener("fence", lambda *_: fence.set())
        await events.stage_many(connection, [arrival() for _ in range(20)])
        await connection.execute("notify fence")
        await asyncio.wait_for(fence.wait(), 10)
        await listener.reset()
    assert heard == ["staged"]
