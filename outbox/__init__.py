"""The library that apps import, and the only part that talks to Postgres."""

from outbox.errors import ConfigError, DatabaseUnavailable, InvalidEvent, KeyReused, OwnershipLost, PostroomError, SchemaMismatch
from outbox.event import Claimed, Event, State
from outbox.staging import stage

__all__ = [
    "Claimed",
    "ConfigError",
    "DatabaseUnavailable",
    "Event",
    "InvalidEvent",
    "KeyReused",
    "OwnershipLost",
    "PostroomError",
    "SchemaMismatch",
    "State",
    "stage",
]
