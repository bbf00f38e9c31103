"""`postroom phorest`: one client or appointment at once, and the rollback of what was made at GHL."""

import asyncio
from typing import Annotated

import typer

from cli.database import ask
from cli.errors import Code, Usage
from cli.options import Json
from cli.output import count, emit, progress
from cli.who import actor, note
from outbox import db, operators
from outbox.db import Pool
from outbox.staging import stage
from outbox.store import phorest_rollback as rollback
from outbox.store.phorest import Kind, import_of
from outbox.store.phorest_rollback import Rest

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
    stop: Annotated[bool, typer.Option("--stop", help="Delete nothing more of one that is at work.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="With --apply: show how far it is, until nothing is left.")] = False,
    as_json: Json = False,
) -> None:
    """Delete at GHL exactly what was made there for Phorest: contacts, appointments, notes and tags. What was found there stays.

    Without --apply it counts what would be deleted, which also tells how far a rollback at work is. With it the syncs of Phorest are
    paused, and each deletion becomes an event: retried, within the rate, and gone on with after an interruption. Asked for again, it
    goes on. --stop ends it: what is to come is not deleted, until it is begun anew. With --wait it ends when no deletion is to come;
    exit code 1: some are dead letters, or something was made meanwhile.

    Examples:

        postroom phorest rollback

        postroom phorest rollback --apply --wait

        postroom phorest rollback --stop
    """
    if stop and (apply or wait):
        raise Usage("--stop ends a rollback: leave out --apply and --wait.")
    if stop:
        _stop(as_json=as_json)
        return

    async def act(pool: Pool) -> tuple[dict[str, int], int, Rest | None]:
        left = await rollback.left(pool)
        staged = (await operators.roll_back_phorest(pool, actor()))[0] if apply else 0
        return left, staged, await _watch(pool, sum(left.values()), quiet=as_json) if apply and wait else None

    left, staged, rest = ask(act)
    document: dict[str, object] = {"left": left, "staged": staged}
    if rest is not None:
        document["rest"] = {"left": rest.left, "dead": rest.dead}
        said = _ended(sum(left.values()), rest)
    elif apply:
        said = f"{count(staged, 'deletion')} staged, the syncs of Phorest are paused."
    else:
        said = f"A rollback would delete: {_named(left)}."
    emit(document, as_json=as_json, human=lambda console: console.print(said, soft_wrap=True))
    if rest is not None and rest.left > 0:
        raise typer.Exit(Code.FAILED)


def _stop(*, as_json: bool) -> None:
    async def act(pool: Pool) -> dict[str, int]:
        await operators.stop_phorest_rollback(pool, actor())
        return await rollback.left(pool)

    left = ask(act)
    said = f"Stopped. Still there: {_named(left)}. `postroom phorest rollback --apply` begins anew."
    emit({"left": left, "stopped": True}, as_json=as_json, human=lambda console: console.print(said, soft_wrap=True))


def _named(left: dict[str, int]) -> str:
    return ", ".join(f"{n} of kind {kind}" for kind, n in left.items()) or "nothing"


async def _watch(pool: Pool, total: int, *, quiet: bool) -> Rest:
    """Until no deletion is to come, as a bar. What is dead by then stays, for a person to look at."""
    with progress(quiet=quiet) as bar:
        task = bar.add_task("undoing", total=total)
        while (rest := await rollback.rest(pool)).coming > 0:
            bar.update(task, completed=max(0, total - rest.left))
            await asyncio.sleep(LOOK_EVERY_S)
        bar.update(task, completed=max(0, total - rest.left))
    return rest


def _ended(total: int, rest: Rest) -> str:
    """How a rollback ended, and what to do about the rest."""
    said = [f"{max(0, total - rest.left)} of {total} are deleted."]
    if rest.dead > 0:
        said.append(f"{count(rest.dead, 'deletion is a dead letter', 'deletions are dead letters')}: postroom dead --kind phorest.undo")
    if (others := rest.left - rest.dead) > 0:
        said.append(f"{others} more {'is' if others == 1 else 'are'} there, made meanwhile or discarded: postroom phorest rollback")
    return "\n".join(said)
