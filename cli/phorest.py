"""`postroom phorest`: one client or appointment at once, and the rollback of what was made at GHL."""

import asyncio
from typing import Annotated

import typer

from cli.database import ask
from cli.errors import Usage
from cli.options import Json
from cli.output import emit, progress
from cli.who import note, operator
from outbox import db
from outbox.db import Pool
from outbox.staging import stage
from outbox.store import phorest_rollback as rollback
from outbox.store.phorest import Kind, import_of

LOOK_EVERY_S = 0.5

app = typer.Typer(no_args_is_help=True)


@app.callback()
def phorest() -> None:
    """Bring one record of Phorest to GHL, or take back what was made there. The syncs are in `postroom syncs`.

    Example:

        postroom phorest import client AAAAAAAAAAAAAAAAAAAA01
    """


@app.command("import")
def import_one(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="client or appointment.")],
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Phorest's id.")],
    branch: Annotated[str | None, typer.Option(help="The branch of an appointment that is new here.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch one client or appointment from Phorest and bring it to GHL, before all bulk work.

    Example:

        postroom phorest import client AAAAAAAAAAAAAAAAAAAA01
    """
    if kind not in (Kind.CLIENT, Kind.APPOINTMENT):
        raise Usage(f"There are client and appointment, not {kind!r}.")

    async def act(pool: Pool) -> int:
        async with db.transaction(pool) as connection:
            event_id = int(await stage(connection, import_of(Kind(kind), identifier, branch_id=branch)))
            await note(connection, "phorest import", target=f"{kind} {identifier}", event=event_id)
        return event_id

    event_id = ask(act)
    emit(
        {"event": event_id}, as_json=as_json, human=lambda console: console.print(f"Staged as #{event_id}: postroom events show {event_id}")
    )


@app.command("rollback")
def roll_back(
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without it: only count.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="With --apply: show how far it is, until nothing is left.")] = False,
    as_json: Json = False,
) -> None:
    """Delete at GHL exactly what was made there for Phorest: contacts, appointments, notes and tags. What was found there stays.

    Without --apply it counts what would be deleted, which also tells how far a rollback at work is. With it the syncs of Phorest are
    paused, and each deletion becomes an event: retried, within the rate, and gone on with after an interruption. Asked for again, it
    goes on.

    Examples:

        postroom phorest rollback

        postroom phorest rollback --apply --wait
    """

    async def act(pool: Pool) -> int:
        staged, paused = await rollback.begin(pool, by=operator())
        await note(pool, "phorest rollback", staged=staged, paused=paused)
        return staged

    left = ask(rollback.left)
    staged = ask(act) if apply else 0
    if apply and wait:
        ask(lambda pool: _watch(pool, sum(left.values()), quiet=as_json))
    counted = ", ".join(f"{n} of kind {kind}" for kind, n in left.items()) or "nothing"
    said = f"{staged} deletions are staged, the syncs of Phorest are paused." if apply else f"A rollback would delete: {counted}."
    emit({"left": left, "staged": staged}, as_json=as_json, human=lambda console: console.print(said))


async def _watch(pool: Pool, total: int, *, quiet: bool) -> None:
    """Until nothing is left, as a bar. What is buried on its way stays left: then a person looks at the dead letters, and stops this."""
    with progress(quiet=quiet) as bar:
        task = bar.add_task("undoing", total=total)
        while (left := sum((await rollback.left(pool)).values())) > 0:
            bar.update(task, completed=max(0, total - left))
            await asyncio.sleep(LOOK_EVERY_S)
        bar.update(task, completed=total)
