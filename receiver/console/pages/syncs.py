"""Syncs: how each scheduled pull stands, its runs, and what a person may do about them. All facts are those of outbox.sync_facts."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from outbox import db, sync_facts, ways
from outbox.db import Pool, Record
from outbox.errors import NotNow
from outbox.store import budgets, runs, syncs
from outbox.store.runs import (
    MOST_DELETIONS,
    MOST_HOURS_BACK,
    Category,
    RunState,
    SwitchedOff,
    Trigger,
    UnknownSync,
    UnknownType,
    WrongRange,
)
from outbox.timeline import iso
from outbox.ways import Pace
from receiver.console import charts
from receiver.console.charts import RunChart
from receiver.console.page import Act, Done, Form, Page, Pages, Refused, Undo, Visit, no_such

PATH = "/console/syncs"
MARKS, LIMIT, CHARTED, LOGGED = 20, 50, 60, 200
LIGHTS = {"green": "green", "yellow": "yellow", "red": "red", "grey": "off"}
WORST = ("red", "yellow", "green", "grey")
SHAPES = {
    "queued": "ready", "running": "running", "waiting": "retry", "done": "done", "failed": "dead", "cancelled": "skipped", "braked": "held",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls that a sync's runs of today (UTC) made. `quota`: so many are allowed a day, `left` of them; None: the far side does not say."""

    calls: int
    quota: int | None
    left: int | None


async def read(visit: Visit) -> Mapping[str, Any]:
    """All syncs, the worst light first; those of single users in one row."""
    found = await visit.panel("the syncs", sync_facts.every(visit.pool))
    worst_first = sorted(found.value.syncs if found.value else [], key=lambda one: WORST.index(one["light"]))
    names = [one["name"] for one in worst_first]
    last = await visit.panel("their last runs", runs.last(visit.pool, names, limit=MARKS))
    spent = await visit.panel("their calls of today", _spent(visit.pool, {one["name"]: one["destination"] for one in worst_first}))
    users = found.value and found.value.users
    shown = {"found": found, "worst_first": worst_first, "users": users, "last": last, "spent": spent}
    return {**shown, "lights": LIGHTS, "shapes": SHAPES}


async def _spent(pool: Pool, destinations: Mapping[str, str | None]) -> dict[str, Spent]:
    """Of each of these syncs. What the far side said to whoever called it last is newer than what it said to a run."""
    today, buckets = await runs.today(pool, list(destinations)), await budgets.every(pool)
    others = {name for name in destinations.values() if name}
    paces = {name: ways.pace_of(name, buckets, others=others) for name in others}
    return {sync: _share(today.get(sync), paces.get(destination or "")) for sync, destination in destinations.items()}


def _share(run: Record | None, pace: Pace | None) -> Spent:
    calls, quota, left = (run["calls"], run["quota"], run["quota_left"]) if run is not None else (0, None, None)
    if pace is None or pace.day_left is None:
        return Spent(calls, quota, left)
    return Spent(calls, quota or pace.day_used + pace.day_left, pace.day_left)


async def one(visit: Visit) -> Mapping[str, Any]:
    """One of them, with its history."""
    name, before = visit.parts["name"], visit.query.whole("before")
    facts, history = await asyncio.gather(
        visit.panel("the sync", sync_facts.one(visit.pool, name)),
        visit.panel("its runs", runs.every(visit.pool, name, before=before, limit=CHARTED)),
    )
    if facts.value is None and facts.problem is None:
        raise no_such("There is no such sync, or no dispatcher has written it down yet.")
    listed = (history.value or [])[:LIMIT]
    rows = [sync_facts.run(row) for row in listed]
    troubled = next((row for row in listed if row["errors_by"] != "{}"), None)
    has_more = history.value is not None and len(history.value) > LIMIT
    return {
        "name": name,
        "moment": datetime.fromisoformat,
        "facts": facts,
        "history": history,
        "rows": rows,
        "chart": None if before else _chart(history.value or []),
        "lights": LIGHTS,
        "shapes": SHAPES,
        "sync_counts": sync_facts.COUNTS,
        "most_hours": MOST_HOURS_BACK,
        "troubled": troubled,
        "errors": troubled and await visit.panel("the errors", sync_facts.errors(visit.pool, troubled)),
        "braked": facts.value and facts.value["braked"],
        "older": visit.query.url(visit.path, before=rows[-1]["id"]) if has_more else None,
        "newest": visit.query.url(visit.path, before=None) if before else None,
    }


def _chart(history: list[Record]) -> RunChart | None:
    """How long its runs worked that are over, and what went wrong."""
    bad = (RunState.FAILED, RunState.BRAKED)
    over = [(row["worked_ms"], max(row["errors"], int(row["state"] in bad))) for row in reversed(history) if row["ended_at"] is not None]
    return charts.runs(over, room=CHARTED)


async def one_run(visit: Visit) -> Mapping[str, Any]:
    """A run, with what it did to which record."""
    row = await runs.one(visit.pool, visit.part_id())
    if row is None or row["sync"] != visit.parts["name"]:
        raise no_such("There is no such run of this sync.")
    name, category = row["sync"], visit.query.choice("category", Category)
    records, errors = await asyncio.gather(
        visit.panel("its log", runs.records(visit.pool, row["id"], category=category, limit=LOGGED)),
        visit.panel("its errors", sync_facts.errors(visit.pool, row)),
    )
    log = [sync_facts.record(name, entry) for entry in records.value or []]
    found = {"records": records, "log": log, "errors": errors, "category": category, "most": LOGGED}
    return {"run": sync_facts.run(row), **found, "shapes": SHAPES}


