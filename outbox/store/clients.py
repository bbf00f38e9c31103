"""crm.clients: Notion pages as clients. Equal edit times mean unknown, so the content decides."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("clients")


@dataclass(frozen=True, slots=True)
class Client:
    """A page as Notion states it; `properties` are plain values by property id."""

    notion_page_id: UUID
    edited_at: datetime
    data_source_id: UUID | None = None
    name: str | None = None
    slug: str | None = None
    contact_email: str | None = None
    products_services: tuple[str, ...] = ()
    client_page_info: str | None = None
    properties: Mapping[str, Any] | None = None
    url: str | None = None
    in_trash: bool = False


async def apply(connection: Connection, client: Client) -> bool | None:
    """In the caller's transaction: True created, False updated, None when ours is as new or the same."""
    properties = json.dumps(dict(client.properties or {}), sort_keys=True, default=str)
    content = json.dumps(
        [
            client.name,
            client.slug,
            client.contact_email,
            client.products_services,
            client.client_page_info,
            properties,
            client.url,
            client.in_trash,
        ]
    )
    row = await db.fetchrow(
        connection,
        Q["apply"],
        client.notion_page_id,
        client.data_source_id,
        client.name,
        client.slug,
        client.contact_email,
        list(client.products_services),
        client.client_page_info,
        properties,
        client.url,
        client.edited_at,
        hashlib.sha256(content.encode()).digest(),
        client.in_trash,
    )
    return None if row is None else bool(row["created"])


async def one(connection: Connection | Pool, page_id: UUID) -> Record | None:
    """A client, or None."""
    return await db.fetchrow(connection, Q["one"], page_id)
