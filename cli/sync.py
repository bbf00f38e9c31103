"""`postroom sync NAME`: a run of a sync by hand, watched to its end. Works with the dispatcher down, in this process then."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from cli import kept, own_modules, running
from cli.database import database, opened
from cli.errors import Code, Usage
from cli.options import Json
from cli.output import emit, err, facts, progress
from cli.who import note, operator
from dispatcher.config import DispatcherSettings
from dispatcher.modules import Loaded
from dispatcher.schedule import Schedule
from dispatcher.services import services
from dispatcher.solo import work_on
from dispatcher.syncs.table import SYNCS
from outbox import db, sync_facts
from outbox.config import DatabaseSettings
from outbox.db import Pool
from outbox.store import runs, workers
from outbox.store.runs import ENDS, LANE, MOST_HOURS_BACK, RunState, Trigger, UnknownSync, UnknownType

LOOK_S = 0.2
WAITS_S = 20.0  # so long it is watched while its event waits (its destination is held, say), then it is left to a dispatcher

Name = Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(SYNCS)}.")]


def command(
    name: Name,
    full: Annotated[bool, typer.Option("--full", help="All of it, with the search for what was deleted.")] = False,
    hours_back: Annotated[
        int | None, typer.Option("--hours-back", min=1, max=MOST_HOURS_BACK, metavar="N", help="What changed in the last N hours.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would change, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Run a sync now and watch it to its end.

    A dispatcher does it if there is one, else this process does. Ctrl-C leaves the run to the next dispatcher; `postroom syncs
    cancel` ends it.

    Examples:

        postroom sync ghl-contacts

        postroom sync ghl-contacts --full --dry-run

        postroom sync ghl-contacts --hours-back 48
    """
    if full and hours_back is not None:
        raise Usage("--full takes all of it: leave out --hours-back.")
    settings, own = DatabaseSettings.read(), DispatcherSettings.read()
    loaded = own_modules.loaded(own)
    running.configure_log(settings, quiet=True)
    with database(settings) as dsn:
        found = running.run(_run(dsn, settings, own, loaded, name, "full" if full else "incremental", hours_back, dry_run, quiet=as_json))
    emit(found, as_json=as_json, human=lambda console: _show(console, found))
    if found["state"] != RunState.DONE:
        raise typer.Exit(Code.FAILED)


async def _run(
    dsn: str,
    settings: DatabaseSettings,
    own: DispatcherSettings,
    loaded: Loaded,
    name: str,
    type_: str,
    hours_back: int | None,
    dry_run: bool,
    *,
    quiet: bool,
) -> dict[str, Any]:
    async with opened(dsn) as pool, services(dsn, own, sealer=kept.sealer(settings), own=loaded.clients) as shared:
        if not await workers.alive(pool):
            await Schedule(shared, SYNCS).register()  # nobody else says what there is
        run_id = await _ask(pool, name, type_, hours_back, dry_run)
        stop = asyncio.Event()

        async def is_over() -> bool:
            row = await runs.one(pool, run_id)
            return row is None or row["state"] in ENDS

        with progress(quiet=quiet) as bar:
            watching = asyncio.create_task(_watch(pool, run_id, bar, stop))
            try:
                if not await workers.alive(pool):
                    await work_on(LANE + name, dsn=dsn, services=shared, routes=loaded.routes, is_over=is_over, stop=stop)
                    await runs.end_dead(pool)
                    stop.set()
                await watching
            finally:
                watching.cancel()
        row = await runs.one(pool, run_id)
        assert row is not None
        return sync_facts.run(row)


async def _ask(pool: Pool, name: str, type_: str, hours_back: int | None, dry_run: bool) -> int:
    async with db.transaction(pool) as connection:
        try:
            asked = await runs.ask(connection, name, type_, trigger=Trigger.MANUAL, by=operator(), hours_back=hours_back, dry_run=dry_run)
        except (UnknownSync, UnknownType) as problem:
            raise Usage(f"{problem} There are: {', '.join(SYNCS)}.") from None
        assert asked is not None  # its key is fresh
        await note(connection, "sync", target=f"{name} {type_}", run=asked.id, hours_back=hours_back, dry_run=dry_run)
    return asked.id


async def _watch(pool: Pool, run_id: int, bar: Progress, stop: asyncio.Event) -> None:
    """Shows how far it is until it has ended, or waits for something that takes long."""
    task: TaskID = bar.add_task("queued", total=None)
    waited_s = 0.0
    while not stop.is_set():
        row = await runs.one(pool, run_id)
        if row is None or row["state"] in ENDS:
            return
        waited_s = waited_s + LOOK_S if row["state"] == RunState.WAITING else 0.0
        if waited_s > WAITS_S:
            stop.set()
            return
        shown = row["phase"] or row["state"]
        bar.update(task, description=shown, completed=row["progress"], total=row["expected"])
        await asyncio.sleep(LOOK_S)


def _show(console: Console, run: dict[str, Any]) -> None:
    counts = {name: number for name, number in run["counts"].items() if number or name == "total"}
    reason = run["reason"] or (run["why"] if run["state"] not in ENDS else None)
    console.print(
        facts(
            {
                "run": run["id"],
                "state": run["state"] + (" (nothing was changed)" if run["dry_run"] else ""),
                **({"reason": reason} if reason else {}),
                **counts,
                **{f"errors, {word}": number for word, number in run["errors_by"].items()},
                "seconds at work": round(run["worked_ms"] / 1000, 1),
                "calls": run["calls"],
                **({"calls left today": run["quota_left"]} if run["quota_left"] is not None else {}),
            }
        )
    )
    if run["state"] not in ENDS:
        err().print("It goes on as soon as it can, in a dispatcher: `postroom syncs runs` shows it.")
