"""appointment.resync: what GHL has of one of our appointments is compared with our row as it is now, and put right where it differs.

Writes no note and no task: those tell of a change, and nothing changes here. Whatever is written may be written again, and a step is
named by what it writes, for a later attempt may find other differences. In GHL's calendar whoever changed the appointment last is right,
and what is over is not booked any more.
"""

from typing import Final

from dispatcher.clients.accounts import location_of
from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_models import ContactWrite
from dispatcher.context import Context
from dispatcher.handlers import calendar, ghl_appointments, ghl_contacts
from dispatcher.handlers.appointments import NEXT_FIELD, STATUS_FIELD
from dispatcher.outcome import Done, Outcome, Settled, Skipped
from outbox import kinds
from outbox.db import Record
from outbox.event import Claimed
from outbox.kinds import Appointment, AppointmentChange, AppointmentStatus
from outbox.store import appointments, contacts
from outbox.store.contacts import Contact
from outbox.store.ghl_appointments import GhlAppointment, How
from outbox.store.ghl_appointments import apply as apply_theirs

TAG: Final = "appointment-"


async def resync(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Bring the contact's tags and fields, and the booking, to our row's present state."""
    own = calendar.own_id(AppointmentChange.model_validate_json(event.payload).appointment.id)
    row = None if own is None else await appointments.one(ctx.services.pool, own)
    if row is None:
        return Skipped("the appointment is not here any more")
    if row["contact_id"] is None:
        return Skipped("no GHL contact is linked to the appointment")
    ghl = await ctx.ghl_for(location_of(event))
    contact = await ghl_contacts.fetched(ghl, row["contact_id"], fallback_at=event.staged_at)
    if contact is None:
        return Skipped("the contact is gone from GHL")
    added, removed = await _tags(ctx, ghl, contact)
    fields = await _fields(ctx, ghl, contact)
    booking = await _booking(event, ctx, ghl, row)
    if not (added or removed or fields or booking):
        return Skipped("GHL is in line")
    shown = await ghl_contacts.fetched(ghl, contact.ghl_contact_id, fallback_at=event.staged_at)
    async with ctx.transaction() as tx:
        if shown is not None and (added or removed or fields):
            await contacts.apply(tx.connection, shown, echo_of=event.id)
        record: dict[str, object] = {"tagsApplied": added, "tagsRemoved": removed, "customFieldsUpdated": fields}
        return await tx.settle(Done(record if booking is None else {**record, "calendar": booking}))


async def _tags(ctx: Context, ghl: GhlClient, contact: Contact) -> tuple[list[str], list[str]]:
    """A tag for each status that one of the contact's appointments has, and none of the others."""
    statuses = await appointments.statuses_of_contact(ctx.services.pool, contact.ghl_contact_id)
    wanted = {TAG + status for status in statuses}
    add = sorted(wanted - set(contact.tags))
    remove = sorted(({TAG + status for status in AppointmentStatus} - wanted) & set(contact.tags))
    if add:
        await ctx.step(f"tags {', '.join(add)}", lambda: _add_tags(ghl, contact.ghl_contact_id, add), repeatable=True)
    if remove:
        await ctx.step(f"old tags {', '.join(remove)}", lambda: _remove_tags(ghl, contact.ghl_contact_id, remove), repeatable=True)
    return add, remove


async def _fields(ctx: Context, ghl: GhlClient, contact: Contact) -> list[str]:
    """The status of what changed last, and the day of what comes next, whichever appointment of the contact is asked about."""
    pool, contact_id = ctx.services.pool, contact.ghl_contact_id
    latest, coming = await appointments.latest_of_contact(pool, contact_id), await appointments.next_of_contact(pool, contact_id)
    status, day = None if latest is None else str(latest["status"]), None if coming is None else coming.date().isoformat()
    wanted = {STATUS_FIELD: status, NEXT_FIELD: day}
    has = contact.custom_fields or {}
    differs = {name: value for name, value in wanted.items() if value is not None and has.get(name) != value}
    write = {name: value for name, value in differs.items() if await ghl.custom_field(name) is not None}
    if write:
        await ctx.step(f"fields {', '.join(write.values())}", lambda: _set_fields(ghl, contact_id, write), repeatable=True)
    return sorted(write)


async def _booking(event: Claimed, ctx: Context, ghl: GhlClient, row: Record) -> str | None:
    """What became of it in GHL's calendar; None: nothing had to be done."""
    change = AppointmentChange(appointment=Appointment.model_validate({**dict(row), "id": str(row["id"])}))
    if row["ghl_appointment_id"] is None:
        is_over = row["status"] in kinds.ENDED or row["starts_at"] <= event.staged_at
        return None if is_over else await calendar.keep(event, ctx, ghl, change, contact_id=row["contact_id"])
    shown = await ghl_appointments.fetched(ghl, row["ghl_appointment_id"])
    theirs = None if shown is None else ghl_appointments.state_of(shown, fallback_at=row["updated_at"])
    if theirs is None or _is_same(row, theirs):
        return None
    if theirs.changed_at <= row["updated_at"]:
        return await calendar.keep(event, ctx, ghl, change, contact_id=row["contact_id"])
    async with ctx.part(is_progress=False) as connection:
        applied = await apply_theirs(connection, theirs)
    return "taken from GHL" if applied.how is How.UPDATED else None


def _is_same(row: Record, theirs: GhlAppointment) -> bool:
    """What an app says and a calendar shows; a member that one of the two does not say is no difference."""
    pairs = [(row[name], getattr(theirs, name)) for name in ("title", "calendar_id") if row[name] and getattr(theirs, name)]
    pairs += [(row[name], getattr(theirs, name)) for name in ("status", "starts_at", "ends_at")]
    return (row["notes"] or "") == (theirs.notes or "") and all(ours == said for ours, said in pairs)


async def _add_tags(ghl: GhlClient, contact_id: str, tags: list[str]) -> list[str]:
    await ghl.add_tags(contact_id, tags)
    return tags


async def _remove_tags(ghl: GhlClient, contact_id: str, tags: list[str]) -> list[str]:
    await ghl.remove_tags(contact_id, tags)
    return tags


async def _set_fields(ghl: GhlClient, contact_id: str, fields: dict[str, str]) -> list[str]:
    await ghl.update_contact(contact_id, ContactWrite(custom_fields=fields))
    return sorted(fields)
