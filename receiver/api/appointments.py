"""Appointments for an app that keeps none of its own: the row and its event in one transaction (P3).

What its life allows and what slot is free, the database decides, for every writer; a refusal is a 409 that says what would go.

scheduled ─▶ confirmed ─▶ completed
    │  └────────┼────────────▲
    └───────────┴─▶ cancelled          cancelled and completed are ends; other fields may still be changed
"""

from typing import Annotated, Literal, Self
from uuid import UUID, uuid5

from pydantic import Field, StringConstraints, model_validator

from outbox import kinds
from outbox.db import Record
from outbox.errors import IllegalTransition, KeyReused, SlotTaken
from outbox.event import Event
from outbox.kinds import TRANSITIONS, AppointmentChange, AppointmentStatus
from outbox.staging import stage
from outbox.store import appointments, contacts, events
from outbox.timeline import iso
from receiver.api.operation import (
    Answer,
    Asked,
    Call,
    Limit,
    LongText,
    Moment,
    NoBody,
    NoQuery,
    Operation,
    Said,
    Table,
    Text,
    Time,
    Told,
)
from receiver.config import Role
from receiver.errors import Problem, conflict, invalid, not_found

# An appointment made under an Idempotency-Key has an id that follows from the key, so that a repeat finds it.
_IDS = UUID("3f1c8f6e-2b4a-5d0e-9a57-6f2d1c0b8e44")

Resource = Annotated[Text, StringConstraints(max_length=200)]
_EXCLUSIVE = "What can be booked once at a time: a chair, a room, a person. Two that stand cannot overlap. null: nothing is exclusive."


class AppointmentTold(Told):
    starts_at: Moment
    ends_at: Moment
    title: Text
    contact_id: Text | None = Field(None, description="The GHL contact; null: not linked, so nothing is told to GHL.")
    notes: LongText | None = None
    location_id: Text | None = Field(None, description="The GHL location, which stays; null: the default one.")
    calendar_id: Text | None = Field(None, description="The GHL calendar; null: the default one, if any.")
    resource: Resource | None = Field(None, description=_EXCLUSIVE)
    status: Literal["scheduled", "confirmed"] = "scheduled"

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.ends_at <= self.starts_at:
            raise ValueError("ends_at must be after starts_at")
        return self


