"""A rollback, one thing at a time: deletes at GHL what we made for a record of Phorest, and ends its link. What we found there stays."""

from typing import assert_never

from pydantic import BaseModel

from dispatcher.clients.ghl import GhlClient
from dispatcher.context import Context
from dispatcher.errors import Gone
from dispatcher.outcome import Done, Outcome, Settled, Skipped
from outbox.event import Claimed
from outbox.store import links, phorest_rollback
from outbox.store.phorest import Kind


class Undo(BaseModel):
    """Payload of phorest.undo: a record, and what it was called at GHL when the rollback was asked for.

    `stopped_before`: so many rollbacks had been stopped by then. When it is one more, this one was.
    """

    kind: Kind
    id: str
    theirs: str
    stopped_before: int = 0


async def undo(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Delete it, unless the link has ended or changed since, or names what we did not make."""
    told = Undo.model_validate_json(event.payload)
    link = await links.made_one(ctx.services.pool, told.kind.link, told.id)
    if link is None or link.theirs != told.theirs:
        return Skipped("not made by us, or undone already")
    if await phorest_rollback.stops(ctx.services.pool) > told.stopped_before:
        return Skipped("the rollback was stopped")
    ghl = await ctx.ghl_for(None)
    try:
        await ctx.step("delete", lambda: _delete(ghl, told.kind, told.theirs), repeatable=True)
        was = "deleted"
    except Gone:
        was = "gone already"
    async with ctx.transaction() as tx:
        await links.forget(tx.connection, told.kind.link, told.id)
        return await tx.settle(Done({told.kind.value: was}))


async def _delete(ghl: GhlClient, kind: Kind, theirs: str) -> None:
    match kind:
        case Kind.CLIENT | Kind.STAFF:
            await ghl.delete_contact(theirs)
        case Kind.APPOINTMENT:
            await ghl.delete_appointment(theirs)
        case Kind.BOOKING | Kind.CHECKIN:
            contact_id, _, note_id = theirs.partition("/")
            await ghl.delete_note(contact_id, note_id)
        case Kind.PRODUCT:
            await ghl.delete_tag(theirs)
        case Kind.LOYALTY:
            return  # a field of a contact is nothing that was made
        case _:
            assert_never(kind)
