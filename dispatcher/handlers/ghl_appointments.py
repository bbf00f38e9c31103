"""GHL appointment events → crm.appointments. The webhook is a hint: the appointment is fetched, and applied if it is newer and no echo.

Stages nothing: what a calendar of GHL says is not said back to GHL.
"""

import re
from datetime import datetime, timedelta
from typing import Final, assert_never

from dispatcher.clients import ghl_models
from dispatcher.clients.accounts import location_of
from dispatcher.clients.ghl import GhlClient
from dispatcher.context import Context
from dispatcher.errors import Gone
from dispatcher.outcome import Done, Outcome, Settled, Skipped
from outbox.event import Claimed
from outbox.kinds import AppointmentStatus
from outbox.store import contacts, ghl_appointments
from outbox.store.ghl_appointments import Applied, GhlAppointment, How

LANE: Final = "ghl:appointment:"
DELETED: Final = "ghl.AppointmentDelete"
# Of a visit whose end GHL does not say, or says to be its beginning.
SHORTEST: Final = timedelta(minutes=30)
# Our mark in an appointment's description, by which a booking whose answer was lost is found again.
MARK: Final = "postroom:appointment/"

_MARKED: Final = re.compile(re.escape(MARK) + r"[\w.~%-]*")
_OURS: Final = {
    "new": AppointmentStatus.SCHEDULED,
    "confirmed": AppointmentStatus.CONFIRMED,
    "active": AppointmentStatus.CONFIRMED,
    "cancelled": AppointmentStatus.CANCELLED,
    "noshow": AppointmentStatus.CANCELLED,
    "invalid": AppointmentStatus.CANCELLED,
    "showed": AppointmentStatus.COMPLETED,
    "completed": AppointmentStatus.COMPLETED,
}


async def refresh_appointment(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Bring our row of this appointment to what GHL says now; one that was deleted there is cancelled here."""
    if event.lane is None or not event.lane.startswith(LANE):
        return Skipped("the event names no appointment")
    ghl_id = event.lane.removeprefix(LANE)
    ghl = await ctx.ghl_for(location_of(event))
    shown = await fetched(ghl, ghl_id)
    # An id is never used again: whatever a replica still shows, a deletion is the last word.
    if shown is None or event.kind == DELETED:
        return await _gone(ctx, ghl_id)
    theirs = state_of(shown, fallback_at=event.staged_at)
    if theirs is None:
        return Skipped("GHL does not say when the appointment is")
    async with ctx.transaction() as tx:
        applied = await ghl_appointments.apply(tx.connection, theirs)
        match applied.how:
            case How.CREATED | How.UPDATED:
                if theirs.status == AppointmentStatus.COMPLETED and applied.kept_status is None and theirs.contact_id is not None:
                    await contacts.mark_customer(tx.connection, theirs.contact_id, theirs.starts_at)
                return await tx.settle(Done(_record(applied)))
            case How.ECHO:
                return await tx.settle(Skipped(f"echo of #{applied.echo_of}"))
            case How.UNCHANGED:
                return await tx.settle(Skipped("the appointment is as new as GHL's"))
            case _:
                assert_never(applied.how)


async def fetched(ghl: GhlClient, ghl_id: str) -> ghl_models.GhlAppointment | None:
    """The appointment as GHL shows it now; None: it was deleted."""
    try:
        return await ghl.get_appointment(ghl_id)
    except Gone:
        return None


def state_of(shown: ghl_models.GhlAppointment, *, fallback_at: datetime) -> GhlAppointment | None:
    """The state that a fetched appointment is in; None: it has no time.

    One that states no time of change counts as changed at `fallback_at`. GHL does not know our resources: one new to us takes up nobody.
    """
    if shown.starts_at is None:
        return None
    ends_at = shown.ends_at
    if ends_at is None or ends_at <= shown.starts_at:
        ends_at = shown.starts_at + SHORTEST
    return GhlAppointment(
        shown.id,
        status=_OURS.get(shown.status or "", AppointmentStatus.SCHEDULED),
        starts_at=shown.starts_at,
        ends_at=ends_at,
        changed_at=shown.date_updated or shown.date_added or fallback_at,
        ghl_status=shown.status,
        location_id=shown.location_id,
        calendar_id=shown.calendar_id,
        contact_id=shown.contact_id or None,
        title=shown.title or None,
        notes=without_mark(shown.description) or shown.notes or None,
    )


def without_mark(description: str | None) -> str:
    """What people wrote: the description without our mark."""
    return _MARKED.sub("", description or "").strip()


async def _gone(ctx: Context, ghl_id: str) -> Settled:
    async with ctx.transaction() as tx:
        row = await ghl_appointments.gone(tx.connection, ghl_id)
        if row is None:
            return await tx.settle(Skipped("the appointment is gone from GHL and was not known here"))
        return await tx.settle(Done({"appointment": "deleted", "status": row["status"]}))


def _record(applied: Applied) -> dict[str, object]:
    """What the timeline keeps."""
    record: dict[str, object] = {"appointment": applied.how.value, "id": str(applied.appointment_id)}
    if applied.kept_status is not None:
        record["keptStatus"] = applied.kept_status.value
    if applied.in_the_way is not None:
        record["inTheWay"] = str(applied.in_the_way)
    return record
