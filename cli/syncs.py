"""`postroom syncs`: how the scheduled syncs stand, their runs, and what a person decides about them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.database import ask
from cli.errors import Failed, Usage
from cli.options import Json, Limit
from cli.output import emit, table
from cli.who import note, operator
from outbox import db, sync_facts
from outbox.db import Connection, Pool
from outbox.light import Light
from outbox.store import runs, syncs
from outbox.store.runs import RunState, SwitchedOff, UnknownSync

app = typer.Typer(invoke_without_command=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A sync, as `postroom syncs` lists them.")]
RunId = Annotated[int, typer.Argument(metavar="RUN", min=1, max=2**53, help="The run's id.")]


@app.callback()
def list_syncs(
    context: typer.Context,
    users: Annotated[bool, typer.Option("--users", help="Those of single users, one by one.")] = False,
    light: Annotated[Light | None, typer.Option("--light", help="With --users: only those of this light.")] = None,
    after: Annotated[str, typer.Option("--after", metavar="NAME", help="With --users: only those behind it, the next page.")] = "",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List scheduled syncs; look at their runs; pause, resume, cancel, release.

    The light is green, yellow or red by the age of the last success; red, too, when a sync paused itself; grey when nothing is expected.
    Syncs that there is one of for each user are one line.

    Examples:

        postroom syncs

        postroom syncs --users --light red

        postroom syncs runs ghl-contacts

        postroom syncs pause ghl-contacts --why "their maintenance"
    """
    if context.invoked_subcommand is not None:
        return
    if users:
        _list_users(light, after, limit, as_json=as_json)
        return
    if light is not None or after:
        raise Usage("--light and --after go with --users.")
    found = ask(sync_facts.every)

    def human(console: Console) -> None:
        if not found.syncs and found.users is None:
            console.print("None yet: a dispatcher writes them down when it begins (`postroom worker`).")
            return
        console.print(_table([*map(_row, found.syncs), *([_row_of_users(found.users)] if found.users else [])]))

    emit({"syncs": list(found.syncs), "users": found.users}, as_json=as_json, human=human)


def _list_users(light: Light | None, after: str, limit: int, *, as_json: bool) -> None:
    async def read(pool: Pool) -> tuple[list[dict[str, Any]], str | None]:
        return await sync_facts.page_of_users(pool, after=after, limit=limit, light=light)

    found, behind = ask(read)

    def human(console: Console) -> None:
        console.print(_table(map(_row, found)) if found else "No user's sync is like that.")
        if behind is not None:
            console.print(f"More: --after {behind}")

    emit({"syncs": found, "next_after": behind}, as_json=as_json, human=human)


@app.command("runs")
def list_runs(name: Name, limit: Limit = 20, as_json: Json = False) -> None:
    """List the runs of a sync, newest first.

    Example:

        postroom syncs runs ghl-contacts -n 5
    """

    async def read(pool: Pool) -> list[dict[str, Any]]:
        if await syncs.one(pool, name) is None:
            raise _unknown(name)
        return [sync_facts.run(row) for row in await runs.every(pool, name, limit=limit)]

    found = ask(read)

    def human(console: Console) -> None:
        columns = ("run", "type", "trigger", "state", "total", "created", "updated", "deleted", "errors", "missed", "started", "reason")
        rows = [
            [
                one["id"],
                one["type"],
                one["trigger"],
                one["state"],
                *(one["counts"][c] for c in columns[4:9]),
                ", ".join(f"{what} {found['missed']}/{found['changed']}" for what, found in one["missed"].items()),
                one["started_at"],
                one["reason"],
            ]
            for one in found
        ]
        console.print(table("", columns, rows, narrow=frozenset({"run"})))

    emit({"runs": found}, as_json=as_json, human=human)


@app.command("pause")
def pause(name: Name, why: Annotated[str, typer.Option(help="Kept with the pause.")] = "paused by hand", as_json: Json = False) -> None:
    """Stop the schedule of a sync; a run at work goes on, and runs by hand are possible.

    Example:

        postroom syncs pause ghl-contacts --why "their maintenance"
    """

    async def act(connection: Connection) -> None:
        if not await syncs.pause(connection, name, by=operator(), why=why[:400]):
            raise _unknown(name)
        await note(connection, "pause sync", target=name, reason=why[:400])

    _do(act)
    emit({"name": name, "paused": True}, as_json=as_json, human=lambda console: console.print(f"The schedule of {name} stands."))


