"""`postroom dead`: dead letters, found, retried, discarded; singly, by filter, or all. Every act is written to the audit."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import plans
from cli.confirm import confirm
from cli.database import ask
from cli.errors import Code, Failed, Usage
from cli.events import show_story
from cli.options import LARGEST_ID, Before, EventId, Json, Limit, moment
from cli.output import count, emit, facts, plain, progress, table
from cli.who import actor, note, operator
from outbox import causes, db, operators, planning
from outbox.db import Connection, Pool
from outbox.store import dead
from outbox.store.dead import Filter
from outbox.store.plans import Act
from outbox.timeline import Entry, iso, story
from outbox.verdict import Cause

BATCH = 500

app = typer.Typer(invoke_without_command=True)

Ids = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]...", min=1, max=LARGEST_ID, help="The dead letters' ids.", show_default=False)
]
Kind = Annotated[str | None, typer.Option(help="Only of this kind.")]
Source = Annotated[str | None, typer.Option(help="Only of this source.")]
Lane = Annotated[str | None, typer.Option(help="Only of this lane.")]
Group = Annotated[str | None, typer.Option(help="Only of this cause, as `postroom dead groups` names it.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only those that died since: a time, or 2h for the last two hours.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only those that died before.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many it would be, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, even when it is more than one.")]


@app.callback()
def list_dead(
    context: typer.Context,
    kind: Kind = None,
    source: Source = None,
    lane: Lane = None,
    group: Group = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first; group them by cause; show, retry or discard them.

    Examples:

        postroom dead groups

        postroom dead retry 1234

        postroom dead retry --group 1a2b3c4d --yes
    """
    if context.invoked_subcommand is not None:
        return
    which = _filter(kind, source, lane, group, since, until)

    async def find(pool: Pool) -> list[Entry]:
        return [_entry(row) for row in await dead.find(pool, which, before=before, limit=limit)]

    found = ask(find)

    def human(console: Console) -> None:
        if not found:
            console.print("No dead letters.")
            return
        rows = [(d["id"], d["died_at"][:19].replace("T", " "), d["kind"], d["lane"], d["attempts"], d["group"], d["reason"]) for d in found]
        console.print(
            table("", ("id", "died", "kind", "lane", "tries", "group", "reason"), rows, narrow=frozenset({"id", "died", "group"}))
        )

    emit({"dead_letters": found}, as_json=as_json, human=human)


@app.command("groups")
def groups(
    kind: Kind = None,
    destination: Annotated[str | None, typer.Option(help="Only those whose events call this destination.")] = None,
    cause: Annotated[Cause | None, typer.Option(help="Only those that died of this kind of thing.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only those of which one died since: a time, or 2h.")] = None,
    noted: Annotated[bool, typer.Option("--noted", help="Only those with a note.")] = False,
    as_json: Json = False,
) -> None:
    """Dead letters by cause, the latest first. One cause has one name, whatever ids its messages hold.

    Examples:

        postroom dead groups

        postroom dead groups --destination ghl --since 24h
    """
    which = causes.Filter(kind, destination, cause, moment(since, option="--since"), noted)
    found = ask(lambda pool: causes.groups(pool, which))

    def human(console: Console) -> None:
        if not found:
            console.print("No dead letters." if which == causes.EVERY else "No dead letters of a cause like this.")
            return
        columns = ("group", "dead", "lanes", "kind", "example", "reason")
        console.print(table("", columns, [[g[c] for c in columns] for g in found], narrow=frozenset({"group", "example"})))
        for one in found:
            note = f"  ({one['note']['note']}, {one['note']['by']})" if one["note"] else ""
            console.print(f"{one['group']}: {plain(one['advice'])}{plain(note)}", soft_wrap=True)

    emit({"groups": found}, as_json=as_json, human=human)


@app.command("note")
def note_on(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The cause, as `postroom dead groups` names it.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is known about it; empty removes the note.")],
    as_json: Json = False,
) -> None:
    """Write down what is known about a cause. It stays for when the cause comes back.

    Example:

        postroom dead note 1a2b3c4d "letters in the phone; mended in today's deploy"
    """
    if len(text) > 4000:
        raise Usage("TEXT: at most 4,000 characters.")

    async def write(pool: Pool) -> None:
        await operators.write_note(pool, actor(), group, text)

    ask(write)
    emit({"group": group, "note": text.strip() or None}, as_json=as_json, human=lambda console: console.print(f"Noted on {plain(group)}."))


@app.command("show")
def show(event_id: EventId, as_json: Json = False) -> None:
    """One dead letter: why it died, and its timeline.

    Example:

        postroom dead show 1234
    """

    async def read(pool: Pool) -> tuple[Entry, Entry]:
        row, told = await dead.one(pool, event_id), await story(pool, event_id)
        if row is None or told is None:
            raise Failed(f"{event_id} is no dead letter. `postroom dead` lists those there are.")
        return _entry(row), told

    letter, told = ask(read)

    def human(console: Console) -> None:
        console.print(facts({"died": letter["died_at"], "group": letter["group"], "reason": letter["reason"]}))
        show_story(console, told)
        console.print(f"\nTo try again: postroom dead retry {event_id}")

    emit({**letter, "story": told}, as_json=as_json, human=human)


