"""Does it all add up? What the demo expects, compared with the rows of the database and with what GHL was made to do.

Every expectation follows from the ledger of what was sent, so that a scene may change without this file knowing.
"""

import asyncio
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

import httpx

from cli.coming_over import CameOver
from cli.ledger import ACCEPTED, Became, Ledger
from outbox.db import Pool
from outbox.event import State
from outbox.store import clients, contacts, phorest, search, sources
from outbox.store.search import Wanted
from outbox.timeline import Entry
from simulators.seeds import CLIENT_IDS, CONTACT_IDS, NAMES, PAGE_IDS, VISIT_IDS

MARKER = re.compile(r"postroom:(\d+)[\w.-]*/([\w.-]+)")
# What each kind of change leaves at the contact: every one a note, some a task.
NOTES = frozenset(f"appointment.{word}" for word in ("created", "updated", "confirmed", "cancelled", "completed"))
TASKS = frozenset(f"appointment.{word}" for word in ("created", "cancelled", "completed"))
REJECTED_WITHIN_S = 15.0
BESIDE = frozenset({phorest.SOURCE, "sync", "alerts"})  # what the clock stages, whatever was sent


@dataclass(frozen=True, slots=True)
class Check:
    what: str
    expected: str
    found: str

    @property
    def is_well(self) -> bool:
        return self.expected == self.found

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "ok": self.is_well}


@dataclass(slots=True)
class Seen:
    """What a run of the demo saw. `first` is what had become of each event before the dead letters were retried; `beside`: the states of
    what was staged by syncs, and by what they found."""

    ledger: Ledger
    first: dict[int, Became]
    found: dict[int, Became]
    letters: list[Became]
    rolled_back: str
    over: CameOver = field(default_factory=CameOver)
    beside: dict[int, str] = field(default_factory=dict)
    stories: dict[int, Entry] = field(default_factory=dict)
    looked_up: list[str] = field(default_factory=list)
    effects: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return bool(self.checks) and all(check.is_well for check in self.checks)

    def check(self, what: str, expected: object, found: object) -> None:
        self.checks.append(Check(what, str(expected), str(found)))


async def run(seen: Seen, pool: Pool, ghl: httpx.AsyncClient, *, rejected_before: int) -> None:
    """All checks."""
    await _accounts(seen, pool, rejected_before=rejected_before)
    _dead_letters(seen)
    await _effects(seen, ghl)
    await _local(seen, pool)
    _came_over(seen)


async def rejected_so_far(pool: Pool) -> int:
    """The newest rejected request's id; 0: there is none."""
    return max((int(row["id"]) for row in await sources.rejected(pool, None, limit=1)), default=0)


async def _accounts(seen: Seen, pool: Pool, *, rejected_before: int) -> None:
    counts, now = seen.ledger.counts(), Counter(one.state for one in seen.found.values())
    seen.check(
        "every event sent was accepted, a duplicate or rejected",
        counts["sent"],
        counts["accepted"] + counts["duplicates"] + counts["rejected"],
    )
    seen.check("every accepted event is done, skipped, dead or pending", counts["accepted"], sum(now[state] for state in State))
    first = min(seen.ledger.ids, default=0)
    rows = (await search.find(pool, Wanted(), limit=1000)).rows
    seen.beside = {row["id"]: row["state"] for row in rows if row["source"] in BESIDE}
    there = {row["id"] for row in rows if row["id"] >= first} - seen.beside.keys()
    missing, unknown = set(seen.ledger.ids) - there, there - set(seen.ledger.ids)
    seen.check(
        "the database holds every accepted event", "none is missing", f"missing: {sorted(missing)}" if missing else "none is missing"
    )
    seen.check("the database holds no other event", "none", f"{sorted(unknown)}" if unknown else "none")
    seen.check("nothing is pending or dead in the end", 0, now[State.PENDING] + now[State.DEAD])
    seen.check("the database counted the duplicates", counts["duplicates"], sum(one.duplicates for one in seen.found.values()))
    seen.check(
        "the rejected requests are kept for inspection", counts["rejected"], await _rejected(pool, rejected_before, counts["rejected"])
    )
    seen.check("a transaction that was rolled back staged nothing", 0, len((await search.find(pool, Wanted(key=seen.rolled_back))).rows))


