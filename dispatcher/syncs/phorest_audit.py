"""phorest-audit, at 01:00: counts and ids of both sides compared, gaps kept in crm.audit_gaps, repairs staged. Writes nothing itself.

    phorest  every client and appointment of the horizon is looked for here         not here ─▶ imported
    here     what Phorest did not show                                              not in phorest ─▶ asked for by its id
    ghl      every contact, and the calendars' events, is looked for in the links
    links    what GHL did not show is asked for by its id                           not in ghl ─▶ people are made anew
    unsent   what is here and was never sent, or differs from what was sent         not sent, out of date ─▶ sent

A list may overlook; only an answer of "not found" is believed. A run that was interrupted goes on where it stood, and finds no gap twice.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, Final, TypeAlias

from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_models import GhlAppointment
from dispatcher.clients.phorest_pages import months
from dispatcher.errors import Gone
from dispatcher.handlers import phorest_reading as reading
from dispatcher.syncs import phorest_walk as walks
from dispatcher.syncs.base import Default, RunType, Sync
from dispatcher.syncs.phorest import check_branches, off
from dispatcher.syncs.run import Page, Run
from outbox.cadence import Cron
from outbox.event import Event
from outbox.store import audits, links
from outbox.store.audits import Gap
from outbox.store.phorest import Kind, PhorestRecord, event_for, import_of
from outbox.store.runs import What
from outbox.store.schedules import CatchUp

SYSTEM: Final = "phorest"
BATCH: Final = 100
ASKED: Final = 20  # each of them is a call
CONTACTS: Final = 200
PEOPLE: Final = (Kind.CLIENT, Kind.STAFF)
SETTLES: Final = timedelta(minutes=10)  # GHL's index lags: what was linked just now is not looked for

State: TypeAlias = dict[str, Any]
Part: TypeAlias = Callable[[Run, State], Awaitable[State]]


@dataclass(frozen=True, slots=True)
class Found:
    """A gap and what mends it; None: a person decides."""

    kind: Kind
    id: str
    gap: Gap
    repair: Event | None


async def audit(run: Run) -> None:
    """See the module. Each part goes on at `at`, which is its own affair."""
    state: State = run.checkpoint or {"part": 0, "at": None, "counts": {}}
    parts = _parts()
    while state["part"] < len(parts):
        name, part = parts[state["part"]]
        run.phase(name)
        state = {**await part(run, state), "part": state["part"] + 1, "at": None}
    counts = {"there": state["counts"], "kinds": await audits.counts(run.ctx.services.pool)}
    async with run.page(state) as page:
        await audits.begin(page.connection, run.id, SYSTEM, run.started_at)
        await audits.end(page.connection, run.id, counts)


def _parts() -> list[tuple[str, Part]]:
    return [
        ("phorest", _phorest),
        *(("here", partial(_here, kind)) for kind in (Kind.CLIENT, Kind.APPOINTMENT)),
        ("contacts", _contacts),
        ("calendars", _calendars),
        *(("links", partial(_links, kind)) for kind in (*PEOPLE, Kind.APPOINTMENT)),
        *(("unsent", partial(_unsent, kind)) for kind in Kind),
    ]


async def _phorest(run: Run, state: State) -> State:
    await check_branches(run)
    days = walks.horizon(run.ctx.settings, run.until)
    legs = [
        *walks.client_legs(run.ctx.phorest, since=None, read=reading.client),
        *walks.appointment_legs(run.ctx.phorest, run.ctx.settings, *days, since=None),
    ]
    at = walks.Place.of(state["at"])
    while at.leg < len(legs):
        leg, is_first = legs[at.leg], at.round == 1
        found = await leg.fetch(at.page)
        records, at = leg.read(found.rows), at.behind(found)
        counts = state["counts"] if not is_first else _counted(state["counts"], records)
        state = {**state, "at": at.json(), "counts": counts}
        run.progress(at.done)
        async with run.page(state) as page:
            await _met(run, page, records)
    return state


def _counted(counts: dict[str, int], records: Sequence[PhorestRecord]) -> dict[str, int]:
    standing = [record for record in records if not record.deleted]
    return counts | {
        kind: counts.get(kind, 0) + sum(record.kind == kind for record in standing) for kind in {record.kind for record in standing}
    }


async def _met(run: Run, page: Page, records: Sequence[PhorestRecord]) -> None:
    branches = {record.id: record.branch_id for record in records}
    for kind in (Kind.CLIENT, Kind.APPOINTMENT):
        if ids := [record.id for record in records if record.kind is kind]:
            missing = await audits.met_records(page.connection, kind, ids)
            await _note(run, page, [Found(kind, one, Gap.NOT_HERE, import_of(kind, one, branch_id=branches[one])) for one in missing])
            page.count(unchanged=len(ids) - len(missing))


async def _note(run: Run, page: Page, found: Sequence[Found]) -> None:
    """Keeps gaps that this audit has not kept yet, and stages what mends them."""
    await audits.begin(page.connection, run.id, SYSTEM, run.started_at)
    for one in found:
        if await audits.new_gaps(page.connection, run.id, one.kind.value, one.gap, [one.id]):
            repair = None if one.repair is None else await page.stage(one.repair)
            await audits.gap(page.connection, run.id, one.kind.value, one.id, one.gap, repair=repair)
            page.did(What.SKIPPED, one.id, f"{one.kind}: {one.gap}")


async def _here(kind: Kind, run: Run, state: State) -> State:
    first, last = walks.horizon(run.ctx.settings, run.until)
    days = (first.isoformat(), last.isoformat()) if kind is Kind.APPOINTMENT else None
    pool = run.ctx.services.pool
    while unmet := await audits.unmet_records(pool, kind, before=run.started_at, above=state["at"] or "", limit=BATCH, days=days):
        state = {**state, "at": unmet[-1].id}
        async with run.page(state) as page:
            asked = [Found(kind, one.id, Gap.NOT_IN_PHOREST, import_of(kind, one.id, branch_id=one.branch_id)) for one in unmet]
            await _note(run, page, asked)
    return state


async def _contacts(run: Run, state: State) -> State:
    ghl = await run.ctx.ghl_for(None)
    while True:
        found = await ghl.search_contacts(search_after=state["at"], page_limit=CONTACTS)
        if found.search_after is None:
            return state
        counts = state["counts"] | {"ghl contacts": state["counts"].get("ghl contacts", 0) + len(found.contacts)}
        state = {**state, "at": list(found.search_after), "counts": counts}
        run.progress(counts["ghl contacts"], found.total)
        async with run.page(state) as page:
            await audits.met_links(page.connection, PEOPLE, [contact.id for contact in found.contacts], destination=ghl.destination)


async def _calendars(run: Run, state: State) -> State:
    ghl, settings = await run.ctx.ghl_for(None), run.ctx.settings
    calendars = sorted({calendar for branch in settings.phorest_zones() if (calendar := settings.phorest_calendar(branch)) is not None})
    windows = [(calendar, window) for calendar in calendars for window in months(*walks.horizon(settings, run.until))]
    for n, (calendar_id, (first, last)) in list(enumerate(windows))[state["at"] or 0 :]:
        begins, ends = (datetime.combine(day, time(), UTC) for day in (first - timedelta(days=1), last + timedelta(days=2)))
        shown = await ghl.list_appointments(calendar_id, begins, ends)
        counts = state["counts"] | {"ghl appointments": state["counts"].get("ghl appointments", 0) + _within(shown, first, last)}
        state = {**state, "at": n + 1, "counts": counts}
        run.progress(n + 1, len(windows))
        async with run.page(state) as page:
            await audits.met_links(page.connection, [Kind.APPOINTMENT], [one.id for one in shown], destination=ghl.destination)
    return state


def _within(shown: Sequence[GhlAppointment], first: date, last: date) -> int:
    """How many of these lie in the window itself: at its edges two windows show the same."""
    return sum(one.starts_at is not None and first <= one.starts_at.date() <= last for one in shown)


async def _links(kind: Kind, run: Run, state: State) -> State:
    """What GHL's lists did not show is asked for by its id. Contacts are made anew; a visit may be gone on purpose."""
    ghl, pool = await run.ctx.ghl_for(None), run.ctx.services.pool
    before = run.started_at - SETTLES
    while unmet := await audits.unmet_links(pool, kind, before=run.started_at, linked_before=before, above=state["at"] or "", limit=ASKED):
        gone = [ours for ours, theirs in unmet if await _is_gone(ghl, kind, theirs)]
        state = {**state, "at": unmet[-1][0]}
        async with run.page(state) as page:
            for ours in gone if kind in PEOPLE else ():
                await links.forget(page.connection, kind.link, ours)
            await _note(run, page, [Found(kind, ours, Gap.NOT_IN_GHL, event_for(kind, ours) if kind in PEOPLE else None) for ours in gone])
    return state


async def _is_gone(ghl: GhlClient, kind: Kind, theirs: str) -> bool:
    try:
        await (ghl.get_contact(theirs) if kind in PEOPLE else ghl.get_appointment(theirs))
    except Gone:
        return True
    return False


async def _unsent(kind: Kind, run: Run, state: State) -> State:
    before = run.started_at - SETTLES
    while found := await audits.unsent(run.ctx.services.pool, run.id, kind, before=before, above=state["at"] or "", limit=BATCH):
        state = {**state, "at": found[-1][0]}
        async with run.page(state) as page:
            await _note(run, page, [Found(kind, one, gap, event_for(kind, one)) for one, gap in found])
    return state


PHOREST_AUDIT: Final = Sync(
    name="phorest-audit",
    run=audit,
    types=(RunType.FULL,),
    destination="phorest",
    schedules={RunType.FULL: Default(Cron("0 1 * * *"), CatchUp.SKIP)},
    off=off,
    waits_for_tick=True,  # there is nothing to compare yet
)
