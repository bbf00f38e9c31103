"""An app's appointment changes → the GHL contact's timeline: a note, tags, custom fields, a task; each exactly once, as a step.

Notes and tasks have no idempotency key at GHL: each carries our marker and is looked for by it after a lost answer. Tags and
fields may be written again without harm. What GHL's calendar is told is in `calendar`. At the end our row of the contact is what GHL
shows, as our own writing, so that the webhooks of it are known as echoes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from dispatcher.clients.accounts import location_of
from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_models import ContactWrite
from dispatcher.context import Context
from dispatcher.handlers import calendar
from dispatcher.handlers.calendar import in_utc
from dispatcher.handlers.ghl_contacts import fetched
from dispatcher.outcome import Done, Outcome, Settled, Skipped
from outbox import kinds
from outbox.event import Claimed
from outbox.kinds import Appointment, AppointmentChange, AppointmentStatus
from outbox.store import appointments, contacts

STATUS_FIELD, NEXT_FIELD = "appointment_status", "next_appointment_date"


@dataclass(frozen=True, slots=True)
class Task:
    """A task to be made; due `after` the event was staged, or `before` the appointment starts (not earlier than it was staged)."""

    title: str
    after: timedelta | None = None
    before: timedelta | None = None

    def due_at(self, appointment: Appointment, staged_at: datetime) -> datetime:
        """When it is due; the same in every run of the event."""
        starts_at = in_utc(appointment.starts_at)
        if self.before is not None and starts_at is not None:
            return max(staged_at, starts_at - self.before)
        return staged_at + (self.after or timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Telling:
    """What one kind of change leaves at the contact."""

    sentence: str
    tag: str | None
    task: Task | None = None


async def created(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Tell the contact's timeline of a new appointment, and remind of it a day before."""
    return await _tell(
        event, ctx, Telling("Appointment booked", "appointment-scheduled", Task("Remind of the appointment", before=timedelta(days=1)))
    )


