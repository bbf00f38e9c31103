"""Phorest's clients and staff → GHL contacts: created once, or found there, then kept as Phorest has them.

A family often shares a telephone, and GHL one contact for it: the first client who came owns the contact, the others share it and
write nothing to it. What somebody deleted at GHL is made anew at its next change.
"""

from collections.abc import Sequence
from typing import Any

from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_models import ContactWrite
from dispatcher.context import Context
from dispatcher.errors import Gone, Refused
from dispatcher.handlers import phorest_mapping as mapping
from dispatcher.handlers.ghl_contacts import fetched
from dispatcher.handlers.phorest_sending import Row, Sender, Sent, default_ghl
from dispatcher.outcome import Outcome, Skipped
from outbox.event import Claimed
from outbox.store import links
from outbox.store.phorest import Kind


async def _send_client(event: Claimed, ctx: Context, row: Row) -> Sent | Outcome:
    if row.merged_to is not None:
        return Skipped("merged into another client, whose contact stands for both")
    if row.deleted and row.theirs is None:
        return Skipped("deleted in Phorest before it was in GHL")
    holds, past = mapping.flag_tags(row.original)
    return await _send(event, ctx, row, tags=[mapping.CLIENT_TAG, *holds], past=past if row.theirs is not None else [])


async def _send_staff(event: Claimed, ctx: Context, row: Row) -> Sent | Outcome:
    if row.original.get("archived") is True and row.theirs is None:
        return Skipped("left the salon before it was in GHL")
    return await _send(event, ctx, row, tags=[mapping.STAFF_TAG], past=[])


async def _send(event: Claimed, ctx: Context, row: Row, *, tags: Sequence[str], past: Sequence[str]) -> Sent | Outcome:
    lacks = mapping.missing(row.original)
    if row.theirs is None and lacks is not None:
        return Skipped(f"validation warning: {lacks}")
    ghl, write = await default_ghl(ctx), mapping.person(row.original)
    contact_id, is_made = row.theirs, False
    if contact_id is None:
        source = mapping.source_of(row.kind, row.id)
        answer: dict[str, Any] = await ctx.step("contact", lambda: _make(ghl, write, source), find=lambda: _find(ghl, source))
        contact_id, is_made = str(answer["id"]), answer["made"] is True
    known_id = contact_id
    owner = await links.taken(ctx.services.pool, row.kind.link, known_id, destination=ghl.destination, but=row.id)
    if owner is not None:
        return Sent(known_id, ghl.destination, {"contact": "shared", "with": owner})
    try:
        if not is_made:
            await ctx.step("update", lambda: _update(ghl, known_id, write), repeatable=True)
        await ctx.step("tags", lambda: _tag(ghl, known_id, tags, past), repeatable=True)
    except Gone:
        return await _made_anew(ctx, row)
    shown = await fetched(ghl, known_id, fallback_at=event.staged_at)
    result = {"contact": "created" if is_made else "updated", "tags": list(tags)}
    return Sent(known_id, ghl.destination, result, made=is_made, their_hash=None if shown is None else shown.digest(), contact=shown)


async def _make(ghl: GhlClient, write: ContactWrite, source: str) -> dict[str, Any]:
    """Creates the contact; one that is there already is taken over, and is ours if an earlier run of ours made it."""
    try:
        return {"id": (await ghl.create_contact(write.model_copy(update={"source": source}))).id, "made": True}
    except Refused as problem:
        if problem.duplicate_of is None:
            raise
        there = await ghl.get_contact(problem.duplicate_of)
        return {"id": there.id, "made": there.source == source}


async def _find(ghl: GhlClient, source: str) -> dict[str, Any] | None:
    found = await ghl.contacts_from(source)
    return {"id": found[0].id, "made": True} if found else None


async def _update(ghl: GhlClient, contact_id: str, write: ContactWrite) -> str:
    if write.model_fields_set:
        await ghl.update_contact(contact_id, write)
    return contact_id


async def _tag(ghl: GhlClient, contact_id: str, tags: Sequence[str], past: Sequence[str]) -> list[str]:
    await ghl.add_tags(contact_id, tags)
    if past:
        await ghl.remove_tags(contact_id, past)
    return list(tags)


async def _made_anew(ctx: Context, row: Row) -> Skipped:
    """The contact was deleted at GHL. Its link ends; the next change, or the audit, makes it anew."""
    await links.forget(ctx.services.pool, row.kind.link, row.id)
    return Skipped("its contact was deleted in GHL")


send_client = Sender(Kind.CLIENT, _send_client)
send_staff = Sender(Kind.STAFF, _send_staff)
