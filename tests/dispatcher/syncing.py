"""Syncs for tests: a far side of numbers that is read in pages of two, and what the rows say of a run."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dispatcher.config import DispatcherSettings
from dispatcher.routes import sync_routes
from dispatcher.schedule import Schedule
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from dispatcher.syncs.base import Default, Sync
from dispatcher.syncs.run import Run
from outbox import db
from outbox.store import runs
from outbox.store.runs import Trigger, What
from outbox.testing import Postroom
from tests.dispatcher.running import eventually

PAGE = 2
Between = Callable[[Run], Awaitable[None]]


async def nothing(run: Run) -> None:
    return


def numbers(upto: int, *, before_page: Between = nothing, at_end: Between = nothing) -> Callable[[Run], Awaitable[None]]:
    """A sync that writes 1 … `upto` into crm.links, two a page."""

    async def pull(run: Run) -> None:
        while (at := run.checkpoint or 0) < upto:
            await before_page(run)
            found = range(at + 1, min(at + PAGE, upto) + 1)
            run.progress(found[-1], upto)
            async with run.page(found[-1]) as page:
                for number in found:
                    await page.connection.execute(
                        "insert into crm.links (kind, ours, theirs, destination) values ('number', $1, $1, 'numbers')", str(number)
                    )
                    page.did(What.CREATED, str(number))
        await at_end(run)

    return pull


def sync(run: Callable[[Run], Awaitable[None]], *, name: str = "numbers", **more: Any) -> Sync:
    """A row of a table of syncs."""
    return Sync(name=name, run=run, types=more.pop("types", ("incremental", "full")), **more)


def every(seconds: int) -> Mapping[str, Default]:
    from outbox.cadence import Every

    return {"incremental": Default(Every(seconds))}


async def register(postroom: Postroom, *table: Sync, settings: DispatcherSettings | None = None) -> None:
    """As a dispatcher does when it begins."""
    async with services(postroom.dsn, settings or DispatcherSettings.model_construct()) as shared:
        await Schedule(shared, {one.name: one for one in table}).register()


async def asked(postroom: Postroom, name: str = "numbers", type_: str = "incremental", **more: Any) -> int:
    """Asks for a run; returns its id."""
    async with db.transaction(postroom.pool) as connection:
        made = await runs.ask(connection, name, type_, trigger=Trigger.MANUAL, by="ada", **more)
    assert made is not None
    return made.id


async def carried_out(
    postroom: Postroom, one: Sync, *, settings: DispatcherSettings | None = None, until: str = "ended_at is not null", within_s: float = 20
) -> None:
    """A dispatcher that knows this sync works until all runs are so, in tests' own hurry."""
    async with services(postroom.dsn, settings or DispatcherSettings.model_construct()) as shared:
        stop, dispatcher = Stop(), Dispatcher(postroom.dsn, shared, sync_routes({one.name: one}), syncs={one.name: one})
        running = asyncio.create_task(dispatcher.run(stop))

        async def are_so() -> bool:
            if await postroom.hurry() and dispatcher.loop is not None:
                dispatcher.loop.look_for_due()
            return bool(await postroom.value(f"select bool_and({until}) from outbox.runs"))

        try:
            await eventually(are_so, within_s=within_s)
        finally:
            stop.ask()
            await running


async def run_row(postroom: Postroom, run_id: int) -> dict[str, Any]:
    [row] = await postroom.rows("select * from outbox.runs where id = $1", run_id)
    return row


async def written(postroom: Postroom) -> list[int]:
    """The numbers that arrived, in order."""
    return [int(row["ours"]) for row in await postroom.rows("select ours from crm.links where kind = 'number' order by ours::int")]
