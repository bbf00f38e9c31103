"""Events: found by filters that the URL holds, newest first."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from outbox.db import Record
from outbox.event import Mark, State
from outbox.finding import absence
from outbox.store import events, find, minutes, routes, search
from outbox.store.search import Found, Wanted
from receiver.config import Role
from receiver.console import words
from receiver.console.page import Act, Done, Download, Form, Page, Pages, Visit

PATH, FOUND = "/console/events", "/console/events/found"
MOST_IN_CSV = 2_000
MOST_NEWER = 100
CHIPS: Mapping[str, str] = {
    "state": "State",
    "why": "Why",
    "kind": "Kind",
    "source": "Source",
    "dest": "Destination",
    "lane": "Lane",
    "key": "Key",
    "err": "Group",
    "attempts": "Attempts at least",
}
TIMES: Mapping[str, str] = {"from": "From", "until": "Until"}
NO_KIND = "-"  # no kind has this name: a destination that no kind calls finds nothing


class Since(StrEnum):
    """How far back; the default is left out of the URL."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"
    EVER = "all"


class Sort(StrEnum):
    """Which come first; the default is left out of the URL."""

    NEWEST = "newest"
    OLDEST = "oldest"


SETTLED = frozenset({"done", "skipped", "dead"})
TIMED = frozenset({Mark.RETRY, Mark.SNOOZED, Mark.DELAYED})  # what may run before its time
VIEWS: tuple[tuple[str, str, str | None], ...] = (  # words, page, and which count of outbox.store.events.counts() it lists
    ("Dead", f"{PATH}?state=dead&since=all", "dead"),
    ("Waiting their turn", f"{PATH}?why=ready&why=behind&since=all", "pending"),
    ("Running", f"{PATH}?why=running&since=all", "running"),
    ("Waiting for a retry", f"{PATH}?why=retry&why=snoozed&since=all", "waiting"),
    ("Held by a destination", f"{PATH}?why=held&since=all", "held"),
    ("Not due yet", f"{PATH}?why=delayed&since=all", "delayed"),
    ("Done in the last hour", f"{PATH}?state=done&since=1h", None),
    ("Skipped", f"{PATH}?state=skipped", None),
)
SPANS: Mapping[Since, timedelta | None] = {
    Since.HOUR: timedelta(hours=1),
    Since.DAY: timedelta(hours=24),
    Since.WEEK: timedelta(days=7),
    Since.MONTH: timedelta(days=30),
    Since.EVER: None,
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A page of the list: where it stands, and where newer and older ones are; None: there are none, or they are not known."""

    rows: Sequence[Record]
    newer: int | None
    older: int | None
    is_first: bool


async def read(visit: Visit) -> Mapping[str, Any]:
    """A page of events, with how far was looked."""
    query, since, sort = visit.query, since_of(visit), visit.query.choice("sort", Sort) or Sort.NEWEST
    known = await routes.every(visit.pool)
    wanted, before, after = wanted_of(visit, since, known), query.whole("before"), query.whole("after")
    limit = query.whole("n", low=20, high=200) or 50
    upward = after is not None or (sort is Sort.OLDEST and before is None)
    sources = await sources_of(visit)
    finding = search.find(visit.pool, wanted, before=before, after=after, upward=upward, limit=limit, known_sources=sources)
    found = await visit.panel("events", finding)
    page = found.value or Found()
    leaf = _leaf(page, before=before, after=after, upward=upward)
    is_about = wanted.key or wanted.lane or wanted.kinds or wanted.sources or wanted.text
    return {
        "found": found,
        "page": page,
        "leaf": leaf,
        "rows": leaf.rows if sort is Sort.NEWEST else leaf.rows[::-1],
        "upward": upward,
        "sort": sort,
        "settled": SETTLED,
        "timed": TIMED,
        "wanted": wanted,
        "same": same(wanted),
        "since": since,
        "spans": list(Since),
        "states": list(State),
        "marks": list(Mark),
        "kinds": sorted(known),
        "to": {kind: row["destination"] for kind, row in known.items()},
        "destinations": sorted({row["destination"] for row in known.values() if row["destination"]}),
        "destination": query.text("dest"),
        "kind": query.text("kind"),
        "group": wanted.group,
        "follows": leaf.is_first and not upward and query.text("tail") is not None,
        "followed": query.url(PATH, before=None, after=None, tail=1),
        "left_alone": query.url(PATH, tail=None),
        "back_at": await visit.panel("how far was looked", find.staged_at(visit.pool, page.back_to)) if page.looked else None,
        "sources": sources,
        "chips": chips_of(visit),
        "moments": (moments := {name: query.moment(name) for name in TIMES}),
        "has_more": any((query.text("dest"), wanted.attempts, wanted.lane, wanted.key, wanted.text, *moments.values())),
        "pinned": pinned(visit, since),
        "views": VIEWS,
        "counts": await visit.panel("the counts", events.counts(visit.pool)),
        "newer": query.url(PATH, before=None, after=leaf.newer) if leaf.newer else None,
        "older": query.url(PATH, after=None, before=leaf.older) if leaf.older else None,
        "count_newer": query.url(f"{PATH}/newer", after=leaf.rows[0]["id"] if leaf.rows else None)
        if leaf.is_first and not upward
        else None,
        "first": None if leaf.is_first else query.url(PATH, before=None, after=None),
        "by_time": query.url(PATH, before=None, after=None, sort=Sort.OLDEST if sort is Sort.NEWEST else None),
        "csv": query.url(f"{PATH}.csv", before=None, after=None),
        "moment": datetime.fromisoformat,
        "absence": await visit.panel("what may explain that", absence(visit.pool, since=wanted.since, until=wanted.until))
        if is_about and not page.rows and found.value is not None
        else None,
    }


async def read_newer(visit: Visit) -> Mapping[str, Any]:
    """How many events of the same filters are newer than the newest that is shown; a part of the page, for live updates."""
    query, since = visit.query, since_of(visit)
    wanted, after = wanted_of(visit, since, await routes.every(visit.pool)), query.whole("after")
    for name in ("n", "tail"):
        query.text(name)
    found = await search.find(visit.pool, wanted, after=after, limit=MOST_NEWER, known_sources=await sources_of(visit))
    return {"count": len(found.rows), "most": MOST_NEWER, "shown": query.url(PATH, after=None), "again": query.url(visit.path)}


def _leaf(page: Found, *, before: int | None, after: int | None, upward: bool) -> Leaf:
    """The rows newest first, whichever way they were looked for."""
    rows = page.rows[::-1] if upward else page.rows
    beyond = page.next_before
    newest, oldest = (rows[0]["id"], rows[-1]["id"]) if rows else (after, before)
    newer = beyond if upward else newest if before is not None else None
    older = (oldest if after is not None else None) if upward else beyond
    return Leaf(rows, newer, older, is_first=before is None and after is None)


def since_of(visit: Visit) -> Since:
    """How far back; a moment in the URL says it closer."""
    since = visit.query.choice("since", Since) or Since.DAY
    return Since.EVER if visit.query.moment("from") else since


def wanted_of(visit: Visit, since: Since, known: Mapping[str, Any]) -> Wanted:
    query, span = visit.query, SPANS[since]
    kinds, destination = query.many("kind"), query.text("dest")
    if destination is not None:
        calling = [kind for kind, row in known.items() if row["destination"] == destination]
        kinds = [kind for kind in calling if not kinds or kind in kinds] or [NO_KIND]
    return Wanted(
        sources=query.many("source"),
        kinds=kinds,
        lane=query.text("lane"),
        key=query.text("key"),
        states=[str(state) for state in query.choices("state", State)],
        marks=[str(mark) for mark in query.choices("why", Mark)],
        group=query.text("err"),
        text=query.text("q") if visit.who.role is Role.OPERATOR else None,
        since=query.moment("from") or (None if span is None else visit.now - span),
        until=query.moment("until"),
        attempts=query.whole("attempts", high=99),
    )


def same(wanted: Wanted) -> dict[str, str]:
    """The same on the command line and by the API, with the filters in use."""
    many = (("state", wanted.states), ("mark", wanted.marks), ("source", wanted.sources), ("kind", wanted.kinds))
    one = (("lane", wanted.lane), ("key", wanted.key), ("group", wanted.group), ("attempts", wanted.attempts), ("text", wanted.text))
    times = (("since", wanted.since), ("until", wanted.until))
    pairs = [(name, value) for name, values in many for value in values]
    pairs += [(name, str(value)) for name, value in one if value is not None]
    pairs += [(name, at.isoformat(timespec="seconds")) for name, at in times if at is not None]
    return words.same("postroom events", "/api/events", pairs)


def pinned(visit: Visit, since: Since) -> str:
    """The page with its time as a moment, so that who follows the link later finds the same."""
    span = SPANS[since]
    if span is None:
        return visit.query.pinned(PATH)
    return visit.query.pinned(PATH, since=None, **{"from": (visit.now - span).isoformat()})


def chips_of(visit: Visit) -> list[tuple[str, str]]:
    """Each filter in force, with the page without it."""
    said = {name: ", ".join(values) for name in CHIPS if (values := visit.query.many(name))}
    times = {name: words.exact(moment, visit.zone) for name in TIMES if (moment := visit.query.moment(name))}
    every = {**CHIPS, **TIMES}
    return [(f"{every[name]}: {what}", visit.query.url(PATH, without=[name, "before"])) for name, what in {**said, **times}.items()]


async def sources_of(visit: Visit) -> list[str]:
    """Who may have staged an event: every door, the app, and whoever did in the last day."""
    heard = await visit.panel("who stages", minutes.sources(visit.pool))
    return sorted({"app", *(door.source.name for door in visit.desk.webhooks.doors.values()), *(heard.value or ())})


async def download(visit: Visit) -> tuple[str, bytes]:
    """What the filters find, without payloads. A cell that a spreadsheet would run as a formula gets an apostrophe."""
    wanted = wanted_of(visit, since_of(visit), await routes.every(visit.pool))
    found = await search.find(visit.pool, wanted, limit=MOST_IN_CSV, known_sources=await sources_of(visit))
    columns = ("id", "staged_at", "source", "kind", "key", "lane", "state", "why", "attempts", "changed_at")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in found.rows:
        writer.writerow([_cell(row[name]) for name in columns])
    return "events.csv", text.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


async def lead(visit: Visit, form: Form) -> Done:
    """Find: what was typed is in no URL, only where it leads."""
    led = await find.lead(visit.pool, form.needed("text", most=400), known_sources=await sources_of(visit))
    if led.ids:
        return Done("", f"{PATH}/{led.ids[0]}")
    busy = [lane.name for lane in led.lanes if lane.newest is not None]
    if len(busy) == 1:
        return Done("", visit.query.url(PATH, lane=busy[0], since=Since.EVER))
    return Done("", f"{FOUND}?{urlencode([('lane', lane.name) for lane in led.lanes])}")


async def read_found(visit: Visit) -> Mapping[str, Any]:
    """The lanes that something led to, with the newest event of each; and when there is none, what may explain that."""
    named = visit.query.many("lane")[: find.MOST_LANES]
    found = await visit.panel("the lanes", find.newest_of(visit.pool, named))
    is_nothing = found.value is not None and not any(found.value.values())
    return {
        "found": found,
        "named": named,
        "is_nothing": is_nothing,
        "absence": await visit.panel("what may explain that", absence(visit.pool)) if is_nothing else None,
        "moment": datetime.fromisoformat,
    }


SITE = Pages(
    pages=(
        Page(PATH, "events.html", read, tab="events"),
        Page(f"{PATH}/newer", "newer.html", read_newer, tab="events"),
        Page(FOUND, "found.html", read_found, tab="events"),
    ),
    acts=(Act("/console/find", lead, role=Role.VIEWER),),
    downloads=(Download(f"{PATH}.csv", download),),
)
