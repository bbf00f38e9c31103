"""crm.appointments: Postroom's own appointments, for an app that keeps none, and those that GHL's calendars show (store.ghl_appointments).

What slot is taken and what status may follow, the database decides; here its refusals get their names. Stages nothing: that is the
caller's, in the same transaction.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, NotRequired, TypedDict, Unpack
from uuid import UUID

import asyncpg

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.errors import IllegalTransition, SlotTaken
from outbox.queries import load

Q = load("appointments")

ILLEGAL = "PR002"  # the trigger's SQLSTATE
TRIES = 3  # of what somebody else undid while we looked


class Fields(TypedDict):
    """What an appointment says. `resource` is what can be booked once at a time; None: nothing is exclusive."""

    status: str
    starts_at: datetime
    ends_at: datetime
    contact_id: str | None
    title: str
    notes: str | None
    location_id: NotRequired[str | None]
    calendar_id: NotRequired[str | None]
    resource: NotRequired[str | None]


FIELDS = ("status", "starts_at", "ends_at", "contact_id", "title", "notes", "location_id", "calendar_id", "resource")


class Slot(NamedTuple):
    """What a write would take."""

    resource: str
    starts_at: datetime
    ends_at: datetime
    but: UUID | None = None  # the appointment itself


async def create(connection: Connection, **fields: Unpack[Fields]) -> Record:
    """In the caller's transaction. Raises SlotTaken; the transaction goes on then."""
    row = await write(connection, Q["create"], *_values(fields), slot=_slot(fields))
    assert row is not None
    return row


async def create_once(connection: Connection, appointment_id: UUID, **fields: Unpack[Fields]) -> Record | None:
    """As create, under an id that follows from an idempotency key; None: it is there already."""
    return await write(connection, Q["create_once"], appointment_id, *_values(fields), slot=_slot(fields))


async def lock(connection: Connection, appointment_id: UUID) -> Record | None:
    """The appointment, locked until the caller's transaction ends; None: unknown."""
    return await db.fetchrow(connection, Q["lock"], appointment_id)


async def change(connection: Connection, appointment_id: UUID, **fields: Unpack[Fields]) -> Record:
    """In the caller's transaction, which holds the lock. Raises SlotTaken and IllegalTransition; roll back then."""
    row = await write(connection, Q["change"], appointment_id, *_values(fields), slot=_slot(fields, but=appointment_id))
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
    resource: str | None = None,
    location_id: str | None = None,
    starts_from: datetime | None = None,
    starts_before: datetime | None = None,
    before: datetime | None = None,
    limit: int = 50,
) -> list[Record]:
    """Appointments, newest first; `before`: only those created before."""
    return await db.fetch(connection, Q["list"], status, contact_id, limit, before, resource, location_id, starts_from, starts_before)


async def next_of_contact(connection: Connection | Pool, contact_id: str) -> datetime | None:
    """When the contact's next standing appointment starts."""
    starts_at = await db.fetchval(connection, Q["next_of_contact"], contact_id)
    return starts_at if isinstance(starts_at, datetime) else None


async def between(
    connection: Connection | Pool, starts_from: datetime, starts_before: datetime, *, after: Sequence[str] | None, limit: int
) -> list[Record]:
    """Those that start in a span, in that order, behind `after`: (when one starts, its id), as texts."""
    at, number = (None, None) if after is None else (datetime.fromisoformat(after[0]), UUID(after[1]))
    return await db.fetch(connection, Q["between"], starts_from, starts_before, at, number, limit)


async def count_between(connection: Connection | Pool, starts_from: datetime, starts_before: datetime) -> int:
    """How many start in a span."""
    return int(await db.fetchval(connection, Q["count_between"], starts_from, starts_before, timeout_s=60) or 0)


async def statuses_of_contact(connection: Connection | Pool, contact_id: str) -> list[str]:
    """Every status that one of the contact's appointments has."""
    return [row["status"] for row in await db.fetch(connection, Q["statuses_of_contact"], contact_id)]


async def latest_of_contact(connection: Connection | Pool, contact_id: str) -> Record | None:
    """The contact's appointment that changed last, or None."""
    return await db.fetchrow(connection, Q["latest_of_contact"], contact_id)


# ── how a write is refused


def _values(fields: Fields) -> list[object]:
    return [fields.get(name) for name in FIELDS]


def _slot(fields: Fields, *, but: UUID | None = None) -> Slot | None:
    resource = fields.get("resource")
    return None if resource is None else Slot(resource, fields["starts_at"], fields["ends_at"], but)


async def write(connection: Connection, statement: str, *values: Any, slot: Slot | None) -> Record | None:
    """One statement. With a slot, in a savepoint, and again when what stood in its way is not found any more. Raises SlotTaken."""
    with _refusals():
        if slot is None:
            return await db.fetchrow(connection, statement, *values)
        for _ in range(TRIES):
            try:
                async with connection.transaction():
                    return await db.fetchrow(connection, statement, *values)
            except asyncpg.ExclusionViolationError:
                other = await db.fetchrow(connection, Q["in_the_way"], *slot)
                if other is not None:
                    raise SlotTaken(
                        slot.resource, appointment_id=other["id"], starts_at=other["starts_at"], ends_at=other["ends_at"]
                    ) from None
    raise SlotTaken(slot.resource, appointment_id=None, starts_at=slot.starts_at, ends_at=slot.ends_at)


@contextmanager
def _refusals() -> Iterator[None]:
    """The trigger's refusal under its name."""
    try:
        yield
    except asyncpg.PostgresError as problem:
        if problem.sqlstate == ILLEGAL:
            raise IllegalTransition(str(problem)) from None
        raise
