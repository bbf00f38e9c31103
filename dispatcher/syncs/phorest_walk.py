"""Walks over Phorest's pages: where a walk stands, what comes next, and what a page brings to crm.phorest_* and on its way to GHL.

Phorest counts pages of something that changes meanwhile: rows move from page to page. So a walk whose total changed on its way goes
over that leg once more, a few times at most; what it meets twice costs nothing, for only what differs is written.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from dispatcher.clients.answer import Json, text
from dispatcher.clients.phorest import PhorestClient
from dispatcher.clients.phorest_pages import Page as Found
from dispatcher.clients.phorest_pages import months
from dispatcher.config import DispatcherSettings
from dispatcher.handlers import phorest_reading as reading
from dispatcher.syncs.run import Page, Run
from outbox.store import events, phorest
from outbox.store.events import Arrival
from outbox.store.phorest import SOURCE, Kind, PhorestRecord, kind_of
from outbox.store.runs import Category, What

MOST_ROUNDS: Final = 3
BULK: Final = 1

Read = Callable[[Sequence[Mapping[str, Json]]], list[PhorestRecord]]


@dataclass(frozen=True, slots=True)
class Leg:
    """A list that is read to its end: how to ask for a page of it, what its rows are, and what their id is called. `name`: for people."""

    name: str
    id_name: str
    fetch: Callable[[int], Awaitable[Found]]
    read: Read


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk stands: the next page of a leg. `total`: what the leg counted at its beginning; `moved`: it counted otherwise later."""

    leg: int = 0
    page: int = 0
    total: int | None = None
    moved: bool = False
    round: int = 1
    done: int = 0

    @classmethod
    def of(cls, checkpoint: Any) -> "Place":
        """From what a page left; None: the beginning."""
        return cls(**checkpoint) if checkpoint else cls()

    def json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def behind(self, found: Found) -> "Place":
        """The place after this page of the leg."""
        moved = self.moved or (self.total is not None and found.total != self.total)
        done = self.done + (len(found.rows) if self.round == 1 else 0)
        if not found.is_last:
            return replace(self, page=self.page + 1, total=self.total if self.total is not None else found.total, moved=moved, done=done)
        if moved and self.round < MOST_ROUNDS:
            return Place(self.leg, round=self.round + 1, done=done)
        return Place(self.leg + 1, done=done)


Keep = Callable[[Page, list[PhorestRecord]], Awaitable[None]]


async def walk(run: Run, legs: Sequence[Leg], keep: Keep) -> None:
    """Page after page, each one transaction; goes on where an interrupted run stood."""
    at = Place.of(run.checkpoint)
    while at.leg < len(legs):
        leg = legs[at.leg]
        run.phase(leg.name)
        found = await leg.fetch(at.page)
        records, at = leg.read(found.rows), at.behind(found)
        run.progress(at.done)
        async with run.page(at.json()) as page:
            await keep(page, records)
            for _ in (row for row in found.rows if not text(row.get(leg.id_name))):
                page.error(Category.VALIDATION, None, f"a record without {leg.id_name}")


async def import_records(page: Page, records: list[PhorestRecord]) -> None:
    """What a page brought, kept where it is new; what changed is staged for phase two, as bulk work."""
    for kind in Kind:
        of_kind = [record for record in records if record.kind is kind]
        if of_kind:
            await _import(page, kind, of_kind)


async def import_bookings(page: Page, records: list[PhorestRecord]) -> None:
    """As import_records, and the bookings that these appointments belong to, as all of their appointments say."""
    await import_records(page, records)
    touched = sorted({record.booking_id for record in records if record.booking_id is not None})
    visits: dict[str, list[dict[str, Any]]] = {booking: [] for booking in touched}
    for row in await phorest.of_booking(page.connection, touched) if touched else []:
        visits[row["booking_id"]].append({**dict(row), "original": json.loads(row["original"])})
    bookings = [reading.booking(booking, found) for booking, found in visits.items() if found]
    if bookings:
        await _import(page, Kind.BOOKING, bookings)


async def _import(page: Page, kind: Kind, records: list[PhorestRecord]) -> None:
    imported = await phorest.apply(page.connection, kind, records)
    for what, ids in ((What.CREATED, imported.created), (What.UPDATED, imported.updated)):
        for identifier in ids:
            page.did(what, identifier)
    page.count(unchanged=len({record.id for record in records}) - len(imported.changed))
    await stage_bulk(page, [(kind, identifier) for identifier in imported.changed])


async def stage_bulk(page: Page, records: Iterable[tuple[Kind, str]]) -> None:
    """Phase two of these, behind all live work."""
    arrivals = [
        Arrival(SOURCE, kind_of(kind), None, kind.lane(identifier), json.dumps({"id": identifier}).encode(), urgency=BULK)
        for kind, identifier in records
    ]
    if arrivals:
        await events.stage_many(page.connection, arrivals)


# ── legs


def client_legs(
    phorest_api: PhorestClient, *, since: datetime | None, read: Callable[[Mapping[str, Json]], PhorestRecord | None]
) -> list[Leg]:
    """All clients, or those that changed since."""

    async def fetch(number: int) -> Found:
        return await phorest_api.clients(number, updated_after=since)

    return [Leg("clients", "clientId", fetch, lambda rows: [record for row in rows if (record := read(row)) is not None])]


def appointment_legs(
    phorest_api: PhorestClient, settings: DispatcherSettings, first: date, last: date, *, since: datetime | None, checkins: bool = False
) -> list[Leg]:
    """The appointments on these days, a leg for each branch and month. `checkins`: also that their clients have come."""

    def leg(branch_id: str, window: tuple[date, date]) -> Leg:
        async def fetch(number: int) -> Found:
            return await phorest_api.appointments(branch_id, *window, number, updated_from=since)

        def read(rows: Sequence[Mapping[str, Json]]) -> list[PhorestRecord]:
            visits = [visit for row in rows if (visit := reading.appointment(row, branch_id)) is not None]
            arrived = [come for visit in visits if (come := reading.checkin(visit)) is not None] if checkins else []
            return visits + arrived

        return Leg(f"{window[0]:%Y-%m}", "appointmentId", fetch, read)

    return [leg(branch_id, window) for branch_id in settings.phorest_zones() for window in months(first, last)]


def branch_legs(
    settings: DispatcherSettings,
    name: str,
    id_name: str,
    fetch: Callable[[str, int], Awaitable[Found]],
    read: Callable[[Mapping[str, Json], str], PhorestRecord | None],
) -> list[Leg]:
    """A list that each branch has."""

    def leg(branch_id: str) -> Leg:
        async def fetch_one(number: int) -> Found:
            return await fetch(branch_id, number)

        return Leg(name, id_name, fetch_one, lambda rows: [record for row in rows if (record := read(row, branch_id)) is not None])

    return [leg(branch_id) for branch_id in settings.phorest_zones()]


def horizon(settings: DispatcherSettings, at: datetime, *, wider: int = 1) -> tuple[date, date]:
    """The days whose appointments are kept in step, as seen at a moment."""
    day = at.date()
    return day - timedelta(days=settings.phorest_days_back * wider), day + timedelta(days=settings.phorest_days_ahead * wider)
