"""An app's appointment changes → the GHL contact's timeline: a note, tags, custom fields, a task; each exactly once, as a step.

Notes and tasks have no idempotency key at GHL: each carries our marker and is looked for by it after a lost answer. Tags and
fields may be written again without harm.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dispatcher.clients.ghl_models import ContactWrite
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome, Skipped
from outbox.event import Claimed
from outbox.kinds import Appointment, AppointmentChange

STATUS_FIELD, NEXT_FIELD = "appointment_status", "next_appointment_date"


@dataclass(frozen=True, slots=True)
class Task:
    """A task to be made; due `after` the event was staged, or `before` the appointment starts (not earlier than it was staged)."""

    title: str
    after: timedelta | None = None
    before: timedelta | None = None

    def due_at(self, appointment: Appointment, staged_at: datetime) -> datetime:
        """When it is due; the same in every run of the event."""
        starts_at = _start_of(appointment)
        if self.before is not None and starts_at is not None:
            return max(staged_at, starts_at - self.before)
        return staged_at + (self.after or timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Telling:
    """What one kind of change leaves at the contact."""

    sentence: str
    tag: str | None
    task: Task | None = None
    is_next: bool = True


async def created(event: Claimed, ctx: Context) -> Outcome:
    """Tell the contact's timeline of a new appointment, and remind of it a day before."""
    return await _tell(
        event, ctx, Telling("Appointment booked", "appointment-scheduled", Task("Remind of the appointment", before=timedelta(days=1)))
    )


async def updated(event: Claimed, ctx: Context) -> Outcome:
    """Tell the contact's timeline that the appointment changed."""
    return await _tell(event, ctx, Telling("Appointment changed", None))


async def confirmed(event: Claimed, ctx: Context) -> Outcome:
    """Tell the contact's timeline that the customer confirmed."""
    return await _tell(event, ctx, Telling("Appointment confirmed", "appointment-confirmed"))


async def cancelled(event: Claimed, ctx: Context) -> Outcome:
    """Tell the contact's timeline of the cancellation, and have somebody follow up."""
    task = Task("Follow up on the cancelled appointment", after=timedelta(days=1))
    return await _tell(event, ctx, Telling("Appointment cancelled", "appointment-cancelled", task, is_next=False))


async def completed(event: Claimed, ctx: Context) -> Outcome:
    """Tell the contact's timeline that the appointment took place, and have somebody ask how it was."""
    task = Task("Ask how satisfied the customer is", after=timedelta(days=1))
    return await _tell(event, ctx, Telling("Appointment completed", "appointment-completed", task, is_next=False))


async def _tell(event: Claimed, ctx: Context, telling: Telling) -> Outcome:
    change = AppointmentChange.model_validate_json(event.payload)
    appointment, contact_id = change.appointment, change.appointment.contact_id
    if not contact_id:
        return Skipped("no GHL contact is linked to the appointment")

    await ctx.step(
        "note",
        lambda: _write_note(ctx, contact_id, f"{_sentence(telling, change)}\n\n{ctx.marker('note')}"),
        find=lambda: _find_note(ctx, contact_id, ctx.marker("note")),
    )
    tags = [telling.tag] if telling.tag else []
    if tags:
        await ctx.step("tags", lambda: _change_tags(ctx, contact_id, tags, _outdated(change, telling.tag)), repeatable=True)
    fields = await ctx.step("fields", lambda: _set_fields(ctx, contact_id, appointment, is_next=telling.is_next), repeatable=True)
    if telling.task is not None:
        task, due_at = telling.task, telling.task.due_at(appointment, event.staged_at)
        await ctx.step(
            "task",
            lambda: _write_task(ctx, contact_id, task.title, due_at, f"{appointment.title or 'Appointment'}\n\n{ctx.marker('task')}"),
            find=lambda: _find_task(ctx, contact_id, ctx.marker("task")),
        )
    return Done(
        {
            "notesCreated": 1,
            "contactUpdated": bool(fields),
            "taskCreated": telling.task is not None,
            "tagsApplied": tags,
            "customFieldsUpdated": fields,
            "processingTime": ctx.took_ms(),
        }
    )


def _sentence(telling: Telling, change: AppointmentChange) -> str:
    appointment, previous = change.appointment, change.previous
    parts = [f"{telling.sentence}: {appointment.title or f'appointment {appointment.id}'}"]
    starts_at = _start_of(appointment)
    if starts_at is not None:
        parts.append(f"starts {starts_at:%Y-%m-%d %H:%M %Z}")
        started_at = None if previous is None else _start_of(previous)
        if started_at is not None and started_at != starts_at:
            parts.append(f"was {started_at:%Y-%m-%d %H:%M %Z}")
    return ", ".join(parts)


def _start_of(appointment: Appointment) -> datetime | None:
    """When it starts; a time without a zone, as apps keep them in a plain timestamp column, is UTC."""
    at = appointment.starts_at
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def _outdated(change: AppointmentChange, tag: str | None) -> list[str]:
    """The tag of the status before, which no longer holds."""
    before = f"appointment-{change.previous.status}" if change.previous is not None else None
    return [before] if before is not None and before != tag else []


async def _write_note(ctx: Context, contact_id: str, body: str) -> str:
    return (await ctx.ghl.create_note(contact_id, body)).id


async def _find_note(ctx: Context, contact_id: str, marker: str) -> str | None:
    return next((note.id for note in await ctx.ghl.list_notes(contact_id) if marker in (note.body or "")), None)


async def _write_task(ctx: Context, contact_id: str, title: str, due_at: datetime, body: str) -> str:
    return (await ctx.ghl.create_task(contact_id, title, due_at=due_at, body=body)).id


async def _find_task(ctx: Context, contact_id: str, marker: str) -> str | None:
    return next((task.id for task in await ctx.ghl.list_tasks(contact_id) if marker in (task.body or "")), None)


async def _change_tags(ctx: Context, contact_id: str, add: list[str], remove: list[str]) -> list[str]:
    await ctx.ghl.add_tags(contact_id, add)
    if remove:
        await ctx.ghl.remove_tags(contact_id, remove)
    return add


async def _set_fields(ctx: Context, contact_id: str, appointment: Appointment, *, is_next: bool) -> list[str]:
    """Sets those of the two fields that the location has; a location without them is told of the rest all the same."""
    starts_at = _start_of(appointment)
    starts_on = starts_at.date().isoformat() if is_next and starts_at is not None else None
    wanted = {STATUS_FIELD: str(appointment.status), NEXT_FIELD: starts_on}
    there = {name: value for name, value in wanted.items() if await ctx.ghl.custom_field(name) is not None}
    if there:
        await ctx.ghl.update_contact(contact_id, ContactWrite(custom_fields=there))
    return sorted(there)
