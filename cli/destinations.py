"""`postroom destinations`: whom we write to, what flows, what is paused and what waits for it."""

import re
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import own_modules
from cli.database import ask
from cli.errors import Failed, Usage
from cli.options import Json, duration_s
from cli.output import emit, table
from cli.who import note, operator
from dispatcher.routes import ROUTES
from outbox import db, operators, ways
from outbox.db import Pool
from outbox.errors import NotNow
from outbox.operators import Actor
from outbox.store import destinations
from outbox.timeline import iso

HIDDEN = {"alert", "ghl-oauth", "google", "google-oauth"}  # of several, and the doors by which they come
KNOWN = sorted({route.destination for route in ROUTES.values() if route.destination is not None} - HIDDEN)
ACCOUNT = re.compile(r"(?:ghl|google|alert):[A-Za-z0-9_-]{1,64}|(?:ghl|google)-oauth")  # a location, a user, a URL

app = typer.Typer(invoke_without_command=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(KNOWN)}.")]


@app.callback()
def list_destinations(context: typer.Context, as_json: Json = False) -> None:
    """List destinations; pause one by hand; let it flow again.

    While one is paused its events wait, at no cost, and everything else flows. Calls are those of the last 24 hours.

    Examples:

        postroom destinations

        postroom destinations pause ghl --for 2h --why maintenance

        postroom destinations resume ghl
    """
    if context.invoked_subcommand is not None:
        return
    found = ask(standings)

    def human(console: Console) -> None:
        columns = ("name", "state", "waiting", "since", "for_s", "by", "why", "calls", "success_rate", "p95_ms")
        console.print(table("", columns, [[entry[name] for name in columns] for entry in found], narrow=frozenset({"name", "state"})))

    emit({"destinations": found}, as_json=as_json, human=human)


@app.command("pause")
def pause(
    name: Name,
    lasting: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="Resume by itself after 30m, 2h, 1d. Absent: until resumed.")
    ] = None,
    why: Annotated[str, typer.Option(help="Kept with the pause.")] = "paused by hand",
    as_json: Json = False,
) -> None:
    """Stop calling a destination. Its events wait; none is lost, none is buried.

    Example:

        postroom destinations pause notion --for 30m
    """
    _check(name)
    seconds = duration_s(lasting, option="--for") if lasting is not None else None

    async def act(pool: Pool) -> None:
        with db.mapped():
            async with pool.acquire() as connection, connection.transaction():
                await destinations.pause(connection, name, why=why[:400], by=operator(), seconds=seconds)
                await note(connection, "pause", target=name, reason=why[:400], seconds=seconds)

    ask(act)
    until = f"for {lasting}" if lasting else f"until `postroom destinations resume {name}`"
    emit(
        {"name": name, "state": "paused", "for_s": seconds},
        as_json=as_json,
        human=lambda console: console.print(f"{name} is paused {until}."),
    )


@app.command("resume")
def resume(name: Name, as_json: Json = False) -> None:
    """Let a destination flow again, whether a person or a failure stopped it.

    Example:

        postroom destinations resume ghl
    """
    _check(name)

    async def act(pool: Pool) -> tuple[bool, str]:
        with db.mapped():
            async with pool.acquire() as connection, connection.transaction():
                changed = await destinations.resume(connection, name, by=operator())
                await note(connection, "resume", target=name, changed=changed)
        return changed, next((way.outlook for way in await ways.every(pool, usual=(name,)) if way.name == name), "")

    changed, outlook = ask(act)
    words = f"flows again: {outlook}" if changed else "was flowing already"
    result = {"name": name, "state": "flowing", "changed": changed, "outlook": outlook}
    emit(result, as_json=as_json, human=lambda console: console.print(f"{name} {words}."))


@app.command("test")
def try_out(name: Name, as_json: Json = False) -> None:
    """Ask whether a destination works: one harmless read call by a dispatcher, whose event tells the answer.

    Example:

        postroom destinations test notion
    """
    _check(name)

    async def act(pool: Pool) -> int:
        try:
            return await operators.test(pool, Actor(operator(), "cli"), name)
        except NotNow as problem:
            raise Failed(str(problem)) from None

    event = ask(act)
    said = f"A dispatcher asks {name}: `postroom events show {event}` has the answer as soon as it is there."
    emit({"name": name, "event": event}, as_json=as_json, human=lambda console: console.print(said))


async def standings(pool: Pool) -> list[dict[str, Any]]:
    """Every known destination with its state and how many events wait for it."""
    return [
        {
            "name": way.name,
            "state": way.state,
            "waiting": way.held.waiting,
            "oldest": way.held.oldest,
            "since": iso(way.since),
            "for_s": None if way.until_s is None else round(way.until_s),
            "by": way.by,
            "why": way.why,
            "calls": way.day.made if way.day else 0,
            "success_rate": round(way.day.success_rate, 4) if way.day else None,
            "p95_ms": round(way.day.p95_ms, 1) if way.day else None,
        }
        for way in await ways.every(pool, usual=KNOWN)
    ]


def _check(name: str) -> None:
    if name not in KNOWN and not ACCOUNT.fullmatch(name) and name not in own_modules.destinations():
        known = ", ".join(KNOWN)
        raise Usage(
            f"There is no destination {name[:60]!r}. There are: {known}; and ghl:LOCATION, google:USER, alert:NAME for one of several."
        )
