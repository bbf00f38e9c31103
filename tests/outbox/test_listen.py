"""Listening: a NOTIFY is heard, a lost connection is noticed at once and made again, an outage only means waiting."""

import asyncio

import asyncpg
import pytest

from outbox import db, listen
from outbox.listen import Listener
from outbox.testing import Postroom
from tests.outbox.waiting import until

NAME = "postroom:listening"
OURS = "from pg_stat_activity where application_name = $1 and datname = current_database()"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "AGAIN_S", 0.01)


class Watch:
    """What a listener said, as it says it."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[str] = asyncio.Queue()

    def heard(self) -> None:
        self.said.put_nowait("heard")

    def standing(self, stands: bool) -> None:
        self.said.put_nowait("stands" if stands else "fell")

    async def next(self) -> str:
        return await asyncio.wait_for(self.said.get(), 20)


async def test_a_notify_is_heard_and_so_is_whatever_was_missed_before(postroom: Postroom) -> None:
    watch = Watch()
    task = asyncio.create_task(Listener(postroom.dsn, name=NAME, heard=watch.heard).run(watch.standing))
    assert [await watch.next(), await watch.next()] == ["stands", "heard"]
    await postroom.pool.execute("select outbox.stage('a', '{}')")
    assert await watch.next() == "heard"
    await stop(task, postroom)


async def test_a_lost_connection_is_noticed_at_once_and_made_again(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "CHECK_S", 3600)
    watch = Watch()
    task = asyncio.create_task(Listener(postroom.dsn, name=NAME, heard=watch.heard).run(watch.standing))
    for _ in range(2):
        assert [await watch.next(), await watch.next()] == ["stands", "heard"]
        await postroom.pool.execute(f"select pg_terminate_backend(pid) {OURS}", NAME)
        assert await watch.next() == "fell"
    assert [await watch.next(), await watch.next()] == ["stands", "heard"]
    await postroom.pool.execute("notify postroom")
    assert await watch.next() == "heard"
    await stop(task, postroom)


async def test_a_silent_connection_is_asked_and_found_alive(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "CHECK_S", 0.01)
    watch = Watch()
    task = asyncio.create_task(Listener(postroom.dsn, name=NAME, heard=watch.heard).run(watch.standing))
    assert [await watch.next(), await watch.next()] == ["stands", "heard"]
    asked = f"select count(*) {OURS} and query = $${listen.STILL}$$"

    async def is_asked() -> bool:
        return bool(await postroom.value(asked, NAME))

    await until(is_asked)
    assert watch.said.empty()
    await stop(task, postroom)


async def test_a_database_that_is_away_is_waited_for(postroom: Postroom) -> None:
    watch = Watch()
    task = asyncio.create_task(Listener("postgresql:///x?host=/nowhere", name=NAME, heard=watch.heard).run(watch.standing))
    assert [await watch.next() for _ in range(3)] == ["fell", "fell", "fell"]
    await stop(task, postroom)


async def test_a_cancellation_at_the_moment_at_which_it_falls_is_heeded(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, connect = Watch(), db.connect

    def cancel(_: object) -> None:
        asyncio.get_running_loop().call_soon(task.cancel)

    async def cancelling(dsn: str, *, name: str) -> "asyncpg.Connection[asyncpg.Record]":
        connection = await connect(dsn, name=name)
        connection.add_termination_listener(cancel)
        return connection

    monkeypatch.setattr(db, "connect", cancelling)
    task = asyncio.create_task(Listener(postroom.dsn, name=NAME, heard=watch.heard).run(watch.standing))
    assert [await watch.next(), await watch.next()] == ["stands", "heard"]
    await postroom.pool.execute(f"select pg_terminate_backend(pid) {OURS}", NAME)
    await asyncio.wait({task}, timeout=10)
    assert task.cancelled()


async def stop(task: "asyncio.Task[None]", postroom: Postroom) -> None:
    """Cancelled, a listener leaves no connection behind."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def is_gone() -> bool:
        return not await postroom.value(f"select count(*) {OURS}", NAME)

    await until(is_gone)
