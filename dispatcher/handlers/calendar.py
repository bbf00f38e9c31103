"""An app's appointments in GHL's calendar: booked once, then told what changes.

GHL's id stands in our row, or as a link for an app's own table. The app decides what is booked: GHL is not asked for a free slot.
What GHL shows after a write is noted down, so that its webhook is known as an echo. A booking is found again by the contact, the
time, and our mark in its description.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_models import AppointmentStatus, AppointmentWrite, GhlAppointment
from dispatcher.context import Context
from dispatcher.errors import Gone, Refused
from dispatcher.handlers.ghl_appointments import MARK, fetched, state_of
from outbox import db, kinds
from outbox.event import Claimed
from outbox.kinds import Appointment, AppointmentChange
from outbox.store import appointments, ghl_appointments, links

LINK: Final = "appointment"
AROUND: Final = timedelta(days=1)  # a booking whose answer was lost is looked for that long before and after its time
CREATED: Final = "appointment.created"
WHOLE: Final = frozenset({CREATED, "appointment.updated", kinds.RESYNC})  # without a state before, these may have changed anything
SHARED: Final = ("status", "starts_at", "ends_at", "title", "notes", "calendar_id")  # what an app says and a calendar shows

_THEIRS: Final[dict[str, AppointmentStatus]] = {
    kinds.AppointmentStatus.SCHEDULED: AppointmentStatus.NEW,
    kinds.AppointmentStatus.CONFIRMED: AppointmentStatus.CONFIRMED,
    kinds.AppointmentStatus.CANCELLED: AppointmentStatus.CANCELLED,
    kinds.AppointmentStatus.COMPLETED: AppointmentStatus.SHOWED,
}


async def keep(event: Claimed, ctx: Context, ghl: GhlClient, change: AppointmentChange, *, contact_id: str) -> str | None:
    """Book the appointment or change its booking, as a step. Returns what became of it; None: it is in no calendar of GHL."""
    appointment = change.appointment
    calendar_id, starts_at = _calendar_of(appointment, ctx), in_utc(appointment.starts_at)

    async def find() -> str | None:
        return None if calendar_id is None else await _find(ghl, calendar_id, change, contact_id)

    known = await _known(ctx, appointment.id)
    if known is None and event.kind != CREATED:
        known = await find()  # a booking whose event died before it could be noted down
    if known is not None:
        write = _changes(event.kind, change)
        if not write.model_fields_set:
            return "unchanged"
        try:
            ghl_id = await ctx.step("calendar", lambda: _update(ghl, known, write), repeatable=True)
        except Gone:
            return "gone"  # its webhook tells the rest
        done = "booked" if event.kind == CREATED else "updated"  # booked by an earlier run of this event
    elif calendar_id is not None and starts_at is not None and appointment.status not in kinds.ENDED:
        booking = _booking(appointment, calendar_id, starts_at)
        ghl_id = await ctx.step("calendar", lambda: _book(ghl, contact_id, booking), find=find)
        done = "booked"
    else:
        return None
    await _remember(event, ctx, ghl, appointment.id, ghl_id)
    return done


def in_utc(at: datetime | None) -> datetime | None:
    """A time without a zone, as apps keep them in a plain timestamp column, is UTC."""
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def _calendar_of(appointment: Appointment, ctx: Context) -> str | None:
    """The one it names, or the default one; that one is of the default location."""
    settings = ctx.settings
    is_default = appointment.location_id in (None, settings.ghl_location_id)
    return appointment.calendar_id or (settings.ghl_default_calendar_id if is_default else None)


def _mark(appointment: Appointment) -> str:
    return MARK + quote(appointment.id, safe="")


def _booking(appointment: Appointment, calendar_id: str, starts_at: datetime) -> AppointmentWrite:
    said = _said(appointment, {name for name in ("status", "ends_at", "title") if getattr(appointment, name)})
    return AppointmentWrite(
        **{"status": AppointmentStatus.NEW, **said},
        calendar_id=calendar_id,
        starts_at=starts_at,
        description=_description(appointment),
        ignore_free_slot_validation=True,
    )


def _changes(kind: str, change: AppointmentChange) -> AppointmentWrite:
    """What GHL has to be told: what differs from before, so that what was moved over there is not moved back without need."""
    now, was = change.appointment, change.previous
    if was is not None:
        names = {name for name in SHARED if getattr(now, name) != getattr(was, name)}
    else:
        names = set(SHARED) if kind in WHOLE else set()
    if kind not in WHOLE:
        names.add("status")
    said = _said(now, {name for name in names if getattr(now, name) is not None or name == "notes"})
    if "notes" in names:
        said["description"] = _description(now)
    if "starts_at" in said or "ends_at" in said:
        said["ignore_free_slot_validation"] = True
    return AppointmentWrite(**said)


def _said(appointment: Appointment, names: set[str]) -> dict[str, Any]:
    """These members in GHL's words. A status that GHL has no word for is not told."""
    said: dict[str, Any] = {name: getattr(appointment, name) for name in names & {"title", "calendar_id"}}
    said |= {name: in_utc(getattr(appointment, name)) for name in names & {"starts_at", "ends_at"}}
    if "status" in names and appointment.status in _THEIRS:
        said["status"] = _THEIRS[appointment.status]
    return said


