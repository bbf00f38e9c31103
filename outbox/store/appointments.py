"""crm.appointments: Postroom's own appointments, for an app that keeps none."""

from datetime import datetime
from uuid import UUID

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("appointments")


async def create(
    connection: Connection, *, status: str, starts_at: datetime, ends_at: datetime, contact_id: str | None, title: str, notes: str | None
) -> Record:
    """In the caller's transaction."""
    row = await db.fetchrow(connection, Q["create"], status, starts_at, ends_at, contact_id, title, notes)
    assert row is not None
    return row


async def create_once(
    connection: Connection,
    appointment_id: UUID,
    *,
    status: str,
    starts_at: datetime,
    ends_at: datetime,
    contact_id: str | None,
    title: str,
    notes: str | None,
) -> Record | None:
    """As create, under an id that follows from an idempotency key; None: it is there already."""
    return await db.fetchrow(connection, Q["create_once"], appointment_id, status, starts_at, ends_at, contact_id, title, notes)


async def lock(connection: Connection, appointment_id: UUID) -> Record | None:
    """The appointment, locked until the caller's transaction ends; None: unknown."""
    return await db.fetchrow(connection, Q["lock"], appointment_id)


async def change(
    connection: Connection,
    appointment_id: UUID,
    *,
    status: str,
    starts_at: datetime,
    ends_at: datetime,
    contact_id: str | None,
    title: str,
    notes: str | None,
) -> Record:
    """In the caller's transaction, which holds the lock."""
    row = await db.fetchrow(connection, Q["change"], appointment_id, status, starts_at, ends_at, contact_id, title, notes)
    assert row is not None
    return row


async def one(connection: Connection | Pool, appointment_id: UUID) -> Record | None:
    """An appointment, or None."""
    return await db.fetchrow(connection, Q["one"], appointment_id)


async def find(
    connection: Connection | Pool,
    *,
    status: str | None = None,
    contact_id: str | None = None,
    before: datetime | None = None,
    limit: int = 50,
) -> list[Record]:
    """Appointments, newest first; `before`: only those created before."""
    return await db.fetch(connection, Q["list"], status, contact_id, limit, before)


async def next_of_contact(connection: Connection | Pool, contact_id: str) -> datetime | None:
    """When the contact's next standing appointment starts."""
    starts_at = await db.fetchval(connection, Q["next_of_contact"], contact_id)
    return starts_at if isinstance(starts_at, datetime) else None
