"""crm.appointments as GHL's calendars show them: a state is applied when it is newer and not our own echo.

Writes nothing to GHL and stages nothing. What we say ourselves is in store.appointments.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import asyncpg

from outbox import db
from outbox.db import Connection, Record
from outbox.errors import DatabaseUnavailable, SlotTaken
from outbox.kinds import AppointmentStatus
from outbox.queries import load
from outbox.store.appointments import TRIES, Slot, write

Q = load("ghl_appointments")


@dataclass(frozen=True, slots=True)
class GhlAppointment:
    """An appointment as a fetch of it shows it; `changed_at` is GHL's dateUpdated, the version guard. None: not said, ours stays."""

    ghl_appointment_id: str
    status: AppointmentStatus
    starts_at: datetime
    ends_at: datetime
    changed_at: datetime
    ghl_status: str | None = None
    location_id: str | None = None
    calendar_id: str | None = None
    contact_id: str | None = None
    title: str | None = None
    notes: str | None = None
    resource: str | None = None  # whom the caller takes it to occupy; one that we know already stays

    def digest(self) -> bytes:
        """What is compared to know an echo: all that GHL says, but not when it said so."""
        times = [at.astimezone(UTC).isoformat() for at in (self.starts_at, self.ends_at)]
        texts = [self.ghl_status, self.status, self.location_id, self.calendar_id, self.contact_id, self.title, self.notes]
        return hashlib.sha256(json.dumps([*times, *texts]).encode()).digest()


class How(StrEnum):
    """What became of a state of GHL's."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"  # ours is the same, or newer
    ECHO = "echo"  # it is what we wrote there ourselves


@dataclass(frozen=True, slots=True)
class Applied:
    """Of a call of apply(): what it did to which row."""

    appointment_id: UUID
    how: How
    echo_of: int | None = None  # the event of ours that wrote it
    kept_status: AppointmentStatus | None = None  # ours, which its life did not let become GHL's
    in_the_way: UUID | None = None  # who has the resource at that time: this one stands in GHL all the same, and holds no resource here


async def apply(connection: Connection, theirs: GhlAppointment) -> Applied:
    """In the caller's transaction: a state that somebody gave an appointment in GHL, unless ours is as new or it is our own echo.

    GHL is believed: what is double booked there is so here, without its resource. Only a status that cannot be any more stays ours.
    """
    digest = theirs.digest()
    for _ in range(TRIES):
        row = await db.fetchrow(connection, Q["lock_theirs"], theirs.ghl_appointment_id)
        if row is None:
            made, in_the_way = await _place(connection, Q["receive"], theirs.ghl_appointment_id, theirs, theirs.resource)
            if made is None:
                continue  # another transaction has just made it
            return Applied(made["id"], How.CREATED, in_the_way=in_the_way)
        if row["content_hash"] == digest:
            return Applied(row["id"], How.UNCHANGED if row["echo_of"] is None else How.ECHO, echo_of=row["echo_of"])
        if row["changed_at"] is not None and row["changed_at"] > theirs.changed_at:
            return Applied(row["id"], How.UNCHANGED)
        now, in_the_way = await _place(connection, Q["apply"], row["id"], theirs, row["resource"] or theirs.resource)
        assert now is not None
        kept = None if now["status"] == theirs.status else AppointmentStatus(now["status"])
        return Applied(row["id"], How.UPDATED, kept_status=kept, in_the_way=in_the_way)
    raise _restless(theirs)


async def answered(connection: Connection, appointment_id: UUID, theirs: GhlAppointment, *, echo_of: int) -> bool:
    """In the caller's transaction: what GHL shows after our own write, done by event `echo_of`. False: there is no such row of ours.

    Only GHL's side is kept: its id, status and version. Time and the rest of our row stay, for they may have been changed since that
    event was staged, by one that waits behind it. A row that a webhook made of the same appointment meanwhile becomes one with ours.
    """
    known = await db.fetchrow(connection, Q["lock_known"], appointment_id)
    if known is None:
        return False
    if known["changed_at"] is not None and known["changed_at"] > theirs.changed_at:
        return True
    for _ in range(TRIES):
        try:
            async with connection.transaction():
                twin = await db.fetchrow(connection, Q["drop_twin"], theirs.ghl_appointment_id, appointment_id, known["created_at"])
                said = (theirs.ghl_appointment_id, theirs.ghl_status, theirs.digest(), theirs.changed_at, theirs.location_id, echo_of)
                await db.fetchrow(connection, Q["answered"], appointment_id, *said, theirs.calendar_id)
        except asyncpg.UniqueViolationError:
            continue  # a twin was committed just now
        if twin is not None and twin["changed_at"] > theirs.changed_at:
            newer = {**dict(twin), "status": AppointmentStatus(twin["status"])}
            await apply(connection, GhlAppointment(theirs.ghl_appointment_id, **newer))
        return True
    raise _restless(theirs)


async def gone(connection: Connection, ghl_appointment_id: str) -> Record | None:
    """In the caller's transaction: deleted in GHL, so cancelled here unless it had ended. Its id and status; None: unknown to us."""
    return await db.fetchrow(connection, Q["gone"], ghl_appointment_id)


def _restless(theirs: GhlAppointment) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"appointment {theirs.ghl_appointment_id} of GHL changed under our hands {TRIES} times; try again")


async def _place(
    connection: Connection, statement: str, which: UUID | str, theirs: GhlAppointment, resource: str | None
) -> tuple[Record | None, UUID | None]:
    """Writes GHL's state, without the resource if that is taken; then also who has it."""

    async def place(resource: str | None) -> Record | None:
        slot = None if resource is None else Slot(resource, theirs.starts_at, theirs.ends_at, which if isinstance(which, UUID) else None)
        times = (theirs.starts_at, theirs.ends_at, resource)
        texts = (theirs.contact_id, theirs.title, theirs.notes, theirs.location_id, theirs.calendar_id, theirs.ghl_status)
        return await write(connection, statement, which, theirs.status, *times, *texts, theirs.digest(), theirs.changed_at, slot=slot)

    try:
        return await place(resource), None
    except SlotTaken as taken:
        return await place(None), taken.appointment_id