@app.command("retry")
def retry(
    ids: Ids = None,
    kind: Kind = None,
    source: Source = None,
    lane: Lane = None,
    group: Group = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    dry_run: DryRun = False,
    canary: Annotated[
        bool, typer.Option("--canary", help="By a plan: one, then ten, then the rest; it stops when it fails again.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put dead letters back into the queue. A retry repeats no finished step.

    Examples:

        postroom dead retry 1234 1235 --yes

        postroom dead retry --kind appointment.created --since 2h --dry-run

        postroom dead retry --group 1a2b3c4d --canary

        postroom dead retry --all --yes
    """
    which = _filter(kind, source, lane, group, since, until)
    if canary and not dry_run:
        _check_which(ids or [], which, everything=everything)
        plans.answer(ask(lambda pool: _planned(pool, which, ids)), as_json=as_json)
        return

    async def again(connection: Connection, some: Sequence[int]) -> list[int]:
        return await dead.retry(connection, some, by=operator())

    _act("retried", ids or [], which, again, everything=everything, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command("discard")
def discard(
    reason: Annotated[str, typer.Option(help="Why; it is kept with the event.")],
    ids: Ids = None,
    kind: Kind = None,
    source: Source = None,
    lane: Lane = None,
    group: Group = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Settle dead letters as skipped: nobody will try them again.

    Example:

        postroom dead discard 1234 --reason "the contact asked to be forgotten"
    """
    if not reason.strip() or len(reason) > 400:
        raise Usage("--reason: say why, in at most 400 characters.")
    which = _filter(kind, source, lane, group, since, until)

    async def away(connection: Connection, some: Sequence[int]) -> list[int]:
        return await dead.discard(connection, some, by=operator(), reason=reason.strip())

    _act("discarded", ids or [], which, away, everything=everything, dry_run=dry_run, yes=yes, as_json=as_json, reason=reason.strip())


async def _planned(pool: Pool, which: Filter, ids: list[int] | None) -> dict[str, Any]:
    """Made and begun: its canary is on its way."""
    made = await planning.make(pool, actor(), which, act=Act.RETRY, ids=ids)
    await planning.start(pool, actor(), made)
    told = await planning.told(pool, made)
    assert told is not None
    return told


def _check_which(ids: Sequence[int], which: Filter, *, everything: bool) -> None:
    if (bool(ids), which != Filter(), everything).count(True) != 1:
        raise Usage("Name dead letters by their ids, or by a filter (--kind, --source, --lane, --group, --since, --until), or --all.")


def _act(
    what: str,
    ids: list[int],
    which: Filter,
    act: Callable[[Connection, Sequence[int]], Awaitable[list[int]]],
    *,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    reason: str | None = None,
) -> None:
    """Finds, asks, acts in batches, audits. Exit 1 when an id that was named is no dead letter."""
    _check_which(ids, which, everything=everything)

    async def run(pool: Pool) -> dict[str, Any]:
        chosen = sorted(set(ids)) if ids else await _matching(pool, which)
        if dry_run:
            still = chosen if not ids else [one for one in chosen if await dead.one(pool, one) is not None]
            return {"dry_run": True, what: 0, "would_be": len(still), "ids": still, "not_dead": sorted(set(chosen) - set(still))}
        if len(chosen) > 1:
            confirm(f"{count(len(chosen), 'dead letter')} would be {what}", yes=yes, as_json=as_json)
        acted: list[int] = []
        with progress(quiet=as_json or len(chosen) <= BATCH) as bar:
            task = bar.add_task(what, total=len(chosen))
            for start in range(0, len(chosen), BATCH):
                some = chosen[start : start + BATCH]
                with db.mapped():
                    async with pool.acquire() as connection, connection.transaction():
                        done = await act(connection, some)
                        if done:
                            await _note(connection, what, done, which, reason=reason, by_id=bool(ids))
                acted += done
                bar.advance(task, len(some))
        return {"dry_run": False, what: len(acted), "ids": acted, "not_dead": sorted(set(chosen) - set(acted)) if ids else []}

    done = ask(run)

    def human(console: Console) -> None:
        if dry_run:
            console.print(f"{count(done['would_be'], 'dead letter')} would be {what}.")
        else:
            console.print(f"{count(done[what], 'dead letter')} {what}.")
        if done["not_dead"]:
            console.print(f"No dead letter: {', '.join(map(str, done['not_dead']))}.")

    emit(done, as_json=as_json, human=human)
    if done["not_dead"]:
        raise typer.Exit(Code.FAILED)


async def _matching(pool: Pool, which: Filter) -> list[int]:
    """The ids that a filter finds now, oldest first; what dies meanwhile is not among them."""
    found: list[int] = []
    ceiling = (await dead.count(pool, which))["ceiling"]
    while ceiling is not None and (page := await dead.portion(pool, which, ceiling=ceiling, above=found[-1] if found else 0, limit=BATCH)):
        found += page
    return found


async def _note(connection: Connection, what: str, done: list[int], which: Filter, *, reason: str | None, by_id: bool) -> None:
    """One line in the audit for each that was named, or one for a batch that a filter found."""
    word = what.removesuffix("ed") if what == "discarded" else "retry"
    if by_id:
        for event_id in done:
            await note(connection, word, target=event_id, reason=reason)
        return
    filters = {name: plain(value) for name, value in asdict(which).items() if value is not None}
    await note(connection, f"{word} by filter", reason=reason, **filters, **{what: len(done)}, first=done[0], last=done[-1])


def _filter(kind: str | None, source: str | None, lane: str | None, group: str | None, since: str | None, until: str | None) -> Filter:
    return Filter(kind, source, lane, group, moment(since, option="--since"), moment(until, option="--until"))


def _entry(row: Any) -> Entry:
    return {
        "id": row["id"],
        "died_at": iso(row["died_at"]),
        "attempts": row["attempt"],
        "group": row["fingerprint"],
        "reason": row["reason"],
        "source": row["source"],
        "kind": row["kind"],
        "key": row["key"],
        "lane": row["lane"],
        "staged_at": iso(row["staged_at"]),
    }
