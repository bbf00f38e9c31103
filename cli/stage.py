"""`postroom stage`: an event of one's own, through the same door that apps use."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.database import ask
from cli.errors import Usage
from cli.options import Json, moment
from cli.output import emit
from cli.who import note
from outbox import db, stage
from outbox.db import Pool
from outbox.event import Event
from outbox.store import events


def command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What happened, e.g. appointment.created.")],
    payload: Annotated[
        str, typer.Option(metavar="JSON|@FILE|-", help="The payload: JSON, @ and a file that holds it, or - for standard input.")
    ],
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key with the same payload is the same event.")] = None,
    lane: Annotated[str | None, typer.Option(help="Events of one lane are handled one at a time, in order.")] = None,
    due_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not before this time (2026-10-05T09:00Z) or in this long (2h).")
    ] = None,
    source: Annotated[str, typer.Option(help="Whose event it is.")] = "app",
    as_json: Json = False,
) -> None:
    """Stage an event in a transaction of its own, and print its id.

    Examples:

        postroom stage appointment.cancelled --payload '{"appointment": {"id": "a-1", "status": "cancelled"}}'

        postroom stage appointment.created --payload @change.json --key booking-17 --lane appointment:a-1

        echo '{"any": "json"}' | postroom stage report.due --payload - --due-at 2h
    """
    event = Event(kind, _payload(payload), key=key, lane=lane, due_at=moment(due_at, option="--due-at", ahead=True), source=source)
    event.payload_json()  # what is wrong with it is said before a database is asked

    async def put(pool: Pool) -> tuple[int, bool]:
        with db.mapped():
            async with pool.acquire() as connection, connection.transaction():
                event_id = int(await stage(connection, event))
                duplicate = not await events.is_new(connection, event_id)
                await note(connection, "stage", target=event_id, kind=kind, duplicate=duplicate)
        return event_id, duplicate

    event_id, duplicate = ask(put)
    words = "This key was staged before, as" if duplicate else "Staged as"
    emit(
        {"id": event_id, "duplicate": duplicate},
        as_json=as_json,
        human=lambda console: console.print(f"{words} {event_id}. What becomes of it: postroom events show {event_id}"),
    )


def _payload(given: str) -> Any:
    where = "--payload"
    try:
        if given == "-":
            where, text = "standard input", sys.stdin.buffer.read().decode()
        elif given.startswith("@"):
            where = f"--payload {given}"
            text = Path(given[1:]).read_bytes().decode()
        else:
            text = given
    except OSError as problem:
        raise Usage(f"{where}: {problem.strerror}.") from None
    except UnicodeDecodeError:
        raise Usage(f"{where} is not UTF-8 text.") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        raise Usage(f"{where} is not JSON: {problem.msg} at line {problem.lineno}, column {problem.colno}.") from None
    except (ValueError, RecursionError) as problem:
        raise Usage(f"{where} is not JSON that can be kept: {type(problem).__name__}.") from None
