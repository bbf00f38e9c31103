"""The audit log: who did what, newest first. Only read; every act writes its own row."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from outbox.db import Record
from outbox.store import audit
from outbox.store.audit import Via
from receiver.console import words
from receiver.console.page import Download, Page, Pages, Visit

PATH = "/console/audit"
EVENT_DIGITS = 11
PLACES: Mapping[str, str] = {
    **dict.fromkeys(("pause", "resume", "test"), "/console/connections#way-{}"),
    **dict.fromkeys(("promote handshake", "reveal handshake"), "/console/connections#notion"),
    **dict.fromkeys(("set auto-sync", "import contacts", "leave out contacts"), "/console/syncs/google-contacts:{}"),
    "note on group": "/console/dead/{}",
}
MOST_IN_CSV = 10_000


WORDS = {Via.CONSOLE: "console", Via.API: "API", Via.CLI: "CLI"}


@dataclass(frozen=True, slots=True)
class Row:
    """An act as it is shown."""

    id: int
    at: Any
    who: str
    via: str
    what: str
    target: str | None
    link: str | None
    reason: str | None
    result: str


async def read(visit: Visit) -> Mapping[str, Any]:
    """A page of acts."""
    which, before = _which(visit), visit.query.whole("before")
    limit = visit.query.whole("n", low=20, high=200) or 50
    found = await visit.panel("the audit log", audit.find(visit.pool, which, before=before, limit=limit + 1))
    rows = [_row(row) for row in (found.value or [])[:limit]]
    has_more = found.value is not None and len(found.value) > limit
    return {
        "found": found,
        "rows": rows,
        "which": which,
        "vias": [(via.value, said) for via, said in WORDS.items()],
        "older": visit.query.url(PATH, before=rows[-1].id) if has_more else None,
        "newest": visit.query.url(PATH, before=None) if before else None,
        "pinned": visit.query.pinned(PATH),
        "csv": visit.query.pinned(f"{PATH}.csv", before=None),
        "same": same(which),
    }


async def download(visit: Visit) -> tuple[str, bytes]:
    """The newest 10,000 acts that the filters find, as CSV. A cell that a spreadsheet would run as a formula gets an apostrophe."""
    rows = [_row(row) for row in await audit.find(visit.pool, _which(visit), limit=MOST_IN_CSV)]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "at", "who", "via", "what", "on", "reason", "result"])
    for row in rows:
        cells = [row.who, row.via, row.what, row.target or "", row.reason or "", row.result]
        writer.writerow(
            [row.id, row.at.isoformat(), *(f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell for cell in cells)]
        )
    return "audit.csv", text.getvalue().encode()


def same(which: audit.Filter) -> dict[str, str]:
    """The same on the command line and by the API, with the filters in use."""
    given = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(which).items()}
    return words.same("postroom audit", "/api/audit", [(name, str(value)) for name, value in given.items() if value is not None])


def _which(visit: Visit) -> audit.Filter:
    query = visit.query
    return audit.Filter(
        who=query.text("who"),
        via=query.choice("via", Via),
        what=query.text("what"),
        target=query.text("on"),
        since=query.moment("since"),
        until=query.moment("until"),
    )


def _row(row: Record) -> Row:
    result = {} if row["result"] is None else json.loads(row["result"])
    said = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in result.items() if value is not None)
    via = WORDS[Via(row["via"])]
    return Row(row["id"], row["at"], row["who"], via, row["what"], row["target"], place_of(row["what"], row["target"]), row["reason"], said)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def place_of(what: str, target: str | None) -> str | None:
    """Where an act's object is; None: it has no page. Pure. An event's id, which a run's is too, is a number of 11 digits and more."""
    if target is None:
        return None
    if target.isascii() and target.isdigit() and len(target) >= EVENT_DIGITS:
        return f"/console/events/{target}"
    if "plan" in what.split():
        return f"/console/retries/{quote(target, safe='')}"
    if {"sync", "schedule"} & set(what.split()):
        return f"/console/syncs/{quote(target.partition(' ')[0], safe='')}"
    return PLACES.get(what, "").format(quote(target, safe="")) or None


SITE = Pages(pages=(Page(PATH, "audit.html", read, tab="audit"),), downloads=(Download(f"{PATH}.csv", download),))
