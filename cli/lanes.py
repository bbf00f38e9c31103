"""`postroom lanes`: lanes that are held and by what; their heads run now, buried, or taken out."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.database import ask
from cli.errors import Failed, Usage
from cli.events import show_list
from cli.options import Json, Limit
from cli.output import count, emit, table
from cli.who import actor
from outbox import operators
from outbox.db import Pool
from outbox.operators import Actor
from outbox.store import acts, lanes, search
from outbox.store.search import Wanted
from outbox.timeline import iso, summary

app = typer.Typer(invoke_without_command=True)

Lane = Annotated[str, typer.Argument(metavar="LANE", help="The lane's name, as `postroom lanes` shows it.")]


@app.callback()
def list_lanes(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are simply at work.")] = False,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List lanes that are held, the oldest head first; show one; act on its head.

    Examples:

        postroom lanes

        postroom lanes show ghl:contact:abc

        postroom lanes run ghl:contact:abc
    """
    if context.invoked_subcommand is not None:
        return

    async def find(pool: Pool) -> list[dict[str, Any]]:
        rows = await lanes.blocked(pool, limit=limit, waiting_only=not everything)
        return [{**dict(row), "since": iso(row["since"]), "until": iso(row["until"])} for row in rows]

    found = ask(find)

    def human(console: Console) -> None:
        columns = ("lane", "event_id", "kind", "mark", "waiting", "since", "until", "attempt", "why")
        rows = [[lane[name] for name in columns] for lane in found]
        console.print(table("", columns, rows, narrow=frozenset({"event_id"})) if found else "No lane is held.")

    emit({"lanes": found}, as_json=as_json, human=human)


@app.command("show")
def show(lane: Lane, limit: Limit = 50, as_json: Json = False) -> None:
    """The events of one lane: those that wait, in the order in which they run, and all of them, newest first.

    Example:

        postroom lanes show ghl:contact:abc
    """

    async def find(pool: Pool) -> dict[str, list[dict[str, Any]]]:
        waiting, every = await acts.waiting(pool, lane, limit=limit), await search.find(pool, Wanted(lane=lane), limit=limit)
        return {"waiting": [summary(row) for row in waiting], "events": [summary(row) for row in every.rows]}

    found = ask(find)

    def human(console: Console) -> None:
        if found["waiting"]:
            console.print("In the order in which they run:")
            show_list(console, found["waiting"])
            console.print("\nAll, newest first:")
        show_list(console, found["events"])

    emit(found, as_json=as_json, human=human)


@app.command("run")
def run(lane: Lane, as_json: Json = False) -> None:
    """Try the head again now, not later.

    Example:

        postroom lanes run ghl:contact:abc
    """
    _act(lane, "runs now", operators.run_now, as_json=as_json)


@app.command("bury")
def bury(lane: Lane, reason: Annotated[str, typer.Option(help="Why; it is kept with the event.")], as_json: Json = False) -> None:
    """Make a dead letter of the head. What waits behind it goes on; a later retry does not restore the order.

    Example:

        postroom lanes bury ghl:contact:abc --reason "the contact is gone"
    """
    if not reason.strip() or len(reason) > 400:
        raise Usage("--reason: say why, in at most 400 characters.")

    async def act(pool: Pool, who: Actor, event_id: int) -> None:
        await operators.bury(pool, who, event_id, reason=reason.strip())

    _act(lane, "is a dead letter", act, as_json=as_json)


@app.command("release")
def release(lane: Lane, as_json: Json = False) -> None:
    """Let the lane go on without its head, which waits aside until its next attempt. Its failures count from none again.

    Example:

        postroom lanes release ghl:contact:abc
    """
    _act(lane, "waits aside until its next attempt", operators.release, as_json=as_json)


def _act(lane: str, words: str, act: Callable[[Pool, Actor, int], Awaitable[None]], *, as_json: bool) -> None:
    async def go(pool: Pool) -> tuple[int, int]:
        head = await acts.head(pool, lane)
        if head is None:
            raise Failed(f"Nothing of lane {lane!r} is held or runs. `postroom lanes` lists those that are held.")
        behind = await acts.behind(pool, head)
        await act(pool, actor(), head)
        return head, behind

    head, behind = ask(go)
    emit(
        {"lane": lane, "id": head, "waiting": behind},
        as_json=as_json,
        human=lambda console: console.print(f"{head} {words}; {count(behind, 'event')} behind it."),
    )
