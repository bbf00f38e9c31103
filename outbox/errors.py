"""The root of every error that Postroom raises, and those of the outbox.

PostroomError
├─ ConfigError          what was set cannot be used
├─ DatabaseUnavailable  no answer from Postgres; the same call may go through later
├─ SchemaMismatch       the database is of another version than this code
├─ KeyReused            an idempotency key came with another body
├─ InvalidEvent         an event that cannot be staged
├─ OwnershipLost        this worker no longer holds the event
├─ NotNow               an operator's act that does not fit how things are
├─ IllegalTransition    a status that the life of an appointment does not allow
└─ SlotTaken            another appointment has the resource at that time
"""

from datetime import UTC, datetime
from uuid import UUID


class PostroomError(Exception):
    """Something that Postroom says on purpose. The message names what, which, and what to do now."""


class ConfigError(PostroomError):
    """What was set cannot be used; the message names each variable and never a secret's value."""


class DatabaseUnavailable(PostroomError):
    """Postgres did not answer, or not in time; the call may be repeated later."""


class SchemaMismatch(PostroomError):
    """The database's schema is newer or older than this code."""


class KeyReused(PostroomError):
    """An idempotency key of a source was used before, for another body."""


class InvalidEvent(PostroomError, ValueError):
    """An event that cannot be staged: a bad kind, an empty key, a payload that is no JSON or too large."""


class OwnershipLost(PostroomError):
    """The event is held by another worker or was settled: nothing that this handler still does counts."""


class NotNow(PostroomError):
    """An operator's act does not fit how things are; the message says how they are. Nothing was changed.

    `word` is for programs. `state` is the event's, if the act was for one; `is_unknown` says that there is no such thing at all.
    """

    def __init__(self, message: str, *, word: str = "not-now", state: str | None = None, is_unknown: bool = False) -> None:
        super().__init__(message)
        self.word, self.state, self.is_unknown = word, state, is_unknown


class IllegalTransition(PostroomError):
    """The life of an appointment does not allow this status; the message says what it does allow. Nothing was changed."""


class SlotTaken(PostroomError):
    """Another standing appointment has the resource at that time. `appointment_id` is None when it went away while we looked."""

    def __init__(self, resource: str, *, appointment_id: UUID | None, starts_at: datetime, ends_at: datetime) -> None:
        who = "another appointment" if appointment_id is None else f"appointment {appointment_id}"
        span = f"{starts_at.astimezone(UTC):%Y-%m-%d %H:%M} to {ends_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        super().__init__(f"{resource!r} is taken by {who}, {span}; choose another time or another resource")
        self.resource = resource
        self.appointment_id = appointment_id
        self.starts_at = starts_at
        self.ends_at = ends_at
