"""`postroom plans`: stored retries, discards and replays of many, begun, continued, stopped, resumed."""

from typing import Annotated, Any

import typer
from rich.console import Console

from cli.database import ask
from cli.errors import Failed
from cli.options import LARGEST_ID, Before, Json, Limit
from cli.output import count, emit, facts, table
from cli.who import actor
from outbox import planning
from outbox.db import Pool
from outbox.store import plans

app = typer.Typer(invoke_without_command=True)

PlanId = Annotated[int, typer.Argument(metavar="PLAN", min=1, max=LARGEST_ID, help="The plan's number.")]
Canary = Annotated[bool, typer.Option("--canary/--no-canary", help="One, then ten, then portions; or portions at once.")]
Alone = Annotated[bool, typer.Option("--alone", help="Go on by itself after the canary.")]
LeaveOut = Annotated[bool, typer.Option("--leave-out-late", help="Leave those as they are of whose lane a newer event is done.")]


@app.callback()
def list_plans(context: typer.Context, limit: Limit = 20, before: Before = None, as_json: Json = False) -> None:
    """Stored retries, discards and replays of many, newest first; show one, start, continue after its canary, stop or resume it.

    `postroom dead retry --canary` and `postroom events replay` with a filter make them.

    Examples:

        postroom plans

        postroom plans continue 4
    """
    if context.invoked_subcommand is not None:
        return

    async def find(pool: Pool) -> list[dict[str, Any]]:
        return [planning.summary(row) for row in await plans.find(pool, before=before, limit=limit)]

    found = ask(find)

    def human(console: Console) -> None:
        columns = ("id", "act", "state", "events", "lanes", "by", "made_at", "why")
        console.print(table("", columns, [[plan[name] for name in columns] for plan in found]) if found else "No plans.")

    emit({"plans": found}, as_json=as_json, human=human)


@app.command("show")
def show(plan: PlanId, as_json: Json = False) -> None:
    """A plan with its progress: what became of its events adds up to the plan.

    Example:

        postroom plans show 4
    """
    answer(ask(lambda pool: _read(pool, plan)), as_json=as_json)


@app.command("start")
def start(plan: PlanId, canary: Canary = True, alone: Alone = False, leave_out: LeaveOut = False, as_json: Json = False) -> None:
    """Begin a plan that was made. A dispatcher carries it on.

    Example:

        postroom plans start 4 --alone
    """

    async def act(pool: Pool) -> dict[str, Any]:
        await planning.start(pool, actor(), plan, canary=canary, alone=alone, leave_out=leave_out)
        return await _read(pool, plan)

    answer(ask(act), as_json=as_json)


@app.command("continue")
def go_on(plan: PlanId, alone: Alone = False, as_json: Json = False) -> None:
    """Send the next portion, after one of the canary went well.

    Example:

        postroom plans continue 4
    """

    async def act(pool: Pool) -> dict[str, Any]:
        await planning.go_on(pool, actor(), plan, alone=alone)
        return await _read(pool, plan)

    answer(ask(act), as_json=as_json)


@app.command("stop")
def stop(plan: PlanId, as_json: Json = False) -> None:
    """Send nothing more; what was sent goes on.

    Example:

        postroom plans stop 4
    """

    async def act(pool: Pool) -> dict[str, Any]:
        await planning.stop(pool, actor(), plan)
        return await _read(pool, plan)

    answer(ask(act), as_json=as_json)


@app.command("resume")
def resume(plan: PlanId, as_json: Json = False) -> None:
    """Go on with what is left of a plan that was stopped, or stopped by itself.

    Example:

        postroom plans resume 4
    """

    async def act(pool: Pool) -> dict[str, Any]:
        await planning.resume(pool, actor(), plan)
        return await _read(pool, plan)

    answer(ask(act), as_json=as_json)


def answer(told: dict[str, Any], *, as_json: bool) -> None:
    """A plan, as every command about one prints it."""
    emit(told, as_json=as_json, human=lambda console: _show(console, told))


async def _read(pool: Pool, plan_id: int) -> dict[str, Any]:
    told = await planning.told(pool, plan_id)
    if told is None:
        raise Failed(f"There is no plan {plan_id}. `postroom plans` lists those there are.")
    return told


def _show(console: Console, told: dict[str, Any]) -> None:
    where = ", ".join(f"{one['name']} ({one['state']})" for one in told["destinations"])
    what = "event" if told["act"] == plans.Act.REPLAY else "dead letter"
    shown = {
        "plan": f"{told['id']}: {told['act']} {count(told['events'], what)} of {count(told['lanes'], 'lane')}, by {told['by']}",
        "state": told["state"],
        "why": told["why"],
        "goes to": where or None,
        "not repeated": count(told["steps_done"], "finished step") if told["steps_done"] else None,
        "late": f"{told['newer']} with newer ones of their lane done" if told["newer"] else None,
        **told["became"],
        "by others": ", ".join(f"{number} {note}" for note, number in told["by_others"].items()) or None,
    }
    console.print(facts({name: value for name, value in shown.items() if value is not None}))
    if told["state"] in (plans.State.STOPPING, plans.State.STOPPED):
        console.print(f"\nGo on with what is left: postroom plans resume {told['id']}")
    if told["next_portion"] is not None:
        word = "start" if told["state"] == plans.State.MADE else "continue"
        console.print(f"\nSend the next {told['next_portion']}: postroom plans {word} {told['id']}")
