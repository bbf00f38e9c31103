"""GHL contact events → crm.leads. The webhook is a hint: the contact is fetched, and applied only if it is newer."""

from dispatcher.clients.ghl_models import GhlContact
from dispatcher.context import Context
from dispatcher.errors import Gone
from dispatcher.outcome import Done, Outcome, Settled, Skipped
from outbox.event import Claimed
from outbox.store import leads
from outbox.store.leads import Lead

LANE = "ghl:contact:"


async def refresh_lead(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Bring the lead of this contact to what GHL says now; a contact that GHL no longer has is marked as deleted."""
    if event.lane is None or not event.lane.startswith(LANE):
        return Skipped("the event names no contact")
    contact_id = event.lane.removeprefix(LANE)
    try:
        contact = await ctx.ghl.get_contact(contact_id)
    except Gone:
        async with ctx.transaction() as tx:
            deleted = await leads.mark_deleted(tx.connection, contact_id)
            return await tx.settle(Done({"lead": "deleted"}) if deleted else Skipped("the contact is gone from GHL and was no lead here"))
    async with ctx.transaction() as tx:
        created = await leads.apply(tx.connection, lead_of(contact, fallback=event))
        if created is None:
            return await tx.settle(Skipped("the lead is as new as GHL's contact"))
        return await tx.settle(Done({"lead": "created" if created else "updated"}))


def lead_of(contact: GhlContact, *, fallback: Claimed) -> Lead:
    """The lead that a contact is. A contact that states no time of change counts as changed when its event was staged."""
    return Lead(
        ghl_contact_id=contact.id,
        changed_at=contact.date_updated or contact.date_added or fallback.staged_at,
        location_id=contact.location_id,
        first_name=_text(contact.first_name),
        last_name=_text(contact.last_name),
        email=_text(contact.email),
        phone=_text(contact.phone),
        company=_text(contact.company_name),
        source=_text(contact.source),
        tags=tuple(clean for tag in contact.tags if (clean := _text(tag))),
        custom_fields={field.id: field.value for field in contact.custom_fields},
        added_at=contact.date_added,
    )


def _text(value: str | None) -> str | None:
    """Without NUL, which Postgres cannot keep in a text."""
    return value.replace("\x00", "") if value else None
