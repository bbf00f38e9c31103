"""Phorest's loyalty points → a custom field of the GHL contact; its products → tags of the GHL location."""

from typing import Any

from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_models import ContactWrite
from dispatcher.context import Context
from dispatcher.errors import Gone
from dispatcher.handlers import phorest_mapping as mapping
from dispatcher.handlers.ghl_contacts import fetched
from dispatcher.handlers.phorest_sending import NOT_SET_UP, Row, Sender, Sent, contact_of, default_ghl
from dispatcher.outcome import Outcome, Skipped
from outbox.event import Claimed
from outbox.store import phorest
from outbox.store.phorest import Kind


async def _send_loyalty(event: Claimed, ctx: Context, row: Row) -> Sent | Outcome:
    contact_id = await contact_of(event, ctx, row)
    if not isinstance(contact_id, str):
        return contact_id
    client = await phorest.one(ctx.services.pool, Kind.CLIENT, row.id)
    if client is None or client["merged_to"] is not None or client["shared"]:
        return Skipped("its contact shows the points of another client")
    ghl, name = await default_ghl(ctx), ctx.settings.phorest_loyalty_field
    if await ghl.custom_field(name) is None:
        return Skipped(f"{NOT_SET_UP}the location has no custom field {name}")
    write = ContactWrite(custom_fields={name: row.original.get("points")})
    await ctx.step("points", lambda: _update(ghl, contact_id, write), repeatable=True)
    shown = await fetched(ghl, contact_id, fallback_at=event.staged_at)
    return Sent(contact_id, ghl.destination, {"field": name}, contact=shown)


async def _update(ghl: GhlClient, contact_id: str, write: ContactWrite) -> str:
    return (await ghl.update_contact(contact_id, write)).id


async def _send_product(event: Claimed, ctx: Context, row: Row) -> Sent | Outcome:
    name = mapping.tag_name(row.original)
    if name is None:
        return Skipped("it has no name, or is offered no more; a tag that there is stays")
    ghl = await default_ghl(ctx)
    tag_id, is_made = row.theirs, False
    if tag_id is None:
        answer: dict[str, Any] = await ctx.step("tag", lambda: _make(ghl, name), find=lambda: _find(ghl, name, made=True))
        tag_id, is_made = str(answer["id"]), answer["made"] is True
    elif row.made:
        known = tag_id
        try:
            await ctx.step("rename", lambda: _rename(ghl, known, name), repeatable=True)
        except Gone:
            return Skipped("its tag was deleted in GHL, and is left so")
    return Sent(tag_id, ghl.destination, {"tag": name}, made=is_made)


async def _make(ghl: GhlClient, name: str) -> dict[str, Any]:
    return await _find(ghl, name, made=False) or {"id": (await ghl.create_tag(name)).id, "made": True}


async def _find(ghl: GhlClient, name: str, *, made: bool) -> dict[str, Any] | None:
    found = next((tag.id for tag in await ghl.list_tags() if (tag.name or "").lower() == name), None)
    return None if found is None else {"id": found, "made": made}


async def _rename(ghl: GhlClient, tag_id: str, name: str) -> str:
    return (await ghl.rename_tag(tag_id, name)).id


send_loyalty = Sender(Kind.LOYALTY, _send_loyalty)
send_product = Sender(Kind.PRODUCT, _send_product)
