"""The journal's writer: entries of many events in few commits, each with a fate of its own."""

import asyncio
import json

import asyncpg
import pytest

from dispatcher.journal import FLIGHTS, Journal
from outbox import OwnershipLost
from outbox.db import Pool
from outbox.errors import DatabaseUnavailable
from outbox.event import Claimed
from outbox.store import steps
from outbox.store.steps import Entry, Fate
from outbox.testing import Postroom
from tests.outbox.engine import put, worker


async def test_what_comes_while_entries_are_written_is_written_together(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    real = steps.write

    async def write(pool: Pool, entries: list[Entry]) -> list[Fate]:
        batches.append(len(entries))
        return await real(pool, entries)

    monkeypatch.setattr(steps, "write", write)
    ids = await put(postroom, None, 60)
    async with worker(postroom) as me:
        held = await me.claim(limit=60)
        journal = Journal(postroom.pool)
        assert all(await asyncio.gather(*(journal.write(Entry(event, me.id, "note", "i")) for event in held)))
    assert sum(batches) == len(ids) == 60
    assert len(batches) <= FLIGHTS + 1
    assert len(await postroom.rows("select distinct event_id from outbox.steps where entry = 'i'")) == 60


async def test_an_entry_that_cannot_be_written_costs_no_other(postroom: Postroom) -> None:
    await put(postroom, None, 3)
    async with worker(postroom) as me:
        one, two, three = await me.claim()
        journal = Journal(postroom.pool)
        entries = (
            Entry(one, me.id, "note", "d", answer=json.dumps("id-1")),
            Entry(two, me.id, "note", "d", note="a NUL: \0"),
            Entry(three._replace(attempt=7), me.id, "note", "d"),
            Entry(three, me.id, "note", "d"),
        )
        good, bad, lost, also_good = await asyncio.gather(*map(journal.write, entries), return_exceptions=True)
    assert (good, also_good) == (True, True)
    assert isinstance(bad, asyncpg.DataError)
    assert isinstance(lost, OwnershipLost)
    assert {row["event_id"] for row in await postroom.rows("select event_id from outbox.steps")} == {one.id, three.id}


async def test_who_no_longer_waits_is_left_out_and_holds_up_nobody(postroom: Postroom) -> None:
    await put(postroom, None, 2)
    async with worker(postroom) as me:
        one, two = await me.claim()
        journal = Journal(postroom.pool)
        gone, stays = (asyncio.create_task(journal.write(Entry(event, me.id, "note", "i"))) for event in (one, two))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert [row["event_id"] for row in await postroom.rows("select event_id from outbox.steps")] == [two.id]


async def test_all_who_wait_learn_that_the_database_is_away(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    async def write(pool: object, entries: list[Entry]) -> list[Fate]:
        raise DatabaseUnavailable("gone")

    await put(postroom, None, 2)
    async with worker(postroom) as me:
        held: list[Claimed] = await me.claim()
        journal = Journal(postroom.pool)
        with monkeypatch.context() as patched:
            patched.setattr(steps, "write", write)
            problems = await asyncio.gather(*(journal.write(Entry(event, me.id, "note", "i")) for event in held), return_exceptions=True)
        assert [type(problem) for problem in problems] == [DatabaseUnavailable] * 2
        assert await journal.write(Entry(held[0], me.id, "note", "i"))


async def test_an_entry_that_comes_as_both_flights_land_is_written_too(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer goes on in the very moment in which the last ones end; nobody else writes any more."""
    landing = asyncio.Event()
    real = steps.write

    async def write(pool: Pool, entries: list[Entry]) -> list[Fate]:
        fates = await real(pool, entries)
        await landing.wait()
        return fates

    async def two_entries(journal: Journal, event: Claimed, me: int) -> bool:
        return await journal.write(Entry(event, me, "note", "d")) and await journal.write(Entry(event, me, "email", "i"))

    await put(postroom, None, FLIGHTS)
    async with worker(postroom) as me:
        monkeypatch.setattr(steps, "write", write)
        first, *others = await me.claim()
        journal = Journal(postroom.pool)
        writes = [asyncio.create_task(two_entries(journal, first, me.id))]
        for event in others:
            await asyncio.sleep(0.2)  # each its own flight
            writes.append(asyncio.create_task(journal.write(Entry(event, me.id, "note", "d"))))
        await asyncio.sleep(0.2)
        landing.set()
        async with asyncio.timeout(10):
            assert all(await asyncio.gather(*writes))
