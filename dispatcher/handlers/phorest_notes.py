"""Phorest's check-ins and bookings → notes of the GHL contact. A check-in is noted once; a booking's note is kept as it is."""

from dispatcher.clients.ghl import GhlClient
from dispatcher.context import Context
from dispatcher.errors import Gone
from dispatcher.handlers import phorest_mapping as mapping
from dispatcher.handlers.appointments import find_note, write_note
from dispatcher.handlers.phorest_sending import Row, Sender, Sent, contact_of, default_ghl
from dispatcher.outcome import Outcome, Skipped
from outbox.event import Claimed
from outbox.store.phorest import Kind


async def _send_checkin(event: Claimed, ctx: Context, row: Row) -> Sent | Outcome:
    return await _send(event, ctx, row, mapping.checkin_note(row.original))


async def _send_booking(event: Claimed, ctx: Context, row: Row) -> Sent | Outcome:
    if row.theirs is None and row.deleted:
        return Skipped("deleted in Phorest before it was in GHL")
    return await _send(event, ctx, row, mapping.booking_note(row.original))


async def _send(event: Claimed, ctx: Context, row: Row, words: str) -> Sent | Outcome:
    """`theirs` of a note is contact/note: GHL wants both."""
    ghl = await default_ghl(ctx)
    if row.theirs is not None:
        known_contact, _, note_id = row.theirs.partition("/")
        try:
            await ctx.step("note", lambda: _rewrite(ghl, known_contact, note_id, words), repeatable=True)
        except Gone:
            return Skipped("its note was deleted in GHL, and is left so")
        return Sent(row.theirs, ghl.destination, {"note": "updated"})
    contact_id = await contact_of(event, ctx, row)
    if not isinstance(contact_id, str):
        return contact_id
    marker = ctx.marker("note")
    note_id = await ctx.step(
        "note", lambda: write_note(ghl, contact_id, f"{words}\n\n{marker}"), find=lambda: find_note(ghl, contact_id, marker)
    )
    return Sent(f"{contact_id}/{note_id}", ghl.destination, {"note": "created"}, made=True)


async def _rewrite(ghl: GhlClient, contact_id: str, note_id: str, words: str) -> str:
    return (await ghl.update_note(contact_id, note_id, words)).id


send_checkin = Sender(Kind.CHECKIN, _send_checkin)
send_booking = Sender(Kind.BOOKING, _send_booking)