async def start(visit: Visit, form: Form) -> Done:
    """Asks for a run; it begins when those before it have ended."""
    name, type_ = visit.parts["name"], form.needed("type", most=40)
    hours_back = form.whole("hours_back", low=1, high=MOST_HOURS_BACK)
    is_dry, span = form.text("dry_run") is not None, _span(visit, form)
    try:
        async with db.transaction(visit.pool) as connection:
            asked = await runs.ask(
                connection, name, type_, trigger=Trigger.MANUAL, by=visit.who.name, hours_back=hours_back, dry_run=is_dry, span=span
            )
            assert asked is not None  # its key is fresh
            days = span and [iso(at) for at in span]
            await visit.actor.note(
                connection, "sync", target=f"{name} {type_}", run=asked.id, hours_back=hours_back, dry_run=is_dry, range=days
            )
    except (UnknownSync, UnknownType, WrongRange, SwitchedOff) as problem:
        raise NotNow(str(problem)) from None
    said = f"Asked for a{'n' if type_[0] in 'aeiou' else ''} {type_} run of {name}; it begins when those before it have ended."
    return Done(said, to=form.back(PATH), link=("View the run", f"{PATH}/{name}/runs/{asked.id}"))


def _span(visit: Visit, form: Form) -> tuple[datetime, datetime] | None:
    """Days of the viewer's zone, the last one to its end; None: none are named. Raises Refused (422)."""
    if form.text("from") is None and form.text("to") is None:
        return None
    try:
        first, last = (date.fromisoformat(form.needed(name)) for name in ("from", "to"))
        return datetime.combine(first, time.min, visit.zone), datetime.combine(last + timedelta(days=1), time.min, visit.zone)
    except (ValueError, OverflowError):
        raise Refused(422, "This cannot be used", "From and to: days such as 2026-11-30. Nothing was changed.") from None


async def cancel(visit: Visit, form: Form) -> Done:
    """A run at work ends behind its page; one that waits ends at once."""
    run_id = visit.part_id()
    row = await runs.one(visit.pool, run_id)
    if row is None or row["sync"] != visit.parts["name"]:
        raise no_such("There is no such run of this sync.")
    async with db.transaction(visit.pool) as connection:
        state = await runs.cancel(connection, run_id, by=visit.who.name)
        if state is None:
            raise NotNow("The run has ended, or is being ended.")
        await visit.actor.note(connection, "cancel sync", target=run_id)
    ends = "it ends behind the page that it is at" if state is runs.RunState.RUNNING else "it has ended"
    return Done(f"Run {run_id} is cancelled: {ends}.", to=form.back(PATH))


async def release(visit: Visit, form: Form) -> Done:
    """The brake asks a person: so many deletions, and no more, may the next sweep do; a full run does them."""
    name, reason = visit.parts["name"], form.needed("reason")
    form.needed("deletions")
    deletions = form.whole("deletions", low=1, high=MOST_DELETIONS) or 0
    try:
        async with db.transaction(visit.pool) as connection:
            asked = await runs.release(connection, name, deletions=deletions, by=visit.who.name)
            await visit.actor.note(connection, "release sync", target=name, reason=reason, deletions=deletions, run=asked.id)
    except (UnknownSync, UnknownType, SwitchedOff) as problem:
        raise NotNow(str(problem)) from None
    said = f"The next sweep of {name} may delete {deletions:,}, and a full run is asked for."
    return Done(said, f"{PATH}/{name}", link=("View the run", f"{PATH}/{name}/runs/{asked.id}"))


async def pause(visit: Visit, form: Form) -> Done:
    """Its schedule stands; runs by hand are possible."""
    name, reason = visit.parts["name"], form.needed("reason")
    async with db.transaction(visit.pool) as connection:
        before = await syncs.one(connection, name)
        if not await syncs.pause(connection, name, by=visit.who.name, why=reason):
            raise NotNow("There is no such sync.")
        await visit.actor.note(connection, "pause sync", target=name, reason=reason)
    undo = _pause_again(before) or Undo(f"{PATH}/{name}/resume", said="Resume it")
    return Done(f"Paused {name}: its schedule stands; a run at work goes on.", to=form.back(PATH), undo=undo)


async def resume(visit: Visit, form: Form) -> Done:
    """Its schedule goes on."""
    name = visit.parts["name"]
    async with db.transaction(visit.pool) as connection:
        before = await syncs.one(connection, name)
        changed = await syncs.resume(connection, name)
        await visit.actor.note(connection, "resume sync", target=name, changed=changed)
    return Done(f"{name} goes on; what was missed is made good as its schedules say.", to=form.back(PATH), undo=_pause_again(before))


def _pause_again(before: Record | None) -> Undo | None:
    """The pause there was. None: there was none."""
    if before is None or before["paused_at"] is None:
        return None
    return Undo(f"{PATH}/{before['name']}/pause", {"reason": before["paused_why"]}, said="Pause it again")


SITE = Pages(
    pages=(
        Page(PATH, "syncs.html", read, tab="syncs"),
        Page(PATH + "/{name}", "sync.html", one, tab="syncs"),
        Page(PATH + "/{name}/runs/{id}", "run.html", one_run, tab="syncs"),
    ),
    acts=(
        Act(PATH + "/{name}/run", start),
        Act(PATH + "/{name}/release", release),
        Act(PATH + "/{name}/pause", pause),
        Act(PATH + "/{name}/resume", resume),
        Act(PATH + "/{name}/runs/{id}/cancel", cancel),
    ),
)
