"""crm.contacts: GHL's contacts, leads and customers. A row changes only to something newer, and what we wrote there is known again.

Writes nothing to GHL and stages nothing.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load
from outbox.store.ghl_appointments import How

Q = load("contacts")


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact as a fetch of it shows it; `changed_at` is GHL's dateUpdated, the version guard."""

    ghl_contact_id: str
    changed_at: datetime
    location_id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    phone: str | None = None
    company: str | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()
    custom_fields: Mapping[str, Any] | None = None
    added_at: datetime | None = None

    def digest(self) -> bytes:
        """What is compared: everything but the times."""
        texts = [self.location_id, self.first_name, self.last_name, self.email, self.phone, self.company, self.source]
        content = json.dumps([*texts, sorted(self.tags), self.custom_fields], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).digest()


@dataclass(frozen=True, slots=True)
class Applied:
    """Of a call of apply(). `echo_of`: the event of ours that wrote what GHL shows."""

    how: How
    echo_of: int | None = None


async def apply(connection: Connection, contact: Contact, *, echo_of: int | None = None) -> Applied:
    """In the caller's transaction: what GHL shows, unless ours is newer or the same.

    `echo_of`: GHL shows it after our own write, done by this event, so that it is an echo when it comes back as a webhook.
    """
    digest = contact.digest()
    row = await db.fetchrow(connection, Q["lock"], contact.ghl_contact_id)
    if row is not None and row["content_hash"] == digest and row["deleted_at"] is None:
        if row["changed_at"] < contact.changed_at or (echo_of is not None and row["echo_of"] != echo_of):
            await db.fetch(connection, Q["same"], contact.ghl_contact_id, contact.changed_at, echo_of)
        if echo_of is None and row["echo_of"] is not None:
            return Applied(How.ECHO, row["echo_of"])
        return Applied(How.UNCHANGED)
    texts = (contact.location_id, contact.first_name, contact.last_name, contact.email, contact.phone, contact.company, contact.source)
    made = await db.fetchrow(
        connection,
        Q["apply"],
        contact.ghl_contact_id,
        *texts,
        list(contact.tags),
        json.dumps(dict(contact.custom_fields or {}), default=str),
        contact.added_at,
        contact.changed_at,
        digest,
        echo_of,
    )
    if made is None:
        return Applied(How.UNCHANGED)
    return Applied(How.CREATED if made["created"] else How.UPDATED)


async def apply_many(connection: Connection, found: Sequence[Contact]) -> dict[str, How]:
    """In the caller's transaction: as apply() for a page, in one statement. CREATED or UPDATED by id; what is not named is unchanged."""
    newest = {one.ghl_contact_id: one for one in sorted(found, key=lambda one: one.changed_at)}
    page = to_json([_as_json(one) for one in newest.values()], fallback=str)
    rows = await db.fetch(connection, Q["apply_many"], page.decode())
    return {row["ghl_contact_id"]: How.CREATED if row["created"] else How.UPDATED for row in rows}


def _as_json(contact: Contact) -> dict[str, object]:
    names = ("ghl_contact_id", "location_id", "first_name", "last_name", "email", "phone", "company", "source", "added_at", "changed_at")
    plain = {name: getattr(contact, name) for name in names}
    return {**plain, "tags": list(contact.tags), "custom_fields": dict(contact.custom_fields or {}), "content_hash": contact.digest().hex()}


async def count_unseen(connection: Connection | Pool, run_id: int, *, location_id: str, before: datetime) -> tuple[int, int]:
    """(how many are here, how many of them a full run that began at `before` has not met)."""
    row = await db.fetchrow(connection, Q["count_unseen"], run_id, location_id, before, timeout_s=60)
    assert row is not None
    return row["here"], row["unseen"]


async def unseen(
    connection: Connection | Pool, run_id: int, *, location_id: str, before: datetime, above: str = "", limit: int = 50
) -> list[str]:
    """The next ids of contacts that such a run has not met."""
    rows = await db.fetch(connection, Q["unseen"], run_id, location_id, before, above, limit, timeout_s=60)
    return [row["ghl_contact_id"] for row in rows]


async def mark_customer(connection: Connection, ghl_contact_id: str, at: datetime) -> bool:
    """In the caller's transaction: an appointment of this contact took place `at` that time, which makes it a customer since then.

    A time to come counts as now. False: it was one already, or the contact is not known here.
    """
    return await db.fetchval(connection, Q["mark_customer"], ghl_contact_id, at) is not None


async def mark_deleted(connection: Connection, ghl_contact_id: str, *, location_id: str) -> bool:
    """In the caller's transaction: that location of GHL has no such contact any more. False when there was nothing to mark."""
    return await db.fetchval(connection, Q["mark_deleted"], ghl_contact_id, location_id) is not None


async def one(connection: Connection | Pool, ghl_contact_id: str) -> Record | None:
    """A contact, or None."""
    return await db.fetchrow(connection, Q["one"], ghl_contact_id)
