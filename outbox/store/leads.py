"""crm.leads: GHL contacts as leads. A row changes only to something newer."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("leads")


@dataclass(frozen=True, slots=True)
class Lead:
    """A contact as GHL states it; `changed_at` is GHL's dateUpdated, the version guard."""

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

    def content(self) -> str:
        """What is compared: everything but the times."""
        return json.dumps(
            [
                self.location_id,
                self.first_name,
                self.last_name,
                self.email,
                self.phone,
                self.company,
                self.source,
                sorted(self.tags),
                self.custom_fields,
            ],
            sort_keys=True,
            default=str,
        )


async def apply(connection: Connection, lead: Lead) -> bool | None:
    """In the caller's transaction: True created, False updated, None when ours is as new."""
    content = lead.content()
    row = await db.fetchrow(
        connection,
        Q["apply"],
        lead.ghl_contact_id,
        lead.location_id,
        lead.first_name,
        lead.last_name,
        lead.email,
        lead.phone,
        lead.company,
        lead.source,
        list(lead.tags),
        json.dumps(dict(lead.custom_fields or {}), default=str),
        lead.added_at,
        lead.changed_at,
        hashlib.sha256(content.encode()).digest(),
    )
    return None if row is None else bool(row["created"])


async def mark_deleted(connection: Connection, ghl_contact_id: str) -> bool:
    """In the caller's transaction: the contact is gone from GHL. False when there was nothing to mark."""
    return await db.fetchval(connection, Q["mark_deleted"], ghl_contact_id) is not None


async def one(connection: Connection | Pool, ghl_contact_id: str) -> Record | None:
    """A lead, or None."""
    return await db.fetchrow(connection, Q["one"], ghl_contact_id)
