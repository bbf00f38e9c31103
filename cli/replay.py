"""`postroom events replay`: settled events put into the queue again, by their ids at once, or all that a filter finds by a stored plan."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import plans
from cli.confirm import confirm
from cli.database import ask
from cli.errors import Code, Usage
from cli.options import LARGEST_ID, Json, moment
from cli.output import count, emit
from cli.who import actor
from outbox import operators, planning
from outbox.db import Pool
from outbox.store import sources
from outbox.store.search import Wanted

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", min=1, max=LARGEST_ID, help="The events' ids.", show_default=False)]


class Settled(StrEnum):
    """What is replayed."""

    DONE = "done"
    SKIPPED = "skipped"


def replay(
    ids: Ids = None,
    state: Annotated[list[Settled] | None, typer.Option(help="Only what is done, or only what is skipped.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only of this source; may be given several times.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only of this kind; several times.")] = None,
    lane: Annotated[str | None, typer.Option(help="Only of this lane.")] = None,
    key: Annotated[str | None, typer.Option(help="Only with this idempotency key.")] = None,
    attempts: Annotated[int | None, typer.Option(min=1, max=99, help="Only with so many attempts at least.")] = None,
    text: Annotated[str | None, typer.Option(help="Only with this in the payload, byte for byte.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only those staged since: a time, or 2h for two hours.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only those staged before.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is done or skipped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many it would be, and store nothing.")] = False,
    canary: Annotated[bool, typer.Option("--canary/--no-canary", help="One, then ten, then portions; or portions at once.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Begin at once; several ids: do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Put done or skipped events into the queue again, behind live work. Finished steps are not repeated.

    With a filter it makes a plan, which is counted and stored first: `--yes` begins it, and so does `postroom plans start`. It goes on in
    portions by itself, stops when events die, and is shown, stopped and resumed by `postroom plans`.
    For dead letters use `postroom dead retry`.

    Examples:

        postroom events replay 1234

        postroom events replay --kind ghl.ContactUpdate --since 2h --dry-run

        postroom events replay --state skipped --since 2026-10-05 --yes
    """
    wanted = Wanted(
        sources=source or (), kinds=kind or (), lane=lane, key=key, states=[str(one) for one in state or ()], attempts=attempts, text=text,
        since=moment(since, option="--since"), until=moment(until, option="--until"),
    )  # fmt: skip
    if (bool(ids), wanted != Wanted(states=[]), everything).count(True) != 1:
        raise Usage("Name events by their ids, or by a filter (--kind, --source, --lane, --since, …), or --all.")
    if ids and dry_run:
        raise Usage("--dry-run counts what a filter finds; ids are as many as you name.")
    if ids:
        _by_id(sorted(set(ids)), yes=yes, as_json=as_json)
    elif dry_run:
        found = ask(lambda pool: _found(pool, wanted))
        emit(found, as_json=as_json, human=lambda console: console.print(f"{count(found['would_be'], 'event')} would be replayed."))
    else:
        plans.answer(ask(lambda pool: _planned(pool, wanted, begin=yes, canary=canary)), as_json=as_json)


async def _known(pool: Pool) -> list[str]:
    return sorted({"app", "postroom", *(row["name"] for row in await sources.every(pool))})


async def _found(pool: Pool, wanted: Wanted) -> dict[str, Any]:
    found = await planning.settled(pool, wanted, known_sources=await _known(pool))
    return {"dry_run": True, "replayed": 0, "would_be": len(found)}


async def _planned(pool: Pool, wanted: Wanted, *, begin: bool, canary: bool) -> dict[str, Any]:
    made = await planning.make_replay(pool, actor(), wanted, known_sources=await _known(pool))
    if begin:
        await planning.start(pool, actor(), made, canary=canary, alone=True)
    told = await planning.told(pool, made)
    assert told is not None
    return told


def _by_id(ids: list[int], *, yes: bool, as_json: bool) -> None:
    """Exit 1 when one that was named is not settled."""
    if len(ids) == 1:
        ask(lambda pool: operators.replay(pool, actor(), ids[0]))
        said = f"{ids[0]} is in the queue again. What becomes of it: postroom events show {ids[0]}"
        emit({"id": ids[0], "replayed": True}, as_json=as_json, human=lambda console: console.print(said))
        return
    confirm(f"{count(len(ids), 'event')} would be replayed", yes=yes, as_json=as_json)
    replayed = ask(lambda pool: operators.replay_many(pool, actor(), ids, which=f"{len(ids)} ids"))
    left = sorted(set(ids) - set(replayed))

    def human(console: Console) -> None:
        console.print(f"{count(len(replayed), 'event')} of {len(ids)} replayed.")
        if left:
            console.print(f"Not settled, or unknown: {', '.join(map(str, left))}.")

    emit({"replayed": len(replayed), "ids": replayed, "not_settled": left}, as_json=as_json, human=human)
    if left:
        raise typer.Exit(Code.FAILED)
