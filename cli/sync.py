"""`postroom sync NAME`: a run of a sync by hand, watched to its end. Works with the dispatcher down, in this process then."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn

from cli import kept, own_modules, running
from cli.database import database, opened
from cli.errors import Code, Usage, bad
from cli.options import Json, moment
from cli.output import count, emit, err, facts, progress
from cli.who import note, operator
from dispatcher.config import DispatcherSettings
from dispatcher.modules import Loaded
from dispatcher.schedule import Schedule
from dispatcher.services import services
from dispatcher.solo import work_on
from dispatcher.syncs.base import Sync
from dispatcher.syncs.table import SYNCS
from outbox import db, sync_facts
from outbox.config import DatabaseSettings
from outbox.db import Pool, Record
from outbox.store import runs, syncs, workers
from outbox.store.runs import ENDS, LANE, MOST_HOURS_BACK, RANGE, RunState, Trigger, UnknownSync, UnknownType, WrongRange
from outbox.timeline import iso

LOOK_S = 0.2
LOOKED_AT = 20  # so many runs before it are looked at
WAITS_S = 20.0  # so long it is watched while its event waits (its destination is held, say), then it is left to a dispatcher
DAY: Final = re.compile(r"\d{4}-\d\d-\d\d|\d{8}")
Span = tuple[datetime, datetime]

Name = Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(SYNCS)}, or of a module of your own.")]


def command(
    name: Name,
    since: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="Of a sync over a range: from this day, or this moment (UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DATE", help="... to the end of this day, or to before this moment.")] = None,
    full: Annotated[bool, typer.Option("--full", help="All of it, with the search for what was deleted.")] = False,
    hours_back: Annotated[
        int | None, typer.Option("--hours-back", min=1, max=MOST_HOURS_BACK, metavar="N", help="What changed in the last N hours.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would change, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Run a sync now and watch it to its end.

    A dispatcher does it if there is one, else this process does. Ctrl-C leaves the run to the next dispatcher; `postroom syncs
    cancel` ends it. Exit code 0: it went well; 1: it did not, or some records could not be taken.

    Examples:

        postroom sync ghl-contacts

        postroom sync ghl-contacts --full --dry-run

        postroom sync ghl-contacts --hours-back 48

        postroom sync appointments --from 2026-11-01 --to 2026-11-30 --dry-run
    """
    if full and hours_back is not None:
        raise Usage("--full takes all of it: leave out --hours-back.")
    settings, own = DatabaseSettings.read(), DispatcherSettings.read()
    loaded = own_modules.loaded(own)
    span = _span(loaded.syncs, name, since, until, is_else=full or hours_back is not None)
    type_ = "full" if full else "incremental" if span is None else RANGE
    running.configure_log(settings, quiet=True)
    with database(settings) as dsn:
        found = running.run(_run(dsn, settings, own, loaded, name, type_, hours_back, dry_run, span=span, quiet=as_json))
    emit(found, as_json=as_json, human=lambda console: _show(console, found))
    if found["state"] != RunState.DONE or found["counts"]["errors"]:
        raise typer.Exit(Code.FAILED)


def _span(table: Mapping[str, Sync], name: str, since: str | None, until: str | None, *, is_else: bool) -> Span | None:
    """Of a sync over a range; None: it is not one. A day counts to its end."""
    sync = table.get(name)
    takes_one = sync is not None and RANGE in sync.types
    if since is None and until is None and not (takes_one and not is_else):
        return None
    if sync is not None and not takes_one:
        those = ", ".join(one.name for one in table.values() if RANGE in one.types)
        raise Usage(f"{name} takes no range; --from and --to are for {those}.")
    if is_else:
        raise Usage("--from and --to say what is taken: leave out --full and --hours-back.")
    begin, end = moment(since, option="--from"), moment(until, option="--to")
    if begin is None or end is None:
        raise Usage(f"`postroom sync {name}` needs both --from and --to.")
    if until is not None and DAY.fullmatch(until.strip()):
        if end.date() == date.max:
            bad("--to", until, "a day that has an end")
        end += timedelta(days=1)
    return begin, end


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
    span: Span | None,
    quiet: bool,
) -> dict[str, Any]:
    async with opened(dsn) as pool, services(dsn, own, sealer=kept.sealer(settings), own=loaded.clients) as shared:
        if not await workers.alive(pool) or (name in loaded.syncs and await syncs.one(pool, name) is None):
            await Schedule(shared, loaded.syncs).register()  # nobody else says what there is, or has said it yet
        run_id = await _ask(pool, name, type_, hours_back, dry_run, span=span, there=loaded.syncs)
        if type_ == "full" and not quiet:
            err().print(_expects(await sync_facts.usual(pool, name, type_)))
        stop = asyncio.Event()

        async def is_over() -> bool:
            row = await runs.one(pool, run_id)
            return row is None or row["state"] in ENDS

        with progress(quiet=quiet, more=[TextColumn("{task.fields[pace]}")]) as bar:
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


