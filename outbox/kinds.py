"""The vocabulary: kinds of events that Postroom itself knows, and the payload models of the app's own ones.

A provider's event keeps the provider's own type behind its source (`ghl.ContactUpdate`, `notion.page.created`), so that
a type unknown today is named the same way tomorrow. docs/staging.md lists what an app stages.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class AppointmentStatus(StrEnum):
    """What an appointment is. cancelled and completed are ends."""

    SCHEDULED = "scheduled"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    COMPLETED = "completed"


# As crm.may_become() in the database, which holds every writer of crm.appointments to it.
TRANSITIONS: dict[AppointmentStatus, frozenset[AppointmentStatus]] = {
    AppointmentStatus.SCHEDULED: frozenset({AppointmentStatus.CONFIRMED, AppointmentStatus.CANCELLED, AppointmentStatus.COMPLETED}),
    AppointmentStatus.CONFIRMED: frozenset({AppointmentStatus.CANCELLED, AppointmentStatus.COMPLETED}),
    AppointmentStatus.CANCELLED: frozenset(),
    AppointmentStatus.COMPLETED: frozenset(),
}

ENDED = frozenset(status for status, onward in TRANSITIONS.items() if not onward)

# An app's columns may be numbers where ours are texts, and its status may still be NULL.
Identifier = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) and not isinstance(value, bool) else value)]
Status = Annotated[
    AppointmentStatus | str,
    Field(union_mode="left_to_right"),
    BeforeValidator(lambda value: AppointmentStatus.SCHEDULED if value is None else value),
]


class Appointment(BaseModel):
    """An appointment as an app states it. Other members pass by unread."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Identifier
    status: Status = AppointmentStatus.SCHEDULED
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    contact_id: Identifier | None = None
    title: Identifier | None = None
    notes: Identifier | None = None
    location_id: Identifier | None = None  # the GHL location; None: the default one
    calendar_id: Identifier | None = None  # the GHL calendar; None: the default one, if any
    resource: Identifier | None = None  # what can be booked once at a time


class AppointmentChange(BaseModel):
    """Payload of appointment.created, .updated, .confirmed, .cancelled and .completed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    appointment: Appointment
    previous: Appointment | None = None


APPOINTMENT_KINDS = tuple(f"appointment.{word}" for word in ("created", "updated", "confirmed", "cancelled", "completed"))

RESYNC = "appointment.resync"  # the same payload, of which only the id counts: staged by a sync, never by an app

CONTACT_CHANGED = "contact.changed"

TEST = "connection.test."  # and the provider: a person asks whether a connection works
TESTED = ("ghl", "google", "notion", "phorest")


class TagChange(BaseModel):
    """A contact's tags before and after."""

    model_config = ConfigDict(frozen=True)

    before: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()

    @property
    def added(self) -> frozenset[str]:
        return self.after - self.before

    @property
    def removed(self) -> frozenset[str]:
        return self.before - self.after


class ContactChange(BaseModel):
    """Payload of contact.changed. `fields`: the names of what differs, a custom field as custom_fields.KEY; values are in crm.contacts.

    A contact that is deleted has nothing: all of its tags are removed. `changed_at` is GHL's time of the change.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    contact_id: str
    location_id: str | None
    change: Literal["created", "updated", "deleted", "restored"]
    fields: frozenset[str]
    tags: TagChange
    changed_at: datetime
