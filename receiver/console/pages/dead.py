"""Dead letters by cause, and one cause with what to do: a note, and plans, which retry or discard many."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from outbox import causes, operators, planning
from outbox.store import audit, dead, notes, plans, routes
from outbox.store.dead import Filter
from outbox.store.plans import Act as PlanAct
from outbox.verdict import Cause
from receiver.console import charts, words
from receiver.console.page import Act, Done, Form, Page, Pages, Refused, Undo, Visit, no_such
from receiver.console.pages.events import SPANS, Since
from receiver.console.pages.plans import ACTS
from receiver.console.pages.plans import PATH as PLANS

PATH = "/console/dead"
MOST_GROUPS = 200


class Sort(StrEnum):
    """Which groups come first; the default is left out of the URL."""

    LAST = "last"
    FIRST = "first"
    DEAD = "dead"


ORDERS: Mapping[Sort, str] = {Sort.LAST: "last_at", Sort.FIRST: "first_at", Sort.DEAD: "dead"}


async def read(visit: Visit) -> Mapping[str, Any]:
    """Causes, the newest death first."""
    query = visit.query
    since, sort = query.choice("since", Since) or Since.EVER, query.choice("sort", Sort) or Sort.LAST
    span = SPANS[since]
    which = causes.Filter(
        kind=query.text("kind"),
        destination=query.text("dest"),
        cause=query.choice("class", Cause),
        since=None if span is None else visit.now - span,
        noted=query.text("note") is not None,
    )
    found = await visit.panel("dead letters", causes.groups(visit.pool, limit=MOST_GROUPS))
    every = found.value or []
    rows = sorted((row for row in every if which.finds(row)), key=lambda row: row[ORDERS[sort]], reverse=True)
    last = [] if every or found.problem else await audit.find(visit.pool, audit.Filter(what="retry"), limit=1)
    return {
        "found": found,
        "rows": rows,
        "total": sum(row["dead"] for row in every),
        "groups": len(every),
        "is_cut": len(every) == MOST_GROUPS,
        "steps_of_each": causes.STEPS_OF_EACH,
        "planned": _planned(which) if rows else None,
        "is_filtered": which != causes.EVERY,
        "same": same(which),
        "spark": lambda row: charts.spark(row["last_24_hours"], each="hour"),
        "causes": list(Cause),
        "which": which,
        "since": since,
        "spans": list(Since),
        "sort": sort,
        "sorts": list(Sort),
        "last_act": last[0] if last else None,
        "kinds": sorted({row["kind"] for row in every}),
        "destinations": sorted({row["destination"] for row in every if row["destination"]}),
        "moment": datetime.fromisoformat,
        "plans": await plans.find(visit.pool, limit=5),
    }


def _planned(which: causes.Filter) -> dict[str, str] | None:
    """The form's fields for a plan of all that is shown; None: a plan knows kinds and times, and no other filter."""
    if which != causes.Filter(kind=which.kind, since=which.since):
        return None
    return {"all": "1"} | ({"kind": which.kind} if which.kind else {}) | ({"since": which.since.isoformat()} if which.since else {})


def same(which: causes.Filter) -> dict[str, str]:
    """The same on the command line and by the API, with the filters in use."""
    words_of = {"kind": which.kind, "destination": which.destination, "cause": which.cause}
    pairs = [(name, value) for name, value in words_of.items() if value is not None]
    pairs += [("since", which.since.isoformat(timespec="seconds"))] if which.since else []
    pairs += [("noted", "")] if which.noted else []
    return words.same("postroom dead groups", "/api/dead-letters/groups", pairs)


async def read_group(visit: Visit) -> Mapping[str, Any]:
    """One cause: what its letters share, which steps are done, and the letters."""
    name, before = visit.parts["group"], visit.query.whole("before")
    group = await causes.group(visit.pool, name)
    if group is None:
        raise no_such("Nothing is dead of this cause now: its letters were retried or discarded.")
    letters = await visit.panel("the letters", dead.find(visit.pool, Filter(group=name), before=before, limit=51))
    rows = (letters.value or [])[:50]
    path = f"{PATH}/{name}"
    route = (await routes.every(visit.pool)).get(group["kind"])
    return {
        "group": group,
        "spark": charts.spark(group["last_24_hours"], each="hour"),
        "handler": route["handler"] if route else None,
        "letters": letters,
        "rows": rows,
        "moment": datetime.fromisoformat,
        "older": visit.query.url(path, before=rows[-1]["id"]) if len(letters.value or []) > len(rows) else None,
        "newest": visit.query.url(path, before=None) if before else None,
    }


async def make(visit: Visit, form: Form) -> Done:
    """A plan for one cause, or for ticked letters."""
    act = PlanAct.DISCARD if form.text("act") == PlanAct.DISCARD else PlanAct.RETRY
    reason = form.needed("reason", most=400) if act is PlanAct.DISCARD else None
    ids = [int(value) for value in form.many("event") if value.isascii() and value.isdigit() and len(value) <= 16]
    group, is_all = form.text("group"), form.text("all") is not None
    which = Filter() if ids else Filter(group=group, kind=form.text("kind"), since=_since(form))
    if not group and not ids and not is_all:
        return Done("Nothing is ticked: nothing was planned.", form.back(PATH), good=False)
    made = await planning.make(visit.pool, visit.actor, which, act=act, ids=ids or None, reason=reason)
    return Done(f"Plan {made} is stored. Nothing was sent yet.", f"{PLANS}/{made}")


def _since(form: Form) -> datetime | None:
    """When the dead letters of a filter died at the earliest, as the page that offered it said. Raises Refused (422)."""
    text = form.text("since")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(422, "This cannot be used", "Since: a time in ISO 8601. Nothing was changed.") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


async def note(visit: Visit, form: Form) -> Done:
    """What is known about a cause."""
    group, said = form.needed("group", most=100), form.text("note", most=4000)
    before = next((row["note"] for row in (await notes.of(visit.pool, [group])).values()), None)
    await operators.write_note(visit.pool, visit.actor, group, said or "")
    undo = Undo("/console/acts/note", {"group": group, "note": before or ""})
    return Done("The note is kept." if said else "The note is removed.", f"{PATH}/{group}", undo=undo if before != said else None)


SITE = Pages(
    pages=(Page(PATH, "dead.html", read, tab="dead"), Page(PATH + "/{group}", "dead_group.html", read_group, tab="dead")),
    acts=(Act(ACTS, make), Act("/console/acts/note", note)),
)
