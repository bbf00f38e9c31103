"""crm.clients: Notion pages as clients. Equal edit times mean unknown, so the content decides."""

import hashlib
import json
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Known:
    """What we have of a client, and since when."""

    edited_at: datetime
    synced_at: datetime
    text: str


async def known(connection: Connection | Pool, page_ids: Sequence[UUID]) -> dict[UUID, Known]:
    """Of these pages those that are clients, by their ids."""
    rows = await db.fetch(connection, Q["known"], list(page_ids))
    return {row["notion_page_id"]: Known(row["edited_at"], row["synced_at"], row["client_page_info"] or "") for row in rows}


async def unseen(
    connection: Connection | Pool, run_id: int, *, data_source_id: UUID, before: datetime, above: UUID | None = None, limit: int = 50
) -> list[UUID]:
    """The next clients of a data source, not in the trash, that a full run which began at `before` has not met."""
    rows = await db.fetch(connection, Q["unseen"], run_id, data_source_id, before, above, limit)
    return [row["notion_page_id"] for row in rows]


async def one(connection: Connection | Pool, page_id: UUID) -> Record | None:
    """A client, or None."""
    return await db.fetchrow(connection, Q["one"], page_id)
