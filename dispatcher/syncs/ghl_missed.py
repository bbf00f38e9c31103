"""ghl-missed: finds what changed in GHL and no webhook announced, and stages it as a webhook would have, marked as found.

A change counts once webhooks have had their time (DELAY). It was missed if what we have is older, differs, and nothing of the same lane
waits here: an event of source `ghl-found` then goes the way of every webhook. Of appointments GHL has no list of what changed, so each
calendar's are read from a week ago to three months ahead; one of ours that stands there no more is asked for, too.
Contacts that were deleted are the nightly sweep's (ghl-contacts). As that, it is the sync of the location with a key; a location that is
connected by consent has its own, `ghl-missed:<location>`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dispatcher.clients.accounts import GHL
from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_models import GhlAppointment
from dispatcher.handlers import ghl_appointments, ghl_contacts
from dispatcher.handlers.ghl_contacts import contact_of, field_keys
from dispatcher.syncs import locations
from dispatcher.syncs.base import Default, RunType, Sync
from dispatcher.syncs.ghl_contacts import BEGINNING, GHL_CONTACTS, off
from dispatcher.syncs.run import Page, Run
from outbox.cadence import Cron
from outbox.store import found
from outbox.store.events import Arrival
from outbox.store.found import Seen, Verdict
from outbox.store.runs import Category, What

SOURCE: Final = "ghl-found"
DELAY: Final = timedelta(minutes=5)
OVERLAP: Final = timedelta(minutes=10)  # GHL's index lags; what was found before has its key
FIRST: Final = timedelta(hours=24)  # so far back looks a run that knows of none before
PAGE: Final = 200
BEHIND, AHEAD, CHUNK = timedelta(days=7), timedelta(days=91), timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Noun:
    """What is looked for: under which word it is counted, and which event a webhook of it would be."""

    counted: str
    type: str
    lane: str


CONTACT: Final = Noun("contacts", "ContactUpdate", ghl_contacts.LANE)
APPOINTMENT: Final = Noun("appointments", "AppointmentUpdate", ghl_appointments.LANE)


async def look(run: Run) -> None:
    """See the module."""
    ghl = await run.ctx.ghl_for(run.account)
    until = run.until - DELAY
    since = min(until, until - FIRST if run.since is None else run.since - OVERLAP)
    if (run.checkpoint or {}).get("phase") != "appointments":
        await _contacts(run, ghl, since, until)
    await _appointments(run, ghl, since, until)
    run.watermark = until


async def _contacts(run: Run, ghl: GhlClient, since: datetime, until: datetime) -> None:
    at: dict[str, Any] = run.checkpoint or {"phase": "contacts", "after": None, "done": 0}
    run.phase("contacts")
    while True:
        shown = await ghl.search_contacts_changed(since, until, search_after=at["after"], page_limit=PAGE)
        if shown.search_after is None:
            return
        keys = await field_keys(ghl, shown.contacts)
        rows = [contact_of(one, keys=keys, fallback_at=BEGINNING) for one in shown.contacts]
        seen = [Seen(row.ghl_contact_id, row.changed_at, row.digest()) for row in rows]
        at = {"phase": "contacts", "after": list(shown.search_after), "done": at["done"] + len(seen) + shown.unreadable}
        run.progress(at["done"], shown.total)
        async with run.page(at) as page:
            await _judge(page, CONTACT, ghl, seen, await found.contacts(page.connection, seen))
            for _ in range(shown.unreadable):
                page.error(Category.VALIDATION, None, "a contact without an id")


async def _appointments(run: Run, ghl: GhlClient, since: datetime, until: datetime) -> None:
    """Calendar by calendar, some weeks a page."""
    done = run.checkpoint["done"] if (run.checkpoint or {}).get("phase") == "appointments" else 0
    begins = [run.until - BEHIND + CHUNK * n for n in range((BEHIND + AHEAD) // CHUNK)]
    spans = [(begin, begin + CHUNK) for begin in begins]
    windows = [(calendar_id, *span) for calendar_id in sorted(one.id for one in await ghl.list_calendars()) for span in spans]
    run.phase("appointments")
    for n, (calendar_id, begin, end) in enumerate(windows[done:], start=done + 1):
        shown = await ghl.list_appointments(calendar_id, begin, end)
        begins_here = [one for one in shown if one.starts_at is not None and begin <= one.starts_at < end]
        changed = [seen for one in begins_here if (seen := _seen(one, since, until)) is not None]
        run.progress(n, len(windows))
        async with run.page({"phase": "appointments", "done": n}) as page:
            gone = await found.not_shown(page.connection, calendar_id, begin, end, before=until, shown=[one.id for one in shown])
            verdicts = await found.appointments(page.connection, [*changed, *gone])
            await _judge(page, APPOINTMENT, ghl, [*changed, *gone], verdicts)


def _seen(shown: GhlAppointment, since: datetime, until: datetime) -> Seen | None:
    """None: it did not change in the window, or does not say when it is."""
    changed_at = shown.date_updated or shown.date_added
    theirs = None if changed_at is None or not since <= changed_at <= until else ghl_appointments.state_of(shown, fallback_at=changed_at)
    return None if theirs is None else Seen(shown.id, theirs.changed_at, theirs.digest())


async def _judge(page: Page, noun: Noun, ghl: GhlClient, seen: Sequence[Seen], verdicts: Mapping[str, Verdict]) -> None:
    """Counts what changed, and stages what was missed. What an earlier run found under the same key is counted as known."""
    newest = {one.id: one for one in sorted(seen, key=lambda one: one.changed_at)}
    missed = [one for one in newest.values() if verdicts[one.id] is Verdict.MISSED]
    new = await page.stage_all([_event(noun, ghl, one) for one in missed])
    for one, is_new in zip(missed, new, strict=True):
        if is_new:
            page.did(What.UPDATED, one.id, f"{noun.counted[:-1]} changed at {one.changed_at.isoformat()}, and no webhook said so")
    page.count(unchanged=len(newest) - sum(new))
    page.found(noun.counted, changed=len(newest), missed=sum(new))


def _event(noun: Noun, ghl: GhlClient, one: Seen) -> Arrival:
    """As the webhook would have been. The payload is the same whichever run finds it."""
    at = one.changed_at.isoformat()
    payload = {"type": noun.type, "locationId": ghl.location_id, "id": one.id, "dateUpdated": at, "found": True}
    return Arrival(SOURCE, f"ghl.{noun.type}", f"{noun.lane}{one.id}:{at}", noun.lane + one.id, json.dumps(payload).encode())


GHL_MISSED: Final = Sync(
    name="ghl-missed",
    run=look,
    types=(RunType.INCREMENTAL,),
    destination=GHL,
    # Before the hourly pull of contacts: what that has brought, nobody can find missed any more.
    schedules={RunType.INCREMENTAL: Default(Cron("55 * * * *"))},
    off=off,
    enrol=locations.enrol,
    waits_for_tick=True,
    follows=GHL_CONTACTS.name,  # before its first pull has ended everything would count as missed
    overlap=OVERLAP,
)
