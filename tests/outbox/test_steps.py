"""The journal: entries are written only while the event is held, and a step is done once."""

import asyncio
import json

import asyncpg
import pytest

from outbox.event import Claimed
from outbox.store import dead, lanes, steps
from outbox.store.steps import Entry, Fate
from outbox.testing import Postroom
from tests.outbox.engine import Worker, put, worker
from tests.outbox.waiting import until_it_waits_for_a_lock


async def journal(postroom: Postroom, event_id: int) -> list[tuple[str, str, int]]:
    return [(row["name"], row["entry"], row["attempt"]) for row in await steps.journal(postroom.pool, event_id)]


async def write(me: Worker, event: Claimed, entry: str, *, name: str = "note", answer: object = None, only_first: bool = False) -> Fate:
    text = None if answer is None else json.dumps(answer)
    return (await steps.write(me.connection, [Entry(event, me.id, name, entry, took_ms=5, answer=text, only_first=only_first)]))[0]


async def test_entries_are_kept_in_order_with_their_answers(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        (event,) = await me.claim()
        await write(me, event, "i")
        await write(me, event, "n")
        await write(me, event, "i")
        await write(me, event, "d", answer={"id": "n1", "text": "ü"})
        await write(me, event, "i", name="task")
        await write(me, event, "f", name="task", answer="t1")
    assert await journal(postroom, event_id) == [
        ("note", "i", 1),
        ("note", "n", 1),
        ("note", "i", 1),
        ("note", "d", 1),
        ("task", "i", 1),
        ("task", "f", 1),
    ]
    answers = [row["answer"] for row in await steps.journal(postroom.pool, event_id) if row["answer"]]
    assert answers == ['{"id": "n1", "text": "ü"}', '"t1"']


async def test_a_first_entry_is_written_only_where_nothing_is_known(postroom: Postroom) -> None:
    new, old = await put(postroom, None, 2)
    async with worker(postroom) as me:
        events = {event.id: event for event in await me.claim()}
        assert await write(me, events[old], "i") is Fate.WRITTEN
        entries = [Entry(events[one], me.id, "task", "i", only_first=True) for one in (old, new)]
        lost = Entry(events[new]._replace(attempt=9), me.id, "task", "i", only_first=True)
        assert await steps.write(me.connection, [*entries, lost]) == [Fate.KNOWN, Fate.WRITTEN, Fate.LOST]
    assert await journal(postroom, old) == [("note", "i", 1)]
    assert await journal(postroom, new) == [("task", "i", 1)]


async def test_p6_a_step_is_done_once_by_constraint(postroom: Postroom) -> None:
    await put(postroom, "chair:1")
    async with worker(postroom) as me:
        (event,) = await me.claim()
        await write(me, event, "d")
        for entry in ("d", "f"):
            with pytest.raises(asyncpg.UniqueViolationError):
                await write(me, event, entry)
        await write(me, event, "d", name="task")


@pytest.mark.parametrize("how", ["settled", "retried", "taken over", "another worker"])
async def test_who_does_not_hold_the_event_writes_nothing(postroom: Postroom, how: str) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me, worker(postroom) as other:
        (event,) = await me.claim()
        writer = me
        match how:
            case "settled":
                await me.done(event)
            case "retried":
                await me.retry(event)
                await me.take_due()
            case "taken over":
                await me.die()
                await lanes.release_orphans(other.connection)
                await other.take_due()
            case "another worker":
                writer = other
        assert await write(writer, event, "d") is Fate.LOST
    assert await journal(postroom, event_id) == []


async def test_an_entry_and_a_take_over_at_one_moment_wait_for_each_other(postroom: Postroom) -> None:
    """An intent that is committed stands before the take-over, so the next owner sees it."""
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me, worker(postroom) as other:
        (event,) = await me.claim()
        transaction = me.connection.transaction()
        await transaction.start()
        await write(me, event, "i")
        late = asyncio.create_task(other.connection.execute("update outbox.busy set owner = $1 where event_id = $2", other.id, event_id))
        await until_it_waits_for_a_lock(postroom, other.connection.get_server_pid())
        await transaction.commit()
        await late
        assert await journal(postroom, event_id) == [("note", "i", 1)]
        assert await write(me, event, "d") is Fate.LOST


async def test_p8_a_retried_dead_letter_still_knows_its_finished_steps(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        (event,) = await me.claim()
        await write(me, event, "d")
        await me.bury(event)
        await dead.retry(postroom.pool, [event_id], by="ada")
        (again,) = await me.claim(urgency=1)
        assert await journal(postroom, event_id) == [("note", "d", 1)]
        with pytest.raises(asyncpg.UniqueViolationError):
            await write(me, again, "d")
