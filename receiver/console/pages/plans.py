"""A stored plan: what it holds, how far it is, what became of its events; begun, continued, stopped, resumed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from outbox import planning
from outbox.db import Record
from outbox.store import plans, routes
from outbox.store.plans import Act as PlanAct
from outbox.store.plans import State
from receiver.console.page import Act, Done, Form, Page, Pages, Undo, Visit, no_such

PATH = "/console/retries"
ACTS = "/console/acts/plan"
TYPED_OVER = 1000  # of more the number is asked for; so it is for any discard of more than one
LISTED, PORTIONS_SHOWN = 100, 20
DID: Mapping[str, str] = {PlanAct.RETRY: "Retried", PlanAct.DISCARD: "Discarded", PlanAct.REPLAY: "Replayed"}
NOT_SENT = ("already retried", "was not settled", "gone", "left out", "waits")


async def read(visit: Visit) -> Mapping[str, Any]:
    """A plan with its progress."""
    plan_id = visit.part_id()
    plan = await planning.told(visit.pool, plan_id)
    if plan is None:
        raise no_such(f"There is no plan {plan_id}; it never was, or is past its days.")
    paused = next((one for one in plan["destinations"] if one["state"] == planning.PAUSED), None)
    replays = plan["act"] == PlanAct.REPLAY
    return {
        "plan": plan,
        "replays": replays,
        "what": "event" if replays else "dead letter",
        "events": await plans.events(visit.pool, plan_id, limit=LISTED),
        "became": plans.words(plan["act"]),
        "to": {kind: row["destination"] for kind, row in (await routes.every(visit.pool)).items()},
        "shown": PORTIONS_SHOWN,
        "portion": plans.PORTIONS[PlanAct(plan["act"])],
        "moment": datetime.fromisoformat,
        "why_not": f"{paused['name']} is paused; its events would only wait" if paused and plan["act"] != PlanAct.DISCARD else None,
        "must_type": _must_type(plan),
        "over": sum(number for said, number in plan["became"].items() if said not in ("waits", "under way")),
        "sentence": None if plan["state"] == State.MADE else sentence(plan),
    }


def sentence(plan: Mapping[str, Any]) -> str:
    """What was done, and what was not and why: `Retried 131 of 132: 1 already retried by ana`."""
    left = {said: plan["became"][said] for said in NOT_SENT if said in plan["became"]}
    said = [f"{number:,} {said}" for said, number in left.items() if said not in ("already retried", "was not settled")]
    others = sum(left.get(word, 0) for word in ("already retried", "was not settled"))
    said[:0] = [f"{number:,} already {note}" for note, number in plan["by_others"].items()]
    if others > (known := sum(plan["by_others"].values())):
        said.append(
            f"{others - known:,} {'was' if others - known == 1 else 'were'} not {'settled' if 'was not settled' in left else 'as planned'}"
        )
    return f"{DID[plan['act']]} {plan['events'] - sum(left.values()):,} of {plan['events']:,}{': ' if said else ''}{', '.join(said)}."


def _must_type(plan: Record | Mapping[str, Any]) -> bool:
    return bool(plan["events"] > (1 if plan["act"] == PlanAct.DISCARD else TYPED_OVER))


async def start(visit: Visit, form: Form) -> Done:
    """Begins it; a dispatcher carries it on."""
    plan_id = _plan(form)
    plan = await plans.one(visit.pool, plan_id)
    if plan is not None and _must_type(plan) and form.whole("number", low=0, high=plans.MOST_EVENTS) != plan["events"]:
        return Done(f"The number does not fit: {plan['events']} was to be typed. Nothing was started.", f"{PATH}/{plan_id}", good=False)
    flags = {name: form.text(name) is not None for name in ("alone", "leave_out")}
    await planning.start(visit.pool, visit.actor, plan_id, canary=form.text("portions") is None, **flags)
    return await _done(visit, plan_id, "began")


async def go_on(visit: Visit, form: Form) -> Done:
    """The next portion."""
    plan_id = _plan(form)
    await planning.go_on(visit.pool, visit.actor, plan_id, alone=form.text("alone") is not None)
    return await _done(visit, plan_id, "goes on")


async def stop(visit: Visit, form: Form) -> Done:
    """No portion more."""
    plan_id = _plan(form)
    await planning.stop(visit.pool, visit.actor, plan_id)
    undo = Undo(f"{ACTS}/resume", {"plan": plan_id}, said="Resume it")
    return await _done(visit, plan_id, "sends nothing more; what was sent goes on", undo=undo)


async def resume(visit: Visit, form: Form) -> Done:
    """It goes on with the turns that are left."""
    plan_id = _plan(form)
    await planning.resume(visit.pool, visit.actor, plan_id)
    return await _done(visit, plan_id, "goes on with what is left", undo=Undo(f"{ACTS}/stop", {"plan": plan_id}, said="Stop it again"))


async def _done(visit: Visit, plan_id: int, did: str, *, undo: Undo | None = None) -> Done:
    """With what it has done so far; what is over cannot be stopped or resumed."""
    plan = await planning.told(visit.pool, plan_id)
    assert plan is not None
    return Done(f"Plan {plan_id} {did}. {sentence(plan)}", f"{PATH}/{plan_id}", undo=None if plan["state"] == State.DONE else undo)


def _plan(form: Form) -> int:
    return form.whole("plan", low=1, high=2**53 - 1) or 0


SITE = Pages(
    pages=(Page(PATH + "/{id}", "plan.html", read, tab="dead"),),
    acts=(Act(f"{ACTS}/start", start), Act(f"{ACTS}/continue", go_on), Act(f"{ACTS}/stop", stop), Act(f"{ACTS}/resume", resume)),
)
