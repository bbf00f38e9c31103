"""What a module of your own imports: everything that a handler needs, and nothing that may change under it.

docs/handlers.md is its manual. What is not named here is ours to move.
"""

from dispatcher.context import Context, Transaction
from dispatcher.errors import (
    AnswerLost,
    Failed,
    Forbidden,
    Gone,
    Misused,
    RateLimited,
    Refused,
    RemoteError,
    Unauthorised,
    Unavailable,
)
from dispatcher.outcome import Dead, Done, Outcome, Retry, Settled, Skipped, Snooze
from dispatcher.policy.retry import RetryPolicy
from dispatcher.routes import Handler, Route
from dispatcher.services import OpenClient
from outbox.errors import ConfigError
from outbox.event import Claimed, Event
from outbox.kinds import ContactChange, TagChange

__all__ = [
    "AnswerLost",
    "Claimed",
    "ConfigError",
    "ContactChange",
    "Context",
    "Dead",
    "Done",
    "Event",
    "Failed",
    "Forbidden",
    "Gone",
    "Handler",
    "Misused",
    "OpenClient",
    "Outcome",
    "RateLimited",
    "Refused",
    "RemoteError",
    "Retry",
    "RetryPolicy",
    "Route",
    "Settled",
    "Skipped",
    "Snooze",
    "TagChange",
    "Transaction",
    "Unauthorised",
    "Unavailable",
]