async def _ask(pool: Pool, name: str, type_: str, hours_back: int | None, dry_run: bool, *, span: Span | None, there: Iterable[str]) -> int:
    async with db.transaction(pool) as connection:
        try:
            asked = await runs.ask(
                connection, name, type_, trigger=Trigger.MANUAL, by=operator(), hours_back=hours_back, dry_run=dry_run, span=span
            )
        except (UnknownSync, UnknownType) as problem:
            raise Usage(f"{problem} There are: {', '.join(there)}.") from None
        except WrongRange as problem:
            raise Usage(str(problem)) from None
        assert asked is not None  # its key is fresh
        await note(
            connection,
            "sync",
            target=f"{name} {type_}",
            run=asked.id,
            hours_back=hours_back,
            dry_run=dry_run,
            range=span and [iso(at) for at in span],
        )
    return asked.id


def _expects(usual: Mapping[str, Any] | None) -> str:
    """What a full run costs, before it begins."""
    if usual is None:
        return "No full run yet that tells what it takes."
    share = f", {usual['calls'] / usual['quota']:.1%} of the day's" if usual["quota"] else ""
    return f"As the last full run: {count(usual['calls'], 'call')}{share}, and {timedelta(seconds=round(usual['worked_ms'] / 1000))}."


async def _stands(pool: Pool, row: Record) -> bool:
    """Whether the run waits, or its turn comes behind one that does."""
    if row["state"] == RunState.QUEUED:
        before = [one["state"] for one in await runs.every(pool, row["sync"], before=row["id"], limit=LOOKED_AT)]
        return RunState.WAITING in before and RunState.RUNNING not in before
    return bool(row["state"] == RunState.WAITING)


async def _watch(pool: Pool, run_id: int, bar: Progress, stop: asyncio.Event) -> None:
    """Shows how far it is until it has ended, or waits for something that takes long."""
    task: TaskID = bar.add_task("queued", total=None, pace="")
    waited_s = 0.0
    while not stop.is_set():
        row = await runs.one(pool, run_id)
        if row is None or row["state"] in ENDS:
            return
        waited_s = waited_s + LOOK_S if await _stands(pool, row) else 0.0
        if waited_s > WAITS_S:
            stop.set()
            return
        shown = row["phase"] or row["state"]
        bar.update(task, description=shown, completed=row["progress"], total=row["expected"], pace=_pace(sync_facts.run(row)))
        await asyncio.sleep(LOOK_S)


def _pace(run: Mapping[str, Any]) -> str:
    """How fast it is, how long it still takes, and what went wrong so far; nothing of it before it is known."""
    rate = f"{run['rate']:,.0f}/s" if run["rate"] else None
    left = f"{timedelta(seconds=run['left_s'])} left" if run["left_s"] is not None else None
    errors = count(run["counts"]["errors"], "error") if run["counts"]["errors"] else None
    return ", ".join(part for part in (rate, left, errors) if part)


def _show(console: Console, run: dict[str, Any]) -> None:
    counts = {name: number for name, number in run["counts"].items() if number or name == "total"}
    reason = run["reason"] or (run["why"] if run["state"] not in ENDS else None)
    console.print(
        facts(
            {
                "run": run["id"],
                "state": run["state"] + (" (nothing was changed)" if run["dry_run"] else ""),
                **({"reason": reason} if reason else {}),
                **({"range": f"{run['since']} to {run['until']}"} if run["type"] == RANGE else {}),
                **counts,
                **{f"errors, {word}": number for word, number in run["errors_by"].items()},
                **{
                    f"{what} missed by webhooks": f"{one['missed']} of {one['changed']}"
                    + (f", {one['share']:.1%}" if one["changed"] else "")
                    for what, one in run["missed"].items()
                },
                "seconds at work": round(run["worked_ms"] / 1000, 1),
                "calls": run["calls"],
                **({"share of the day's calls": f"{run['calls'] / run['quota']:.1%}"} if run["quota"] else {}),
                **({"calls left today": run["quota_left"]} if run["quota_left"] is not None else {}),
            }
        )
    )
    if run["state"] not in ENDS:
        err().print("It goes on as soon as it can, in a dispatcher: `postroom syncs runs` shows it.")
