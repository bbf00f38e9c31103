"""Phase one of a single client or appointment: fetched from Phorest, kept, and sent on to GHL, whether or not it changed.

What a repair, the audit and a person who asks for one record stage. The syncs import page by page, in dispatcher/syncs.
"""

from pydantic import BaseModel

from dispatcher.context import Context
from dispatcher.errors import Gone, Refused
from dispatcher.handlers import phorest_reading as reading
from dispatcher.outcome import Done, Outcome, Settled, Skipped
from outbox.event import Claimed
from outbox.store import phorest, phorest_repairs
from outbox.store.phorest import Kind, PhorestRecord, event_for


class Named(BaseModel):
    """Payload of phorest.client.import and phorest.appointment.import; an appointment has a branch."""

    id: str
    branch_id: str | None = None


async def import_client(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Fetch one client and have GHL brought to it. One that Phorest does not have, or will not show, ends the waiting for it."""
    wanted = Named.model_validate_json(event.payload)
    try:
        record = reading.client(await ctx.phorest.client(wanted.id))
    except Gone:
        record = None
    except Refused as problem:
        async with ctx.transaction() as tx:
            await phorest_repairs.refuse(tx.connection, wanted.id, _refusal(problem))
            return await tx.settle(Skipped(_refusal(problem)))
    if record is None or record.id != wanted.id:
        async with ctx.transaction() as tx:
            await phorest.gone(tx.connection, Kind.CLIENT, wanted.id)
            await phorest_repairs.refuse(tx.connection, wanted.id, "Phorest has no such client")
            return await tx.settle(Skipped("Phorest has no such client"))
    return await _keep(ctx, record)


async def import_appointment(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Fetch one appointment and have GHL brought to it. One that Phorest does not have is deleted, and cancelled at GHL."""
    wanted = Named.model_validate_json(event.payload)
    known = await phorest.one(ctx.services.pool, Kind.APPOINTMENT, wanted.id)
    branch_id = wanted.branch_id or (known["branch_id"] if known is not None else None)
    if branch_id is None:
        return Skipped("which branch the appointment is of is not known: name it")
    try:
        record = reading.appointment(await ctx.phorest.appointment(branch_id, wanted.id), branch_id)
    except Gone:
        record = None
    except Refused as problem:
        return Skipped(_refusal(problem))
    if record is None or record.id != wanted.id:
        return Skipped("Phorest does not show such an appointment; what we have of it is kept")
    return await _keep(ctx, record)


def _refusal(problem: Refused) -> str:
    return f"Phorest refuses it ({problem.status}): {problem.message}"


async def _keep(ctx: Context, record: PhorestRecord) -> Settled:
    async with ctx.transaction() as tx:
        imported = await phorest.apply(tx.connection, record.kind, [record])
        event_id = await tx.stage(event_for(record.kind, record.id))
        if record.kind is Kind.CLIENT:
            await phorest_repairs.follow(tx.connection, record.id, event_id)
        how = "created" if imported.created else "updated" if imported.updated else "unchanged"
        return await tx.settle(Done({record.kind.value: how}))
