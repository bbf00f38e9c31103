"""Audits: both sides of a pair of systems compared, the gaps that were found, and what became of each repair. Only read here."""

import json
from collections.abc import Mapping
from typing import Any

from outbox.store import audits
from receiver.console.page import Page, Pages, Visit, no_such

PATH = "/console/audits"
LISTED, GAPS = 50, 200


async def read(visit: Visit) -> Mapping[str, Any]:
    """Newest first, with how many gaps of each sort."""
    before = visit.query.whole("before")
    found = await visit.panel("the audits", audits.newest(visit.pool, before=before, limit=LISTED + 1))
    rows = [{**dict(row), "gaps": json.loads(row["gaps"])} for row in (found.value or [])[:LISTED]]
    has_more = found.value is not None and len(found.value) > LISTED
    return {
        "found": found,
        "rows": rows,
        "older": visit.query.url(visit.path, before=rows[-1]["id"]) if has_more else None,
        "newest": visit.query.url(visit.path, before=None) if before else None,
    }


async def one(visit: Visit) -> Mapping[str, Any]:
    """An audit with its gaps."""
    row = await audits.one(visit.pool, visit.part_id())
    if row is None:
        raise no_such("There is no such audit; they are kept for 90 days.")
    gaps = await visit.panel("its gaps", audits.gaps(visit.pool, row["id"], limit=GAPS + 1))
    return {"audit": row, "kinds": json.loads(row["counts"]).get("kinds", {}), "gaps": gaps, "most": GAPS}


SITE = Pages(pages=(Page(PATH, "audits.html", read, tab="syncs"), Page(PATH + "/{id}", "audit_gaps.html", one, tab="syncs")))