@app.command("resume")
def resume(name: Name, as_json: Json = False) -> None:
    """Let the schedule of a sync go on; what was missed is made good as each schedule says.

    Example:

        postroom syncs resume ghl-contacts
    """

    async def act(connection: Connection) -> bool:
        if await syncs.one(connection, name) is None:
            raise _unknown(name)
        changed = await syncs.resume(connection, name)
        await note(connection, "resume sync", target=name, changed=changed)
        return changed

    changed = _do(act)
    words = "goes on" if changed else "was not paused"
    emit({"name": name, "changed": changed}, as_json=as_json, human=lambda console: console.print(f"{name} {words}."))


@app.command("cancel")
def cancel(run_id: RunId, as_json: Json = False) -> None:
    """End a run: behind its page when it is at work, at once when it waits.

    Example:

        postroom syncs cancel 1427922007097345
    """

    async def act(connection: Connection) -> str:
        row = await runs.one(connection, run_id)
        if row is None:
            raise Usage(f"There is no run {run_id}.")
        state = await runs.cancel(connection, run_id, by=operator())
        if state is None and row["ended_at"] is not None:
            raise Failed(f"Run {run_id} has ended: it is {row['state']}.")
        await note(connection, "cancel sync", target=run_id)
        return "running" if state is None else state.value

    state = _do(act)
    words = "is cancelled" if state == "cancelled" else "ends behind its page"
    emit({"run": run_id, "state": state}, as_json=as_json, human=lambda console: console.print(f"Run {run_id} {words}."))


@app.command("release")
def release(
    name: Name,
    deletions: Annotated[int, typer.Option("--deletions", min=1, max=10_000_000, help="So many, and no more, may the next sweep delete.")],
    as_json: Json = False,
) -> None:
    """Allow the deletions at which a full run stopped, and ask for the run that does them.

    Example:

        postroom syncs release ghl-contacts --deletions 1234
    """

    async def act(connection: Connection) -> int:
        try:
            asked = await runs.release(connection, name, deletions=deletions, by=operator())
        except UnknownSync:
            raise _unknown(name) from None
        except SwitchedOff as problem:
            raise Failed(str(problem)) from None
        await note(connection, "release sync", target=name, deletions=deletions, run=asked.id)
        return asked.id

    run_id = _do(act)
    said = f"Run {run_id} may delete {deletions}."
    emit({"name": name, "deletions": deletions, "run": run_id}, as_json=as_json, human=lambda console: console.print(said))


def _do(act: Any) -> Any:
    async def within(pool: Pool) -> Any:
        async with db.transaction(pool) as connection:
            return await act(connection)

    return ask(within)


def _table(rows: Iterable[Sequence[object]]) -> Table:
    return table("", ("name", "light", "last success", "next", ""), rows, narrow=frozenset({"name", "light"}))


def _row(one: Mapping[str, Any]) -> list[object]:
    return [one["name"], one["light"], _last(one), one["next_at"], _standing(one)]


def _row_of_users(users: Mapping[str, Any]) -> list[object]:
    """All of them in one row."""
    said = ", ".join(f"{number} {colour}" for colour, number in users["lights"].items() if number)
    rest = f"; {users['need_consent']} have to consent" if users["need_consent"] else ""
    name = f"{users['name']}:*"
    return [
        name,
        users["light"],
        users["last_success_at"],
        users["next_at"],
        f"{users['count']} user{'s' if users['count'] > 1 else ''}: {said}{rest} (--users lists them)",
    ]


def _last(one: Mapping[str, Any]) -> str | None:
    return None if one["last_success"] is None else str(one["last_success"]["at"])


def _standing(one: Mapping[str, Any]) -> str:
    """What a person should know first."""
    if one["off"]:
        return f"off: {one['off']}"
    if one["paused_at"]:
        return f"paused by {one['paused_by']}: {one['paused_why']}"
    if (current := one["current"]) is not None:
        of = f" of {current['expected']}" if current["expected"] is not None else ""
        waits = f": {current['reason'] or current['why']}" if current["state"] == RunState.WAITING else ""
        return f"{current['type']} {current['state']}, {current['progress']}{of}{waits}"
    if one["braked"] is not None:
        return f"braked: {one['braked']['reason']}"
    failed, went_well = one["last_failure"], one["last_success"]
    if failed is not None and (went_well is None or went_well["run"] < failed["run"]):
        return f"{failed['state']}: {failed['reason']}"
    return ""


def _unknown(name: str) -> Usage:
    return Usage(f"There is no sync {name[:60]!r}; `postroom syncs` lists them.")
