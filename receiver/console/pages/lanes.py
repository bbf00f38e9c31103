"""Lanes: which are held, by what and since when; one lane's events; and what can be done with its head."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from outbox import operators
from outbox.db import Record
from outbox.event import Mark as EventMark
from outbox.store import acts, destinations, events, find, lanes, routes, search
from outbox.store.search import Found, Wanted
from receiver.console.far_side import far_side
from receiver.console.page import Act, Done, Form, Page, Pages, Visit, no_such

PATH = "/console/lanes"
MOST_WAITING = 50
OTHERS = (EventMark.DONE, EventMark.SKIPPED, EventMark.DEAD, EventMark.DELAYED)  # what neither holds its lane nor waits in it
MOST_LANES = 50  # a page; what holds each is looked up
RUNS_LONG_S = 60.0


class Which(StrEnum):
    """Which lanes are listed."""

    HELD = "held"
    ALL = "all"


class Mark(StrEnum):
    """What holds a lane."""

    RETRY = "retry"
    SNOOZED = "snoozed"
    HELD = "held"
    RUNNING = "running"


async def read(visit: Visit) -> Mapping[str, Any]:
    """Lanes that are not free, the longest held first."""
    query = visit.query
    which, marks = query.choice("show", Which) or Which.HELD, query.choices("why", Mark)
    which = Which.ALL if Mark.RUNNING in marks else which
    kinds, over_m, above = query.many("kind"), query.whole("over", low=1, high=100_000), query.whole("after") or 0
    found = await visit.panel("lanes", _find(visit, marks, above=above, over_m=over_m, waiting_only=which is Which.HELD))
    looked = (found.value or [])[:MOST_LANES]
    rows = [row for row in looked if (not marks or row["mark"] in marks) and (not kinds or row["kind"] in kinds)]
    held_for = {name for row in looked if (name := _destination(row["why"])) is not None}
    standing = await visit.panel("the destinations", destinations.some(visit.pool, held_for))
    return {
        "found": found,
        "rows": sorted(rows, key=lambda row: row["since"]),
        "next": query.url(PATH, after=looked[-1]["event_id"]) if len(found.value or []) > MOST_LANES else None,
        "first": query.url(PATH, after=None) if above else None,
        "looked": len(looked),
        "stopped": {name: row for name, row in (standing.value or {}).items() if row["state"] != "flowing"},
        "standing": standing,
        "kinds": kinds,
        "known": sorted(await routes.every(visit.pool)),
        "runs_long_s": RUNS_LONG_S,
        "destination_of": _destination,
        "which": which,
        "topics": "lanes" if which is Which.HELD else "lanes totals",
        "marks": list(Mark),
        "chosen": marks,
        "over": over_m,
        "is_filtered": bool(marks or kinds or over_m),
        "path_of": path_of,
    }


async def _find(visit: Visit, marks: list[Mark], *, above: int, over_m: int | None, waiting_only: bool) -> list[Record]:
    """One more than a page has: of these marks, as far as a statement can tell them apart, with heads accepted so long ago."""
    are_held = {mark is Mark.HELD for mark in marks}
    return await lanes.blocked(
        visit.pool,
        above=above,
        limit=MOST_LANES + 1,
        waiting_only=waiting_only,
        before=await search.id_at(visit.pool, visit.now - timedelta(minutes=over_m)) if over_m else None,
        for_destination=are_held.pop() if len(are_held) == 1 else None,
    )


def _destination(why: str) -> str | None:
    """The destination that a lane is held for."""
    return why.removeprefix(lanes.HELD) if why.startswith(lanes.HELD) else None


def path_of(lane: str) -> str:
    """The page of a lane, whose name may hold anything."""
    return f"{PATH}/one?lane={quote(lane, safe='')}"


async def read_one(visit: Visit) -> Mapping[str, Any]:
    """A lane's events: those that wait in the order in which they run, its head on top, and below the others, newest first."""
    lane, before = visit.query.text("lane"), visit.query.whole("before")
    if lane is None:
        raise no_such("The address names no lane. All lanes are under Lanes.")
    waiting = await visit.panel("what waits", acts.waiting(visit.pool, lane, limit=MOST_WAITING))
    found = await visit.panel("its other events", search.find(visit.pool, Wanted(lane=lane, marks=OTHERS), before=before))
    head = await acts.head(visit.pool, lane)
    page = found.value or Found()
    about = await visit.panel("what it is about", find.thing(visit.pool, lane, contact_id=None))
    return {
        "lane": lane,
        "about": about,
        "side": far_side(lane, about.value),
        "waiting": waiting,
        "most": MOST_WAITING,
        "found": found,
        "rows": page.rows,
        "head": None if head is None else await events.one(visit.pool, head),
        "behind": 0 if head is None else await acts.behind(visit.pool, head),
        "older": visit.query.url(f"{PATH}/one", before=page.next_before) if page.next_before else None,
        "newest": visit.query.url(f"{PATH}/one", before=None) if before else None,
    }


async def run(visit: Visit, form: Form) -> Done:
    """Its wait ends now."""
    event_id = _event(form)
    await operators.run_now(visit.pool, visit.actor, event_id)
    return Done(f"#{event_id} runs now.", form.back(PATH), link=("View", f"/console/events/{event_id}"))


async def bury(visit: Visit, form: Form) -> Done:
    """The head becomes a dead letter."""
    event_id = _event(form)
    await operators.bury(visit.pool, visit.actor, event_id, reason=form.needed("reason", most=400))
    return Done(f"#{event_id} is a dead letter; its lane goes on.", form.back(PATH), link=("View", f"/console/events/{event_id}"))


async def release(visit: Visit, form: Form) -> Done:
    """The lane goes on without its head."""
    event_id = _event(form)
    await operators.release(visit.pool, visit.actor, event_id)
    return Done(f"#{event_id} waits aside until its next attempt; its lane goes on.", form.back(PATH))


def _event(form: Form) -> int:
    return form.whole("event", low=1, high=2**53 - 1) or 0


SITE = Pages(
    pages=(Page(PATH, "lanes.html", read, tab="lanes"), Page(f"{PATH}/one", "lane.html", read_one, tab="lanes")),
    acts=(Act("/console/acts/run", run), Act("/console/acts/bury", bury), Act("/console/acts/release", release)),
)
