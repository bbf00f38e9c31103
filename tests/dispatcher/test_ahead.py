"""Reading ahead: one page and no more, nothing lost when it fails, nothing left running when it ends early."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest

from dispatcher.syncs.ahead import ahead


class FarSide:
    """Numbers page by page. `fails_at`: the page that cannot be fetched; `hangs_at`: the one that never comes."""

    def __init__(self, upto: int, *, fails_at: int | None = None, hangs_at: int | None = None) -> None:
        self.upto, self.fails_at, self.hangs_at = upto, fails_at, hangs_at
        self.asked: list[int] = []
        self.cancelled = 0

    async def fetch(self, number: int) -> int:
        self.asked.append(number)
        await asyncio.sleep(0)
        if number == self.fails_at:
            raise ConnectionError(f"page {number}")
        if number == self.hangs_at:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return number

    def onward(self, number: int) -> int | None:
        return None if number == self.upto else number + 1


async def walk(far: FarSide, at_each: Callable[[int], None], *, steps: int = 5) -> None:
    """Works on each page for some turns of the loop, so that what is fetched meanwhile gets on."""
    async with aclosing(ahead(far.fetch, 1, onward=far.onward)) as pages:
        async for page in pages:
            for _ in range(steps):
                await asyncio.sleep(0)
            at_each(page)


async def test_pages_come_in_order_and_the_next_is_under_way_while_one_is_worked_on() -> None:
    far, seen = FarSide(4), list[tuple[int, int]]()
    await walk(far, lambda page: seen.append((page, max(far.asked))))
    assert seen == [(1, 2), (2, 3), (3, 4)]
    assert far.asked == [1, 2, 3, 4]


async def test_a_page_that_cannot_be_fetched_is_told_behind_the_one_before_it() -> None:
    far, seen = FarSide(9, fails_at=3), list[int]()
    with pytest.raises(ConnectionError, match="page 3"):
        await walk(far, seen.append)
    assert seen == [1, 2]


async def test_a_walk_that_ends_early_leaves_no_fetch_behind() -> None:
    def fail(page: int) -> None:
        raise RuntimeError("the page cannot be written")

    far = FarSide(9, hangs_at=2)
    with pytest.raises(RuntimeError, match="cannot be written"):
        await walk(far, fail)
    assert far.cancelled == 1
    assert [task for task in asyncio.all_tasks() if task.get_name() == "page ahead"] == []
