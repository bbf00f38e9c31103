"""Replaying many: what a filter finds, shown and counted before anything is done, and then exactly that.

The form holds the filter with its times as moments, and the largest id that was counted: what is staged later is not in it. Only what is
done or skipped is replayed; dead letters have plans, with a canary.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from outbox import operators
from outbox.store import destinations, routes, search
from outbox.store.search import Found
from receiver.console.asked import LARGEST_ID, Query
from receiver.console.page import Act, Done, Form, Page, Pages, Visit
from receiver.console.pages import events as listed
from receiver.console.words import plural

PATH = f"{listed.PATH}/again"
MOST = 400  # whose states a page can ask for
TYPED_OVER = 100
MOST_TICKED = 200
REPLAYED = frozenset({"done", "skipped"})


async def read(visit: Visit) -> Mapping[str, Any]:
    """What would be replayed."""
    found = await visit.panel("what matches", _found(visit))
    rows = (found.value or Found()).rows
    wanted = [row for row in rows if row["state"] in REPLAYED]
    of_kind, standing = await routes.every(visit.pool), await destinations.every(visit.pool)
    since = listed.since_of(visit)
    return {
        "found": found,
        "page": found.value or Found(),
        "chips": listed.chips_of(visit),
        "since": since,
        "back": visit.query.url(listed.PATH),
        "states": Counter(row["state"] for row in rows),
        "kinds": Counter(row["kind"] for row in wanted).most_common(20),
        "lanes": len({row["lane"] for row in wanted if row["lane"]}),
        "to": {kind: row["destination"] for kind, row in of_kind.items()},
        "stands": {row["name"]: row["state"] for row in standing},
        "count": len(wanted),
        "oldest": min((row["staged_at"] for row in wanted), default=None),
        "ceiling": max((row["id"] for row in wanted), default=0),
        "query": listed.pinned(visit, since, path=""),
        "must_type": len(wanted) > TYPED_OVER,
        "most": MOST,
        "moment": datetime.fromisoformat,
    }


async def _found(visit: Visit, *, ceiling: int = LARGEST_ID) -> Found:
    wanted = listed.wanted_of(visit, listed.since_of(visit), await routes.every(visit.pool))
    before = min(ceiling + 1, LARGEST_ID)
    return await search.find(visit.pool, wanted, before=before, limit=MOST, known_sources=listed.sources_of(visit))


async def again(visit: Visit, form: Form) -> Done:
    """Those that are ticked, or all that the filter of the form finds."""
    ticked = [int(value) for value in form.many("event") if value.isascii() and value.isdigit() and len(value) <= 16][:MOST_TICKED]
    if form.text("query", most=4000) is None and form.text("all") is None:
        if not ticked:
            return Done("Nothing is ticked: nothing was replayed.", form.back(listed.PATH), good=False)
        return await _replay(visit, form, ticked, which=f"{plural(len(ticked), 'ticked event')}")
    query = (form.text("query", most=4000) or "").removeprefix("?")
    filtered = replace(visit, query=Query(query, visit.zone))
    found = await _found(filtered, ceiling=form.whole("ceiling", low=0, high=LARGEST_ID) or 0)
    ids = [row["id"] for row in found.rows if row["state"] in REPLAYED]
    if len(ids) > TYPED_OVER and form.whole("number", low=0, high=MOST) != (form.whole("count", low=0, high=MOST) or 0):
        return Done("The number does not fit. Nothing was replayed.", filtered.query.url(PATH), good=False)
    return await _replay(visit, form, ids, which=query or "no filter")


async def _replay(visit: Visit, form: Form, ids: list[int], *, which: str) -> Done:
    replayed = await operators.replay_many(visit.pool, visit.actor, ids, which=which)
    rest = (
        f"; {plural(len(ids) - replayed, 'event')} of them {'was' if len(ids) - replayed == 1 else 'were'} not settled"
        if replayed < len(ids)
        else ""
    )
    return Done(f"Replayed {replayed:,} of {len(ids):,}{rest}.", form.back(listed.PATH), good=replayed > 0)


SITE = Pages(pages=(Page(PATH, "again.html", read, tab="events"),), acts=(Act("/console/acts/again", again),))
