"""The children themselves: what a test may rely on when it kills one, and that none outlives its test run."""

import os
import signal
from pathlib import Path

import pytest

from tests.crashes.child import bare_environment
from tests.crashes.nursery import Nursery
from tests.crashes.world import World


async def test_a_child_says_that_it_is_ready_and_ends_as_it_is_told(world: World) -> None:
    child = await world.dispatcher()
    assert child.incarnations == 1
    assert len(await world.workers(child)) == 1
    assert await child.end(signal.SIGTERM) == 0
    assert not child.is_alive
    killed = await world.receiver()
    assert killed.port is not None
    assert await killed.end() == -signal.SIGKILL
    killed.send(signal.SIGTERM)  # to nobody


async def test_a_child_that_comes_to_no_armed_point_says_so_with_its_log(world: World) -> None:
    child = await world.dispatcher(points=["before:bury"])
    with pytest.raises(AssertionError, match=r"came to no armed point within 0.1 s:\n.*dispatcher began"):
        await child.wait_point(0.1)


async def test_a_child_that_ends_before_it_is_ready_says_so_with_its_log(world: World) -> None:
    with pytest.raises(AssertionError, match=r"did not start:\n[^$]*no such point: before:nothing"):
        await world.dispatcher(points=["before:nothing"])


async def test_a_point_that_only_tells_lets_go_on_when_it_is_told_to(world: World) -> None:
    await world.change(2)
    child = await world.dispatcher(points=["tell:before:journal.intent"])
    assert await child.wait_point() == "before:journal.intent"
    assert await world.postroom.value("select count(*) from outbox.steps where entry = 'i'") <= 1  # the other appointment's goes on
    child.send(signal.SIGUSR1)
    await world.settled()
    assert (await world.account()).is_clean
    assert child.is_alive


async def test_a_statement_whose_answer_is_lost_was_carried_out(world: World) -> None:
    await world.mention(1)
    child = await world.dispatcher(points=["lose:during:finish_and_take"])
    await world.settled()

    async def is_told() -> bool:
        return "did not count" in child.log  # sent again, it found that it had counted

    await world.until(is_told, what="told")
    assert "settlements wait for the database" in child.log
    account = await world.account()
    assert (account.skipped, account.is_clean) == (1, True)


async def test_the_children_of_a_test_process_that_is_gone_are_killed(world: World, tmp_path: Path) -> None:
    nursery, (ours, theirs) = Nursery(), os.pipe()
    try:
        with (tmp_path / "log").open("wb") as log:
            pid = nursery.fork("dispatcher", {**bare_environment(), "DATABASE_URL": world.dsn}, output=theirs, log=log)
        os.close(theirs)
        with os.fdopen(ours, "rb") as news:
            assert news.readline() == b"ready\n"
            nursery.close()
            assert news.read() == b""  # nobody holds the other end
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    finally:
        nursery.close()
