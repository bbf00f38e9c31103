"""Phorest's appointments → events of a GHL calendar: booked once, then moved, confirmed and cancelled as Phorest says.

Phorest is believed: GHL is asked for no free slot and tells nobody. What GHL shows after a write is noted down in crm.appointments, so
that its webhook is known as an echo. A booking whose answer was lost is found by our mark in its description.
"""

import re
from datetime import datetime, timedelta
from typing import Final

from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_models import AppointmentStatus, AppointmentWrite
from dispatcher.context import Context
from dispatcher.errors import Gone, Refused
from dispatcher.handlers import ghl_appointments
from dispatcher.handlers import phorest_mapping as mapping
from dispatcher.handlers.phorest_sending import NOT_SET_UP, Row, Sender, Sent, contact_of, default_ghl
from dispatcher.outcome import Outcome, Skipped
from outbox.event import Claimed
from outbox.store.phorest import Kind

AROUND: Final = timedelta(days=1)


async def _send(event: Claimed, ctx: Context, row: Row) -> Sent | Outcome:
    zone = ctx.settings.phorest_zones().get(row.branch_id or "")
    calendar_id = ctx.settings.phorest_calendar(row.branch_id or "")
    if zone is None or calendar_id is None:
        lacks = "is not in PHOREST_BRANCHES" if zone is None else "has no calendar"
        return Skipped(f"{NOT_SET_UP}branch {row.branch_id} {lacks}")
    times = mapping.times_of(row.original, zone)
    if times is None:
        return Skipped("validation warning: missing appointmentDate or startTime")
    if row.theirs is None and mapping.status_of(row.original) is AppointmentStatus.CANCELLED:
        return Skipped("cancelled before it was in GHL")
    contact_id = await contact_of(event, ctx, row)
    if not isinstance(contact_id, str):
        return contact_id
    ghl, write = await default_ghl(ctx), mapping.event(row.id, row.original, calendar_id=calendar_id, times=times)
    theirs, known_contact = row.theirs, contact_id
    try:
        if theirs is None:
            theirs = await ctx.step(
                "booking", lambda: _book(ghl, known_contact, write), find=lambda: _find(ghl, calendar_id, row.id, times[0])
            )
            done = "booked"
        else:
            known = theirs
            theirs = await ctx.step("update", lambda: _update(ghl, known, write), repeatable=True)
            done = "updated"
        shown = await ghl.get_appointment(theirs)
    except Gone:
        if theirs is None:
            raise
        return Skipped("deleted in GHL, and left so")
    state = ghl_appointments.state_of(shown, fallback_at=event.staged_at)
    their_hash = None if state is None else state.digest()
    return Sent(theirs, ghl.destination, {"calendar": done}, made=done == "booked", their_hash=their_hash, appointment=state)


async def _book(ghl: GhlClient, contact_id: str, write: AppointmentWrite) -> str:
    try:
        return (await ghl.create_appointment(contact_id, write)).id
    except Gone as problem:
        if "calendar" in problem.message.lower():
            raise Refused(ghl.destination, problem.message, status=problem.status, details=problem.details) from None
        raise


async def _update(ghl: GhlClient, ghl_id: str, write: AppointmentWrite) -> str:
    await ghl.update_appointment(ghl_id, write)
    return ghl_id


async def _find(ghl: GhlClient, calendar_id: str, identifier: str, at: datetime) -> str | None:
    mark = re.compile(re.escape(mapping.mark_of(identifier)) + r"(?![\w.~%-])")
    shown = await ghl.list_appointments(calendar_id, at - AROUND, at + AROUND)
    return next((one.id for one in shown if mark.search(f"{one.description or ''}\n{one.notes or ''}")), None)


send_appointment = Sender(Kind.APPOINTMENT, _send)
