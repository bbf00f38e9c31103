"""`postroom audit`: who did what, newest first. Only read; every act writes its own row."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.database import ask
from cli.options import Before, Json, Limit, moment
from cli.output import emit, err, table
from outbox.db import Pool, Record
from outbox.store import audit
from outbox.store.audit import Filter, Via
from outbox.timeline import iso

COLUMNS = ("at", "who", "via", "what", "target", "result", "reason")


def command(
    who: Annotated[str | None, typer.Option(help="Only by this name.")] = None,
    via: Annotated[Via | None, typer.Option(help="Only from there.")] = None,
    what: Annotated[str | None, typer.Option(help="Only acts that begin with this, e.g. retry.")] = None,
    target: Annotated[str | None, typer.Option(help="Only on what begins with this: an event's id, a lane, a sync, …")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only those since: a time, or 2h for two hours.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only those before.")] = None,
    limit: Limit = 50,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List acts and sign-ins, newest first: who did what, on what, with which result.

    Examples:

        postroom audit --who ana --since 24h

        postroom audit --what retry --json
    """
    which = Filter(who, via, what, target, moment(since, option="--since"), moment(until, option="--until"))

    async def find(pool: Pool) -> list[dict[str, Any]]:
        return [_act(row) for row in await audit.find(pool, which, before=before, limit=limit)]

    found = ask(find)

    def human(console: Console) -> None:
        if not found:
            console.print("No act is like this.")
            return
        console.print(table("", COLUMNS, [[_cell(act[name]) for name in COLUMNS] for act in found], narrow=frozenset({"at"})))
        if len(found) == limit:
            err().print(f"Older ones: add --before {found[-1]['id']}")

    emit({"acts": found, "next_before": found[-1]["id"] if len(found) == limit else None}, as_json=as_json, human=human)


def _act(row: Record) -> dict[str, Any]:
    """As `GET /api/audit` says it."""
    return {**dict(row), "at": iso(row["at"]), "result": None if row["result"] is None else json.loads(row["result"])}


def _cell(value: object) -> object:
    """A result in a few words."""
    return ", ".join(f"{name} {said}" for name, said in value.items() if said is not None) if isinstance(value, dict) else value
