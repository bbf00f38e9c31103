"""`postroom events`: what came in and what became of it."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.database import ask
from cli.errors import Failed
from cli.options import Before, EventId, Json, Limit, moment
from cli.output import STYLES, brief, count, emit, err, facts, plain, table
from cli.replay import replay
from outbox.db import Pool
from outbox.event import Mark, State
from outbox.finding import found
from outbox.store import events, search
from outbox.store.search import Wanted
from outbox.timeline import Entry, story, summary

COLUMNS = ("id", "staged", "kind", "lane", "state", "tries", "why")

KNOWN_SOURCES = ("app", "ghl", "ghl-workflow", "notion", "postroom")

app = typer.Typer(invoke_without_command=True)
app.command("replay")(replay)


@app.callback()
def list_events(
    context: typer.Context,
    state: Annotated[list[State] | None, typer.Option(help="Only in this state; may be given several times.")] = None,
    mark: Annotated[list[Mark] | None, typer.Option(help="Only so marked: ready, retry, held, behind, …; several times.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only of this source: ghl, ghl-workflow, notion, standard:NAME, app.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only of this kind, e.g. ghl.ContactUpdate.")] = None,
    lane: Annotated[str | None, typer.Option(help="Only of this lane.")] = None,
    key: Annotated[str | None, typer.Option(help="Only with this idempotency key.")] = None,
    group: Annotated[str | None, typer.Option(help="Only dead letters of this cause.")] = None,
    attempts: Annotated[int | None, typer.Option(min=1, max=99, help="Only with so many attempts at least.")] = None,
    text: Annotated[str | None, typer.Option(help="Only with this in the payload, byte for byte.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only those staged since: a time, or 2h for two hours.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only those staged before.")] = None,
    limit: Limit = 20,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List events, newest first; show one with its timeline; replay one.

    A filter that names few events (key, lane, group, dead, pending) sees them all; any other looks at the newest 20,000 and says so.

    Examples:

        postroom events --state dead --source ghl

        postroom events show 1234

        postroom events --lane ghl:contact:abc --json
    """
    if context.invoked_subcommand is not None:
        return
    wanted = Wanted(
        sources=source or (), kinds=kind or (), lane=lane, key=key, states=[str(one) for one in state or ()],
        marks=[str(one) for one in mark or ()], group=group, attempts=attempts, text=text,
        since=moment(since, option="--since"), until=moment(until, option="--until"),
    )  # fmt: skip

    async def find(pool: Pool) -> tuple[list[Entry], int | None, int | None]:
        found = await search.find(pool, wanted, before=before, limit=limit)
        return [summary(row) for row in found.rows], found.next_before, found.back_to

    found, further, back_to = ask(find)

    def human(console: Console) -> None:
        show_list(console, found)
        if further is not None:
            looked = "" if back_to is None else f"Looked at {search.LOOK_AT:,}, back to {back_to}. "
            err().print(f"{looked}Older ones: add --before {further}")

    emit({"events": found, "next_before": further, "back_to": back_to}, as_json=as_json, human=human)


@app.command("show")
def show(event_id: EventId, as_json: Json = False) -> None:
    """One event: its state and why, and its timeline, oldest first.

    Example:

        postroom events show 1234
    """

    async def read(pool: Pool) -> Entry:
        found = await story(pool, event_id)
        if found is None:
            raise Failed(f"{await events.missing(pool, event_id)} `postroom events` lists those there are.")
        return found

    found = ask(read)
    emit(found, as_json=as_json, human=lambda console: show_story(console, found))


@app.command("find")
def find(text: Annotated[str, typer.Argument(metavar="TEXT")], as_json: Json = False) -> None:
    """What an event's id, a key, a lane, an appointment's, contact's or page's id, an e-mail address or a phone number leads to.

    Example:

        postroom events find m8614FnsFfCr3exNY8HB
    """
    told = ask(lambda pool: found(pool, text, known_sources=KNOWN_SOURCES))

    def human(console: Console) -> None:
        for event_id in told["events"]:
            console.print(f"postroom events show {event_id}")
        for lane in told["lanes"]:
            newest = "no event is known" if lane["newest"] is None else f"newest event {lane['newest']}"
            console.print(f"{plain(lane['what'])} {plain(lane['lane'])}: {newest}", soft_wrap=True)
        if told["absence"] is not None:
            _explain_absence(console, told["absence"])

    emit(told, as_json=as_json, human=human)


def show_list(console: Console, found: Sequence[Entry]) -> None:
    """Events as a table."""
    if not found:
        console.print("No events.")
        return
    rows = [(e["id"], _short(e["staged_at"]), e["kind"], e["lane"], e["state"], e["attempts"], brief(e["why"])) for e in found]
    console.print(table("", COLUMNS, rows, narrow=frozenset({"id", "staged", "state"})))


def show_story(console: Console, told: Entry) -> None:
    """An event with its timeline."""
    route = told["route"]
    shown: dict[str, Any] = {
        "event": told["id"],
        "kind": told["kind"],
        "source": told["source"],
        "key": told["key"],
        "lane": told["lane"],
        "state": told["state"],
        "why": told["why"],
        "next try": _short(told["until"]),
        "because": told["because"],
        "attempts": told["attempts"],
        "handler": route and f"{route['handler']} → {route['destination'] or 'nobody outside'}; {route['retries']}",
        "signed by": told["signed_by"],
        "group": told["group"],
        "in its lane": _lane(told),
        "caused by": told["caused_by"] and f"{told['caused_by']['id']} ({told['caused_by']['kind']})",
        "led to": ", ".join(f"{one['id']} ({one['kind']})" for one in told["follow_ups"]) or None,
        "delivered again": told["duplicates"],
        "payload": f"{told['payload_bytes']} bytes",
    }
    console.print(told["verdict"], soft_wrap=True)
    console.print(facts({name: value for name, value in shown.items() if value not in (None, 0)}))
    console.print("")
    for entry in told["timeline"]:
        console.print(
            f"{_short(entry['at'], ms=True)}  {plain(entry['text'])}", style=STYLES.get(str(entry.get("outcome")), ""), soft_wrap=True
        )


def _explain_absence(console: Console, absence: Entry) -> None:
    console.print("No event of it is known here. What may explain that:")
    for one in absence["sources"]:
        console.print(f"  {one['source']} was last accepted {_short(one['last_accepted_at']) or 'never'}")
    for one in absence["rejected"]:
        console.print(f"  {count(one['requests'], 'request')} of {one['source']} turned away in 24 h: {plain(one['reason'])}")
    for one in absence["syncs"]:
        console.print(f"  sync {one['sync']} ({one['type']}) comes by {_short(one['due_at']) or 'never'}")
    console.print("  else the sender may never have sent it: look at its own log of webhooks")


def _lane(told: Entry) -> str | None:
    beside = [f"{word} {one['id']} ({one['mark']})" for word, one in (("after", told["previous"]), ("before", told["next"])) if one]
    return ", ".join(beside) or None


def _short(at: str | None, *, ms: bool = False) -> str | None:
    """An ISO time of the story as people read it."""
    return None if at is None else at.replace("T", " ")[: 23 if ms else 19]