def _description(appointment: Appointment) -> str:
    return f"{appointment.notes or ''}\n\n{_mark(appointment)}".lstrip()


async def _book(ghl: GhlClient, contact_id: str, booking: AppointmentWrite) -> str:
    try:
        return (await ghl.create_appointment(contact_id, booking)).id
    except Gone as problem:  # the contact took a note just now, so it is the calendar
        raise Refused(ghl.destination, problem.message, status=problem.status, details=(f"calendar {booking.calendar_id}",)) from None


async def _update(ghl: GhlClient, ghl_id: str, write: AppointmentWrite) -> str:
    await ghl.update_appointment(ghl_id, write)
    return ghl_id


async def _find(ghl: GhlClient, calendar_id: str, change: AppointmentChange, contact_id: str) -> str | None:
    """The booking of this appointment at its time, or at the time before."""
    mark = re.compile(re.escape(_mark(change.appointment)) + r"(?![\w.~%-])")

    def is_it(one: GhlAppointment) -> bool:
        return one.contact_id == contact_id and mark.search(f"{one.description or ''}\n{one.notes or ''}") is not None

    times = [in_utc(state.starts_at) for state in (change.appointment, change.previous) if state is not None]
    for at in dict.fromkeys(at for at in times if at is not None):
        found = next((one.id for one in await ghl.list_appointments(calendar_id, at - AROUND, at + AROUND) if is_it(one)), None)
        if found is not None:
            return found
    return None


async def _known(ctx: Context, appointment_id: str) -> str | None:
    """GHL's id of it, as far as we were told."""
    own = own_id(appointment_id)
    row = None if own is None else await appointments.one(ctx.services.pool, own)
    if row is not None and row["ghl_appointment_id"] is not None:
        return str(row["ghl_appointment_id"])
    link = await links.theirs(ctx.services.pool, LINK, appointment_id)
    return None if link is None else link.theirs


async def _remember(event: Claimed, ctx: Context, ghl: GhlClient, appointment_id: str, ghl_id: str) -> None:
    """Note down what GHL shows now as our own writing. At once: whatever fails after it, the next event knows the booking."""
    shown = await fetched(ghl, ghl_id)
    theirs = None if shown is None else state_of(shown, fallback_at=event.staged_at)
    if theirs is None:
        return
    own = own_id(appointment_id)
    async with db.transaction(ctx.services.pool) as connection:
        if own is not None and await ghl_appointments.answered(connection, own, theirs, echo_of=event.id):
            return
        await links.put(connection, LINK, ours=appointment_id, theirs=ghl_id, destination=ghl.destination)
        mirrored = await ghl_appointments.apply(connection, theirs)
        await ghl_appointments.answered(connection, mirrored.appointment_id, theirs, echo_of=event.id)


def own_id(appointment_id: str) -> UUID | None:
    """The id of a row of ours; None: it can be none."""
    try:
        return UUID(appointment_id)
    except ValueError:
        return None
