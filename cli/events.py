"""`postroom events`: what came in and what became of it."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.database import ask
from cli.errors import Failed
from cli.options import Before, EventId, Json, Limit
from cli.output import STYLES, brief, emit, err, facts, plain, table
from cli.who import note, operator
from outbox.db import Pool
from outbox.event import State
from outbox.store import events
from outbox.timeline import Entry, story, summary

COLUMNS = ("id", "staged", "kind", "lane", "state", "tries", "why")

app = typer.Typer(invoke_without_command=True)


@app.callback()
def list_events(
    context: typer.Context,
    state: Annotated[list[State] | None, typer.Option(help="Only in this state; may be given several times.")] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source: ghl, ghl-workflow, notion, standard:NAME, app.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind, e.g. ghl.ContactUpdate.")] = None,
    lane: Annotated[str | None, typer.Option(help="Only of this lane.")] = None,
    key: Annotated[str | None, typer.Option(help="Only with this idempotency key.")] = None,
    limit: Limit = 20,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List events, newest first; show one with its timeline; replay one.

    A filter on the state looks at the newest 10,000 events that fit the other filters.

    Examples:

        postroom events --state dead --source ghl

        postroom events show 1234

        postroom events --lane ghl:contact:abc --json
    """
    if context.invoked_subcommand is not None:
        return

    async def find(pool: Pool) -> tuple[list[Entry], int | None]:
        states = [str(one) for one in state or ()]
        if key is not None and source is not None:  # by its digest, where looking at every event would take long
            rows = [row for row in await events.with_key(pool, key, sources=[source]) if kind in (None, row["kind"])]
            return [summary(row) for row in rows if lane in (None, row["lane"]) and (not states or row["state"] in states)], None
        rows = await events.find(pool, before=before, limit=limit, source=source, kind=kind, lane=lane, key=key, states=states)
        further = rows[-1]["id"] if len(rows) == limit else None
        if further is None and states:
            further = await events.looked_to(pool, before=before, source=source, kind=kind, lane=lane, key=key)
        return [summary(row) for row in rows], further

    found, further = ask(find)

    def human(console: Console) -> None:
        show_list(console, found)
        if further is not None:
            err().print(f"Older ones: add --before {further}")

    emit({"events": found, "next_before": further}, as_json=as_json, human=human)


@app.command("show")
def show(event_id: EventId, as_json: Json = False) -> None:
    """One event: its state and why, and its timeline, oldest first.

    Example:

        postroom events show 1234
    """

    async def read(pool: Pool) -> Entry:
        found = await story(pool, event_id)
        if found is None:
            raise _unknown(event_id)
        return found

    found = ask(read)
    emit(found, as_json=as_json, human=lambda console: show_story(console, found))


@app.command("replay")
def replay(event_id: EventId, as_json: Json = False) -> None:
    """Put a done or skipped event into the queue again. Its finished steps are not repeated.

    For a dead letter use `postroom dead retry`.

    Example:

        postroom events replay 1234
    """

    async def again(pool: Pool) -> None:
        row = await events.one(pool, event_id)
        if row is None:
            raise _unknown(event_id)
        async with pool.acquire() as connection, connection.transaction():
            if not await events.replay(connection, event_id, by=operator()):
                raise _not_replayed(event_id, row["state"])
            await note(connection, "replay", target=event_id)

    ask(again)
    emit(
        {"id": event_id, "replayed": True},
        as_json=as_json,
        human=lambda console: console.print(f"{event_id} is in the queue again. What becomes of it: postroom events show {event_id}"),
    )


def show_list(console: Console, found: Sequence[Entry]) -> None:
    """Events as a table."""
    if not found:
        console.print("No events.")
        return
    rows = [(e["id"], _short(e["staged_at"]), e["kind"], e["lane"], e["state"], e["attempts"], brief(e["why"])) for e in found]
    console.print(table("", COLUMNS, rows, narrow=frozenset({"id", "staged", "state"})))


def show_story(console: Console, told: Entry) -> None:
    """An event with its timeline."""
    shown: dict[str, Any] = {
        "event": told["id"],
        "kind": told["kind"],
        "source": told["source"],
        "key": told["key"],
        "lane": told["lane"],
        "state": told["state"],
        "why": told["why"],
        "next try": _short(told["until"]),
        "attempts": told["attempts"],
        "delivered again": told["duplicates"],
        "payload": f"{told['payload_bytes']} bytes",
    }
    console.print(facts({name: value for name, value in shown.items() if value not in (None, 0)}))
    console.print("")
    for entry in told["timeline"]:
        console.print(
            f"{_short(entry['at'], ms=True)}  {plain(entry['text'])}", style=STYLES.get(str(entry.get("outcome")), ""), soft_wrap=True
        )


def _short(moment: str | None, *, ms: bool = False) -> str | None:
    """An ISO time of the story as people read it."""
    return None if moment is None else moment.replace("T", " ")[: 23 if ms else 19]


def _unknown(event_id: int) -> Failed:
    return Failed(f"There is no event {event_id}. `postroom events` lists those there are.")


def _not_replayed(event_id: int, state: str) -> Failed:
    if state == State.DEAD:
        return Failed(f"Event {event_id} is a dead letter: use `postroom dead retry {event_id}`.")
    return Failed(f"Event {event_id} is {state}: only what is done or skipped can be replayed.")