class AppointmentPatch(Told):
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    title: Text | None = None
    contact_id: Text | None = Field(None, description="null unlinks it.")
    notes: LongText | None = Field(None, description="null clears them.")
    calendar_id: Text | None = Field(None, description="null: the default one, if any.")
    resource: Resource | None = Field(None, description=_EXCLUSIVE)
    status: AppointmentStatus | None = None

    @model_validator(mode="after")
    def _not_null(self) -> Self:
        for name in ("starts_at", "ends_at", "title", "status"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null; leave it out to keep it")
        return self


class AppointmentSaid(Said):
    id: str
    status: str
    starts_at: Time
    ends_at: Time
    contact_id: str | None
    title: str
    notes: str | None
    location_id: str | None
    calendar_id: str | None
    resource: str | None
    ghl_appointment_id: str | None = Field(description="null: not in a calendar of GHL, as far as we know.")
    ghl_status: str | None = Field(description="GHL's own word, when GHL last showed it.")
    created_at: Time
    updated_at: Time


class AppointmentDone(Said):
    appointment: AppointmentSaid
    event_id: int | None = Field(description="The appointment.* event; null: nothing changed, so none was staged.")


class AppointmentsAsked(Asked):
    status: AppointmentStatus | None = None
    contact_id: Text | None = None
    resource: Resource | None = None
    location_id: Text | None = None
    starts_from: Moment | None = Field(None, description="Only those that start then or later.")
    starts_before: Moment | None = Field(None, description="Only those that start earlier.")
    before: Moment | None = Field(None, description="Only those created before this time: next_before of the page before.")
    limit: Limit = 50


class AppointmentPage(Said):
    appointments: list[AppointmentSaid]
    next_before: str | None


async def create(call: Call[NoQuery, AppointmentTold]) -> Answer:
    """With appointment.created, in one transaction. A repeat under the same Idempotency-Key returns the same appointment."""
    told, key = call.body, call.idempotency_key
    fields = told.model_dump()
    try:
        async with call.desk.pool.acquire() as connection, connection.transaction():
            if key is None:
                row = await appointments.create(connection, **fields)
                event_id: int = await stage(connection, _event("created", row))
                duplicate = False
            else:
                appointment_id = uuid5(_IDS, key)
                row_or_none = await appointments.create_once(connection, appointment_id, **fields)
                made = {"id": appointment_id, **fields}
                event_id = await stage(connection, _event("created", made, key=f"appointment:{key}"))
                duplicate = row_or_none is None
                if duplicate and await events.is_new(connection, event_id):
                    raise conflict("key-reused", f"This Idempotency-Key made appointment {appointment_id} long ago; use a new one.")
                found = row_or_none or await appointments.one(connection, appointment_id)
                if found is None:
                    raise conflict("key-reused", "This Idempotency-Key made an appointment that was deleted since; use a new one.")
                row = found
            if not duplicate:
                await call.note(connection, "create appointment", target=row["id"], event_id=event_id)
    except KeyReused:
        raise conflict("key-reused", "This Idempotency-Key was used for another appointment; use a new one.") from None
    except SlotTaken as taken:
        raise _taken(taken) from None
    return Answer(
        AppointmentDone(appointment=_said(row), event_id=event_id),
        status=200 if duplicate else 201,
        headers={"location": f"/api/appointments/{row['id']}"},
    )


async def change(call: Call[NoQuery, AppointmentPatch]) -> Answer:
    """With appointment.updated, .confirmed, .cancelled or .completed, in one transaction. No change, no event."""
    appointment_id, patch = _id(call.path["id"]), call.body
    given = {name: getattr(patch, name) for name in patch.model_fields_set}
    async with call.desk.pool.acquire() as connection, connection.transaction():
        before = await appointments.lock(connection, appointment_id)
        if before is None:
            raise _unknown(appointment_id)
        after = {name: given.get(name, before[name]) for name in appointments.FIELDS}
        if all(after[name] == before[name] for name in after):
            return Answer(AppointmentDone(appointment=_said(before), event_id=None))
        if after["ends_at"] <= after["starts_at"]:
            raise invalid([{"field": "ends_at", "message": "ends_at must be after starts_at"}])
        try:
            row = await appointments.change(connection, appointment_id, **after)
        except IllegalTransition as problem:
            raise conflict("transition", str(problem), allowed=sorted(TRANSITIONS[AppointmentStatus(before["status"])])) from None
        except SlotTaken as taken:
            raise _taken(taken) from None
        word = "updated" if row["status"] == before["status"] else row["status"]
        if word == AppointmentStatus.COMPLETED and row["contact_id"] is not None:
            await contacts.mark_customer(connection, row["contact_id"], row["starts_at"])
        event_id: int = await stage(connection, _event(word, row, previous=before))
        await call.note(connection, f"appointment {word}", target=appointment_id, event_id=event_id)
    return Answer(AppointmentDone(appointment=_said(row), event_id=event_id))


async def one(call: Call[NoQuery, NoBody]) -> Answer:
    """As it is now."""
    appointment_id = _id(call.path["id"])
    row = await appointments.one(call.desk.pool, appointment_id)
    if row is None:
        raise _unknown(appointment_id)
    return Answer(_said(row))


async def find(call: Call[AppointmentsAsked, NoBody]) -> Answer:
    """Newest first, by when they were made."""
    asked = call.query
    filters = asked.model_dump(exclude={"before", "limit"})
    rows = await appointments.find(call.desk.pool, **filters, before=asked.before, limit=asked.limit)
    next_before = rows[-1]["created_at"].isoformat() if len(rows) == asked.limit else None
    return Answer(AppointmentPage(appointments=[_said(row) for row in rows], next_before=next_before))


def _taken(taken: SlotTaken) -> Problem:
    """409, naming the appointment that has the slot, unless it went away while we looked."""
    who = None if taken.appointment_id is None else str(taken.appointment_id)
    conflicting = None if who is None else {"id": who, "starts_at": iso(taken.starts_at), "ends_at": iso(taken.ends_at)}
    return conflict("slot-taken", f"{taken}.", resource=taken.resource, conflict=conflicting)


def _event(word: str, row: Record | dict[str, object], *, previous: Record | None = None, key: str | None = None) -> Event:
    change = AppointmentChange(appointment=_fact(row), previous=None if previous is None else _fact(previous))
    return Event(f"appointment.{word}", change, key=key, lane=f"appointment:{row['id']}")


def _fact(row: Record | dict[str, object]) -> kinds.Appointment:
    return kinds.Appointment.model_validate({"id": str(row["id"]), **{name: row[name] for name in appointments.FIELDS}})


def _said(row: Record) -> AppointmentSaid:
    return AppointmentSaid(
        id=str(row["id"]),
        status=row["status"],
        starts_at=iso(row["starts_at"]) or "",
        ends_at=iso(row["ends_at"]) or "",
        contact_id=row["contact_id"],
        title=row["title"],
        notes=row["notes"],
        location_id=row["location_id"],
        calendar_id=row["calendar_id"],
        resource=row["resource"],
        ghl_appointment_id=row["ghl_appointment_id"],
        ghl_status=row["ghl_status"],
        created_at=iso(row["created_at"]) or "",
        updated_at=iso(row["updated_at"]) or "",
    )


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise not_found("Ids of appointments are UUIDs; this is none.") from None


def _unknown(appointment_id: UUID) -> Problem:
    return not_found(f"There is no appointment {appointment_id}.")


OPERATIONS: Table = (
    Operation("GET", "/api/appointments", "Appointments, newest first", Role.VIEWER, find, AppointmentsAsked, NoBody, AppointmentPage),
    Operation(
        "POST",
        "/api/appointments",
        "Make an appointment",
        Role.OPERATOR,
        create,
        NoQuery,
        AppointmentTold,
        AppointmentDone,
        status=201,
        also={
            200: "The Idempotency-Key is known: the same appointment",
            409: "The resource is taken: `conflict` names by which appointment and when; or the Idempotency-Key was used for another",
        },
        takes_key=True,
    ),
    Operation("GET", "/api/appointments/{id}", "One appointment", Role.VIEWER, one, NoQuery, NoBody, AppointmentSaid),
    Operation(
        "PATCH",
        "/api/appointments/{id}",
        "Change, confirm, cancel or complete it",
        Role.OPERATOR,
        change,
        NoQuery,
        AppointmentPatch,
        AppointmentDone,
        also={
            409: "Its life does not allow this status: `allowed` lists what it does; or the resource is taken: `conflict` names by which"
        },
    ),
)
