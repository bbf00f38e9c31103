"""One event with everything that explains it: the why page, its payload, and what can be done with it."""

import json
from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from outbox import operators
from outbox.store import alerts, destinations, events, find, routes
from outbox.store.runs import LANE as SYNC_LANE
from outbox.timeline import Entry, story
from receiver.console import timeline, tree
from receiver.console.far_side import far_side
from receiver.console.page import Act, Done, Form, Look, Page, Pages, Visit, no_such
from receiver.console.pages import events as listed
from receiver.console.words import plural

PATH = listed.PATH
LARGEST_ID = 2**53 - 1
WELL = "ok"


async def read(visit: Visit) -> Mapping[str, Any]:
    """The why page. The story is all of it; what lies around it may fail by itself."""
    event_id = visit.part_id()
    told = await story(visit.pool, event_id)
    row = await events.one(visit.pool, event_id)
    if told is None or row is None:
        raise no_such(await events.missing(visit.pool, event_id))
    payload = bytes(row["payload"])
    around = await visit.panel("what lies around it", _around(visit, told, payload))
    return {
        "event": told,
        "parts": timeline.draw(told["timeline"]),
        "tree": tree.grow(payload, masked=True),
        "around": around,
        "more": around.value or {},
        "moment": datetime.fromisoformat,
    }


async def _around(visit: Visit, told: Entry, payload: bytes) -> Mapping[str, Any]:
    lane, route = told["lane"], told["route"]
    destination = route["destination"] if route else None
    thing = None if lane is None else await find.thing(visit.pool, lane, contact_id=_contact(payload))
    return {
        "later": await events.done_after(visit.pool, lane, told["id"]) if lane and "retry" in told["may"] else 0,
        "no_route": None if route else _no_route(told["kind"], list(await routes.every(visit.pool))),
        "standing": (await destinations.some(visit.pool, [destination])).get(destination) if destination else None,
        "alerts": await _alerts(visit, told, destination),
        "about": None if lane is None else far_side(lane, thing),
    }


def _contact(payload: bytes) -> str | None:
    """The GHL contact that an appointment's payload names."""
    try:
        said = json.loads(payload)["appointment"]["contact_id"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    return said if isinstance(said, str) and 0 < len(said) <= 100 else None


def _no_route(kind: str, known: list[str]) -> str:
    """Why nobody takes a kind, and which name may have been meant."""
    if not known:
        return "no dispatcher has told yet what it routes: none has run on this database"
    near = get_close_matches(kind, known, n=3, cutoff=0.75)
    meant = f"; near to it are {', '.join(near)}" if near else ""
    return f"none of the {plural(len(known), 'kind')} that the dispatcher routes is called so{meant}"


async def _alerts(visit: Visit, told: Entry, destination: str | None) -> list[alerts.Told]:
    """Those that stand now, and that this event is a part of."""
    names = {f"connection:{destination}"} if destination else set()
    if told["state"] == "dead":
        names.add("dead-letters")
    if (told["lane"] or "").startswith(SYNC_LANE):
        names.add(f"sync:{told['lane'].removeprefix(SYNC_LANE)}")
    every = await alerts.every(visit.pool)
    return [one for name, one in every.items() if name in names and one.state != WELL]


async def read_payload(visit: Visit) -> Mapping[str, Any]:
    """The payload as a tree and as its exact bytes; the look is in the audit before they are read."""
    event_id = visit.part_id()
    payload = await operators.payload(visit.pool, visit.actor, event_id)
    if payload is None:
        raise no_such(await events.missing(visit.pool, event_id))
    return {
        "event_id": event_id,
        "tree": tree.grow(payload, masked=False),
        "raw": payload.decode("utf-8", "backslashreplace"),
        "bytes": len(payload),
    }


async def replay(visit: Visit, form: Form) -> Done:
    """Done or skipped becomes pending."""
    event_id = _event(form)
    await operators.replay(visit.pool, visit.actor, event_id)
    return Done(f"#{event_id} is in the queue again.", f"{PATH}/{event_id}")


async def retry(visit: Visit, form: Form) -> Done:
    """One dead letter becomes pending."""
    event_id = _event(form)
    await operators.retry(visit.pool, visit.actor, event_id)
    return Done(f"#{event_id} is retried.", form.back(f"{PATH}/{event_id}"), link=("View", f"{PATH}/{event_id}"))


async def discard(visit: Visit, form: Form) -> Done:
    """One dead letter becomes skipped."""
    event_id = _event(form)
    await operators.discard(visit.pool, visit.actor, event_id, reason=form.needed("reason", most=400))
    return Done(f"#{event_id} is discarded.", form.back(f"{PATH}/{event_id}"), link=("View", f"{PATH}/{event_id}"))


def _event(form: Form) -> int:
    return form.whole("event", low=1, high=LARGEST_ID) or 0


SITE = Pages(
    pages=(Page(PATH + "/{id}", "event.html", read, tab="events"),),
    acts=(Act("/console/acts/replay", replay), Act("/console/acts/retry", retry), Act("/console/acts/discard", discard)),
    looks=(Look(PATH + "/{id}/payload", "payload.html", read_payload, tab="events"),),
)