async def updated(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Tell the contact's timeline that the appointment changed."""
    return await _tell(event, ctx, Telling("Appointment changed", None))


async def confirmed(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Tell the contact's timeline that the customer confirmed."""
    return await _tell(event, ctx, Telling("Appointment confirmed", "appointment-confirmed"))


async def cancelled(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Tell the contact's timeline of the cancellation, and have somebody follow up."""
    task = Task("Follow up on the cancelled appointment", after=timedelta(days=1))
    return await _tell(event, ctx, Telling("Appointment cancelled", "appointment-cancelled", task))


async def completed(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Tell the contact's timeline that the appointment took place, and have somebody ask how it was; the contact is a customer now."""
    task = Task("Ask how satisfied the customer is", after=timedelta(days=1))
    return await _tell(event, ctx, Telling("Appointment completed", "appointment-completed", task))


async def _tell(event: Claimed, ctx: Context, telling: Telling) -> Outcome | Settled:
    change = AppointmentChange.model_validate_json(event.payload)
    appointment, contact_id = change.appointment, change.appointment.contact_id
    if not contact_id:
        return Skipped("no GHL contact is linked to the appointment")
    ghl = await ctx.ghl_for(location_of(event))

    await ctx.step(
        "note",
        lambda: write_note(ghl, contact_id, f"{_sentence(telling, change)}\n\n{ctx.marker('note')}"),
        find=lambda: find_note(ghl, contact_id, ctx.marker("note")),
    )
    tags = [telling.tag] if telling.tag else []
    if tags:
        await ctx.step("tags", lambda: _change_tags(ghl, contact_id, tags, _outdated(change, telling.tag)), repeatable=True)
    fields = await ctx.step("fields", lambda: _set_fields(ctx, ghl, contact_id, appointment, event.staged_at), repeatable=True)
    if telling.task is not None:
        task, due_at = telling.task, telling.task.due_at(appointment, event.staged_at)
        await ctx.step(
            "task",
            lambda: _write_task(ghl, contact_id, task.title, due_at, f"{appointment.title or 'Appointment'}\n\n{ctx.marker('task')}"),
            find=lambda: _find_task(ghl, contact_id, ctx.marker("task")),
        )
    booking = await calendar.keep(event, ctx, ghl, change, contact_id=contact_id)

    contact = await fetched(ghl, contact_id, fallback_at=event.staged_at)
    async with ctx.transaction() as tx:
        if contact is not None:
            await contacts.apply(tx.connection, contact, echo_of=event.id)
        if appointment.status == AppointmentStatus.COMPLETED:
            await contacts.mark_customer(tx.connection, contact_id, in_utc(appointment.starts_at) or event.staged_at)
        record: dict[str, object] = {
            "notesCreated": 1,
            "contactUpdated": bool(fields),
            "taskCreated": telling.task is not None,
            "tagsApplied": tags,
            "customFieldsUpdated": fields,
            "processingTime": ctx.took_ms(),
        }
        return await tx.settle(Done(record if booking is None else {**record, "calendar": booking}))


def _sentence(telling: Telling, change: AppointmentChange) -> str:
    appointment, previous = change.appointment, change.previous
    parts = [f"{telling.sentence}: {appointment.title or f'appointment {appointment.id}'}"]
    starts_at = in_utc(appointment.starts_at)
    if starts_at is not None:
        parts.append(f"starts {starts_at:%Y-%m-%d %H:%M %Z}")
        started_at = None if previous is None else in_utc(previous.starts_at)
        if started_at is not None and started_at != starts_at:
            parts.append(f"was {started_at:%Y-%m-%d %H:%M %Z}")
    return ", ".join(parts)


def _outdated(change: AppointmentChange, tag: str | None) -> list[str]:
    """The tag of the status before, which no longer holds."""
    before = f"appointment-{change.previous.status}" if change.previous is not None else None
    return [before] if before is not None and before != tag else []


async def write_note(ghl: GhlClient, contact_id: str, body: str) -> str:
    """Writes a note; returns its id."""
    return (await ghl.create_note(contact_id, body)).id


async def find_note(ghl: GhlClient, contact_id: str, marker: str) -> str | None:
    """The id of the note with our marker; None: there is none."""
    return next((note.id for note in await ghl.list_notes(contact_id) if marker in (note.body or "")), None)


async def _write_task(ghl: GhlClient, contact_id: str, title: str, due_at: datetime, body: str) -> str:
    return (await ghl.create_task(contact_id, title, due_at=due_at, body=body)).id


async def _find_task(ghl: GhlClient, contact_id: str, marker: str) -> str | None:
    return next((task.id for task in await ghl.list_tasks(contact_id) if marker in (task.body or "")), None)


async def _change_tags(ghl: GhlClient, contact_id: str, add: list[str], remove: list[str]) -> list[str]:
    await ghl.add_tags(contact_id, add)
    if remove:
        await ghl.remove_tags(contact_id, remove)
    return add


async def _set_fields(ctx: Context, ghl: GhlClient, contact_id: str, appointment: Appointment, staged_at: datetime) -> list[str]:
    """Sets those of the two fields that the location has; a location without them is told of the rest all the same."""
    wanted = {STATUS_FIELD: str(appointment.status), NEXT_FIELD: await _next_date(ctx, contact_id, appointment, staged_at)}
    there = {name: value for name, value in wanted.items() if await ghl.custom_field(name) is not None}
    if there:
        await ghl.update_contact(contact_id, ContactWrite(custom_fields=there))
    return sorted(there)


async def _next_date(ctx: Context, contact_id: str, appointment: Appointment, staged_at: datetime) -> str | None:
    """The day of the contact's next appointment: this one while it stands, unless another that we keep comes first."""
    other = await appointments.next_of_contact(ctx.services.pool, contact_id)
    this = in_utc(appointment.starts_at) if appointment.status not in kinds.ENDED else None
    to_come = [at for at in (this, other) if at is not None and at >= staged_at]
    at = min(to_come, default=this or other)
    return None if at is None else at.date().isoformat()
