"""Lanes: which are held, by what and since when; one lane's events; and what can be done with its head."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from outbox import operators
from outbox.db import Record
from outbox.store import acts, events, lanes, search
from outbox.store.search import Found, Wanted
from receiver.console.page import Act, Done, Form, Page, Pages, Visit

PATH = "/console/lanes"
MOST_LANES = 200


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
    kinds, over_m = query.many("kind"), query.whole("over", low=1, high=100_000)
    found = await visit.panel("lanes", lanes.blocked(visit.pool, limit=MOST_LANES, waiting_only=which is Which.HELD))
    latest = visit.now - timedelta(minutes=over_m) if over_m else None
    rows = [row for row in found.value or [] if _fits(row, marks, kinds, latest)]
    return {
        "found": found,
        "rows": sorted(rows, key=lambda row: row["since"]),
        "is_cut": len(found.value or []) == MOST_LANES,
        "which": which,
        "marks": list(Mark),
        "chosen": marks,
        "over": over_m,
        "is_filtered": bool(marks or kinds or over_m),
        "path_of": path_of,
    }


def _fits(row: Record, marks: list[Mark], kinds: list[str], latest: datetime | None) -> bool:
    return (not marks or row["mark"] in marks) and (not kinds or row["kind"] in kinds) and (latest is None or row["since"] <= latest)


def path_of(lane: str) -> str:
    """The page of a lane, whose name may hold anything."""
    return f"{PATH}/one?lane={quote(lane, safe='')}"


async def read_one(visit: Visit) -> Mapping[str, Any]:
    """A lane's events, newest first, its head marked."""
    lane, before = visit.query.text("lane") or "", visit.query.whole("before")
    found = await visit.panel("the lane's events", search.find(visit.pool, Wanted(lane=lane), before=before))
    head = await acts.head(visit.pool, lane)
    page = found.value or Found()
    return {
        "lane": lane,
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
