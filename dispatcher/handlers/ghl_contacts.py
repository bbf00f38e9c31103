"""GHL contact events → crm.contacts. The webhook is a hint: the contact is fetched, and applied if it is newer and no echo."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, assert_never

from dispatcher.clients.accounts import location_of
from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_models import GhlContact
from dispatcher.context import Context
from dispatcher.errors import Forbidden, Gone
from dispatcher.outcome import Done, Outcome, Settled, Skipped
from outbox.event import Claimed
from outbox.log import get_logger
from outbox.store import contacts
from outbox.store.contacts import Contact
from outbox.store.ghl_appointments import How

log = get_logger(__name__)
LANE: Final = "ghl:contact:"
OF_CONTACTS: Final = "contact."  # how GHL begins the key of a contact's field


async def refresh_contact(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Bring our row of this contact to what GHL says now; a contact that GHL no longer has is marked as deleted."""
    if event.lane is None or not event.lane.startswith(LANE):
        return Skipped("the event names no contact")
    contact_id = event.lane.removeprefix(LANE)
    ghl = await ctx.ghl_for(location_of(event))
    contact = await fetched(ghl, contact_id, fallback_at=event.staged_at)
    async with ctx.transaction() as tx:
        if contact is None:
            deleted = await contacts.mark_deleted(tx.connection, contact_id, location_id=ghl.location_id)
            return await tx.settle(
                Done({"contact": "deleted"}) if deleted else Skipped("the contact is gone from GHL and was not known here")
            )
        applied = await contacts.apply(tx.connection, contact)
        match applied.how:
            case How.CREATED | How.UPDATED:
                return await tx.settle(Done({"contact": applied.how.value}))
            case How.ECHO:
                return await tx.settle(Skipped(f"echo of #{applied.echo_of}"))
            case How.UNCHANGED:
                return await tx.settle(Skipped("the contact is as new as GHL's"))
            case _:
                assert_never(applied.how)


async def fetched(ghl: GhlClient, contact_id: str, *, fallback_at: datetime) -> Contact | None:
    """The contact as GHL shows it now; None: it was deleted. One that states no time of change counts as changed at `fallback_at`."""
    try:
        shown = await ghl.get_contact(contact_id)
    except Gone:
        return None
    return contact_of(shown, keys=await field_keys(ghl, [shown]), fallback_at=fallback_at)


def contact_of(contact: GhlContact, *, keys: dict[str, str], fallback_at: datetime) -> Contact:
    """The row that a contact is; `keys` of its custom fields by their ids."""
    return Contact(
        ghl_contact_id=contact.id,
        changed_at=contact.date_updated or contact.date_added or fallback_at,
        location_id=contact.location_id,
        first_name=contact.first_name or None,
        last_name=contact.last_name or None,
        email=contact.email or None,
        phone=contact.phone or None,
        company=contact.company_name or None,
        source=contact.source or None,
        tags=tuple(tag for tag in contact.tags if tag),
        custom_fields={keys.get(field.id, field.id): field.value for field in contact.custom_fields},
        added_at=contact.date_added,
    )


async def field_keys(ghl: GhlClient, shown: Sequence[GhlContact]) -> dict[str, str]:
    """The keys of their fields as apps name them (`appointment_status`); of a field without one, or if we may not ask, there is none."""
    keys: dict[str, str] = {}
    try:
        for field_id in {value.id for contact in shown for value in contact.custom_fields}:
            field = await ghl.custom_field(field_id)
            if field is not None and field.key:
                keys[field.id] = field.key.removeprefix(OF_CONTACTS)
    except Forbidden as problem:
        log.warning("custom fields are kept by their ids", destination=ghl.destination, problem=problem)
        return {}
    return keys
