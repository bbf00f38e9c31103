"""Dead letters by cause; one cause with what to do; and plans, which retry or discard many and show how far they are."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from outbox import causes, operators
from outbox.db import Record
from outbox.store import audit, dead, plans, routes
from outbox.store.dead import Filter
from outbox.store.plans import Act as PlanAct
from outbox.timeline import iso
from outbox.verdict import Cause
from receiver.console import charts
from receiver.console.page import Act, Done, Form, Page, Pages, Refused, Visit, no_such
from receiver.console.pages.events import SPANS, Since

PATH, PLANS = "/console/dead", "/console/retries"
MOST_GROUPS = 200
TYPED_OVER = 1000  # a retry of more asks for the number; so does any discard of more than one


class Sort(StrEnum):
    """Which groups come first; the default is left out of the URL."""

    LAST = "last"
    FIRST = "first"
    DEAD = "dead"


ORDERS: Mapping[Sort, str] = {Sort.LAST: "last_at", Sort.FIRST: "first_at", Sort.DEAD: "dead"}


async def read(visit: Visit) -> Mapping[str, Any]:
    """Causes, the newest death first."""
    query = visit.query
    kind, destination, noted = query.text("kind"), query.text("dest"), query.text("note")
    cause, since, sort = query.choice("class", Cause), query.choice("since", Since) or Since.EVER, query.choice("sort", Sort) or Sort.LAST
    span = SPANS[since]
    earliest = None if span is None else iso(visit.now - span)
    found = await visit.panel("dead letters", causes.groups(visit.pool, limit=MOST_GROUPS))
    every = found.value or []
    rows = [
        row
        for row in every
        if kind in (None, row["kind"])
        and destination in (None, row["destination"])
        and cause in (None, row["cause"])
        and (noted is None or row["note"] is not None)
        and (earliest is None or row["last_at"] >= earliest)
    ]
    rows.sort(key=lambda row: row[ORDERS[sort]], reverse=True)
    last = [] if every or found.problem else await audit.find(visit.pool, audit.Filter(what="retry"), limit=1)
    return {
        "found": found,
        "rows": rows,
        "total": sum(row["dead"] for row in every),
        "groups": len(every),
        "is_cut": len(every) == MOST_GROUPS,
        "steps_of_each": causes.STEPS_OF_EACH,
        "planned": _planned(destination, cause, noted, kind=kind, earliest=earliest) if rows else None,
        "is_filtered": bool(kind or destination or noted or cause or earliest),
        "spark": lambda row: charts.spark(row["last_24_hours"], each="hour"),
        "causes": list(Cause),
        "cause": cause,
        "since": since,
        "spans": list(Since),
        "sort": sort,
        "sorts": list(Sort),
        "last_act": last[0] if last else None,
        "kinds": sorted({row["kind"] for row in every}),
        "destinations": sorted({row["destination"] for row in every if row["destination"]}),
        "kind": kind,
        "destination": destination,
        "noted": noted,
        "moment": datetime.fromisoformat,
        "plans": await plans.find(visit.pool, limit=5),
    }


def _planned(*others: object, kind: str | None, earliest: str | None) -> dict[str, str] | None:
    """The form's fields for a plan of all that is shown; None: a plan knows kinds and times, and no other filter."""
    if any(others):
        return None
    return {"all": "1"} | ({"kind": kind} if kind else {}) | ({"since": earliest} if earliest else {})


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


async def read_plan(visit: Visit) -> Mapping[str, Any]:
    """A plan with its progress."""
    plan_id = visit.part_id()
    plan = await operators.plan_told(visit.pool, plan_id)
    if plan is None:
        raise no_such(f"There is no plan {plan_id}; it never was, or is past its days.")
    paused = next((one for one in plan["destinations"] if one["state"] == operators.PAUSED), None)
    return {
        "plan": plan,
        "events": await plans.events(visit.pool, plan_id, limit=100),
        "became": plans.BECAME,
        "moment": datetime.fromisoformat,
        "why_not": f"{paused['name']} is paused; its events would only wait" if paused and plan["act"] == PlanAct.RETRY else None,
        "must_type": _must_type(plan),
        "over": sum(number for said, number in plan["became"].items() if said not in ("waits", "under way")),
    }


def _must_type(plan: Record | Mapping[str, Any]) -> bool:
    return bool(plan["events"] > (TYPED_OVER if plan["act"] == PlanAct.RETRY else 1))


async def make(visit: Visit, form: Form) -> Done:
    """A plan for one cause, or for ticked letters."""
    act = PlanAct.DISCARD if form.text("act") == PlanAct.DISCARD else PlanAct.RETRY
    reason = form.needed("reason", most=400) if act is PlanAct.DISCARD else None
    ids = [int(value) for value in form.many("event") if value.isascii() and value.isdigit() and len(value) <= 16]
    group, is_all = form.text("group"), form.text("all") is not None
    which = Filter() if ids else Filter(group=group, kind=form.text("kind"), since=_since(form))
    if not group and not ids and not is_all:
        return Done("Nothing is ticked: nothing was planned.", form.back(PATH), good=False)
    made = await operators.make_plan(visit.pool, visit.actor, which, act=act, ids=ids or None, reason=reason)
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


async def start(visit: Visit, form: Form) -> Done:
    """Begins it; a dispatcher carries it on."""
    plan_id = _plan(form)
    plan = await plans.one(visit.pool, plan_id)
    if plan is not None and _must_type(plan) and form.whole("number", low=0, high=plans.MOST_EVENTS) != plan["events"]:
        return Done(f"The number does not fit: {plan['events']} was to be typed. Nothing was started.", f"{PLANS}/{plan_id}", good=False)
    flags = {name: form.text(name) is not None for name in ("alone", "leave_out")}
    await operators.start_plan(visit.pool, visit.actor, plan_id, canary=form.text("portions") is None, **flags)
    return Done(f"Plan {plan_id} began.", f"{PLANS}/{plan_id}")


async def go_on(visit: Visit, form: Form) -> Done:
    """The next portion."""
    plan_id = _plan(form)
    await operators.continue_plan(visit.pool, visit.actor, plan_id, alone=form.text("alone") is not None)
    return Done(f"Plan {plan_id} goes on.", f"{PLANS}/{plan_id}")


async def stop(visit: Visit, form: Form) -> Done:
    """No portion more."""
    plan_id = _plan(form)
    await operators.stop_plan(visit.pool, visit.actor, plan_id)
    return Done(f"Plan {plan_id} sends nothing more; what was sent goes on.", f"{PLANS}/{plan_id}")


async def note(visit: Visit, form: Form) -> Done:
    """What is known about a cause."""
    group = form.needed("group", most=100)
    await operators.write_note(visit.pool, visit.actor, group, form.text("note", most=4000) or "")
    return Done("The note is kept.", f"{PATH}/{group}")


def _plan(form: Form) -> int:
    return form.whole("plan", low=1, high=2**53 - 1) or 0


SITE = Pages(
    pages=(
        Page(PATH, "dead.html", read, tab="dead"),
        Page(PATH + "/{group}", "dead_group.html", read_group, tab="dead"),
        Page(PLANS + "/{id}", "plan.html", read_plan, tab="dead"),
    ),
    acts=(
        Act("/console/acts/plan", make),
        Act("/console/acts/plan/start", start),
        Act("/console/acts/plan/continue", go_on),
        Act("/console/acts/plan/stop", stop),
        Act("/console/acts/note", note),
    ),
)