async def _rejected(pool: Pool, before: int, expected: int) -> int:
    """Receivers write them down a moment later; looked for until they are there."""
    until = time.monotonic() + REJECTED_WITHIN_S
    while True:
        number = len([row for row in await sources.rejected(pool, None, limit=1000) if row["id"] > before])
        if number >= expected or time.monotonic() > until:
            return number
        await asyncio.sleep(0.2)


def _dead_letters(seen: Seen) -> None:
    seen.check("one event became a dead letter", 1, len(seen.letters))
    retried = [seen.found[letter.event_id].state for letter in seen.letters]
    seen.check("it was retried to success", State.DONE, ", ".join(retried))
    repeated = [
        entry["step"]
        for told in seen.stories.values()
        for entry in told["timeline"]
        if entry["what"] == "step" and entry["entry"] == "known done"
    ]
    seen.check("its retry repeated none of the steps that were done", "fields, note, tags", ", ".join(sorted(repeated)))
    seen.check("an answer that was lost was looked up, and the note not written again", "note", ", ".join(seen.looked_up))


async def _effects(seen: Seen, ghl: httpx.AsyncClient) -> None:
    """Each note and each task carries the marker of its event and step, so exactly one can be told from two, and from none."""
    state = (await ghl.get("/_sim/state")).raise_for_status().json()
    seen.effects = (await ghl.get("/_sim/effects")).raise_for_status().json()["kinds"]
    told = {one.event_id: one.kind for one in seen.found.values() if one.state == State.DONE}
    for what, kinds in (("notes", NOTES), ("tasks", TASKS)):
        step = what.removesuffix("s")
        expected = {event_id: 1 for event_id, kind in told.items() if kind in kinds}
        marked = Counter(
            int(match[1])
            for of_contact in state[what].values()
            for document in of_contact.values()
            for match in MARKER.finditer(document["body"])
            if match[2] == step
        )
        found = Counter({event_id: n for event_id, n in marked.items() if event_id in seen.found})
        salons = sum(n for event_id, n in marked.items() if event_id in seen.beside)
        differ = {event_id: found[event_id] for event_id in expected | found if expected.get(event_id, 0) != found[event_id]}
        seen.check(f"GHL has exactly one {step} for each of {len(expected)} changes", "one each", differ or "one each")
        seen.check(f"GHL made no other {step}", sum(expected.values()), seen.effects.get(step, 0) - salons)


async def _local(seen: Seen, pool: Pool) -> None:
    kept = [await contacts.one(pool, contact_id) for contact_id in CONTACT_IDS[:2]]
    seen.check("the contacts are kept", 2, sum(row is not None for row in kept))
    pages = [await clients.one(pool, UUID(page_id)) for page_id in PAGE_IDS]
    seen.check("the pages became clients", 2, sum(row is not None for row in pages))
    answers = [sent for sent in seen.ledger.all if sent.source != "app"]
    statuses = Counter(sent.status for sent in answers if sent.result != ACCEPTED)
    seen.check("forged signatures were answered 401", 2, statuses[401])


def _came_over(seen: Seen) -> None:
    """Of the salon's clients, one has neither a phone nor an e-mail; one came later, and only their visit was asked for."""
    salon, book = seen.over.salon, seen.over.address_book
    if salon is not None:
        seen.check("the salon's clients are contacts of GHL, all but one", len(CLIENT_IDS), salon.clients)
        seen.check("that one is a warning and no dead letter", "validation warning: missing phone and email", "; ".join(salon.warnings))
        seen.check("GHL made one appointment for each of their visits", len(VISIT_IDS), seen.effects.get("appointment", 0))
        seen.check("a visit of a client who was missing staged one repair", 1, salon.repairs)
        dead = sum(state == State.DEAD for state in seen.beside.values())
        seen.check("nothing of the salon is dead", 0, dead)
    if book is not None:
        seen.check("a user's contacts of Google are here, all but one", len(NAMES), book.contacts)
