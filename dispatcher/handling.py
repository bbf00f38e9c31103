"""What a module of your own imports: everything that a handler or a sync needs, and nothing that may change under it.

docs/handlers.md is its manual. What is not named here is ours to move.
"""

from dispatcher.context import Context, Services, Transaction
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
from dispatcher.handlers.connection_tests import tested
from dispatcher.outcome import Dead, Done, Outcome, Retry, Settled, Skipped, Snooze
from dispatcher.policy.retry import RetryPolicy
from dispatcher.routes import Handler, Route
from dispatcher.services import OpenClient
from dispatcher.syncs.base import Default, NeedsPerson, RunType, Sync, Unusable
from dispatcher.syncs.run import Page, Run
from outbox.cadence import Cron, Every
from outbox.errors import ConfigError
from outbox.event import Claimed, Event
from outbox.kinds import ContactChange, TagChange
from outbox.store.runs import Category, What
from outbox.store.schedules import CatchUp

__all__ = [
    "AnswerLost",
    "CatchUp",
    "Category",
    "Claimed",
    "ConfigError",
    "ContactChange",
    "Context",
    "Cron",
    "Dead",
    "Default",
    "Done",
    "Event",
    "Every",
    "Failed",
    "Forbidden",
    "Gone",
    "Handler",
    "Misused",
    "NeedsPerson",
    "OpenClient",
    "Outcome",
    "Page",
    "RateLimited",
    "Refused",
    "RemoteError",
    "Retry",
    "RetryPolicy",
    "Route",
    "Run",
    "RunType",
    "Services",
    "Settled",
    "Skipped",
    "Snooze",
    "Sync",
    "TagChange",
    "Transaction",
    "Unauthorised",
    "Unavailable",
    "Unusable",
    "What",
    "tested",
]
