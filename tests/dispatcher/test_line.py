"""A line of the engine is one connection, whoever asks for it and however it ends."""

import asyncio
import gc
import warnings

from dispatcher.line import Line, close_all
from outbox import db
from outbox.testing import Postroom
from tests.dispatcher.running import eventually

NAME = "postroom:of-a-test"


async def connections(postroom: Postroom) -> int:
    return int(await postroom.value("select count(*) from pg_stat_activity where application_name = $1", NAME))


async def test_tasks_that_ask_at_once_get_the_same_connection_and_none_is_left_open(postroom: Postroom) -> None:
    line = Line(postroom.dsn, name=NAME)
    asked = await asyncio.gather(*(line.get() for _ in range(4)))
    assert len({id(connection) for connection in asked}) == 1
    assert await connections(postroom) == 1
    del asked
    await line.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
    await eventually(lambda: are(postroom, 0))


async def test_one_that_is_cancelled_while_another_asks_leaves_it_a_connection(postroom: Postroom) -> None:
    line = Line(postroom.dsn, name=NAME)
    first, second = asyncio.create_task(line.get()), asyncio.create_task(line.get())
    await asyncio.sleep(0)
    first.cancel()
    assert await db.fetchval(await second, "select 1") == 1
    assert first.cancelled()
    await eventually(lambda: are(postroom, 1))
    await line.close()


async def test_lines_whose_closing_is_cancelled_are_cut(postroom: Postroom) -> None:
    lines = [Line(postroom.dsn, name=NAME) for _ in range(3)]
    for line in lines:
        await line.get()
    closing = asyncio.create_task(close_all(lines))
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    assert closing.cancelled()
    await eventually(lambda: are(postroom, 0))


async def are(postroom: Postroom, number: int) -> bool:
    return await connections(postroom) == number
