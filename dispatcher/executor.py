"""Runs one event: through the gate of its destination, into its handler, and translates what came back into a settlement.

Foreign failures arrive as dispatcher.errors; what each costs is decided here and nowhere else.
"""

import asyncio
import hashlib
import json
import random
import re

from pydantic import ValidationError

from dispatcher.context import Context, Services
from dispatcher.destinations import Destinations
from dispatcher.errors import Forbidden, Gone, Misused, RateLimited, Refused, RemoteError, Unavailable
from dispatcher.outcome import Dead, Done, Outcome, Retry, Settled, Skipped, Snooze
from dispatcher.running import Running
from dispatcher.worker import Lease
from outbox.errors import DatabaseUnavailable, OwnershipLost
from outbox.log import get_logger, scrub
from outbox.store.lanes import Burial, End, Wait, held_for

log = get_logger(__name__)

MOST_ATTEMPTS = 60  # of a destination that fails for one event only, while it answers others
VARIABLE = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[A-Za-z0-9_-]*\d[A-Za-z0-9_.:-]*\b|'[^']*'|\"[^\"]*\"|\[[^\]]*\]")


class Executor:
    """Shared by all events of a worker."""

    def __init__(self, services: Services, lease: Lease, destinations: Destinations) -> None:
        self._services, self._lease, self._destinations = services, lease, destinations
        self._rng = random.Random()  # noqa: S311 -- jitter, not secrecy

    async def run(self, running: Running) -> End | Wait | Burial | None:
        """The settlement of one run; None: it is committed already, or not ours any more."""
        name, entered = running.route.destination, False
        try:
            if name is not None:
                entered = self._destinations.enter(name) or await self._destinations.probe(name, running.event.id)
                if not entered:
                    return self._hold(running, name)
            outcome = await running.route.handler(running.event, Context(running, self._services, self._lease))
            if name is not None:
                await self._destinations.answered(name, running.event.id)
            return self._settlement(running, outcome)
        except asyncio.CancelledError:
            if not running.timed_out:
                raise
            if running.task is not None:
                running.task.uncancel()
            return self._settlement(running, Retry(f"its handler took longer than {running.route.deadline_s:g} s"))
        except Exception as problem:  # noqa: BLE001 -- whatever a handler does, the worker goes on and the event is settled
            return await self._failure(running, problem)
        finally:
            if entered and name is not None:
                self._destinations.leave(name)

    async def _failure(self, running: Running, problem: Exception) -> End | Wait | Burial | None:
        """What an exception of a handler costs its event."""
        event = running.event
        match problem:
            case OwnershipLost():
                log.warning("event left to its new owner", event_id=event.id, problem=problem)
                return None
            case DatabaseUnavailable():
                # Also a transaction whose commit is unknown: if it did commit, the event is settled and this wait counts for nothing.
                return self._wait(running, 1.0, "the database was away", outcome=None)
            case RemoteError():
                try:
                    return await self._remote(running, problem)
                except DatabaseUnavailable:
                    return self._wait(running, 1.0, str(problem), outcome=None)
            case ValidationError():
                faults = "; ".join(_fault(error) for error in problem.errors(include_input=False, include_url=False)[:5])
                return self._settlement(running, Dead(f"the payload is not as expected: {faults}"))
            case _:
                log.error("a handler failed", event_id=event.id, kind=event.kind, exc_info=problem)
                return self._settlement(running, Retry(f"{type(problem).__name__}: {problem}"))

    async def _remote(self, running: Running, problem: RemoteError) -> End | Wait | Burial | None:
        event, name = running.event, running.route.destination or problem.destination
        log.info(
            "a destination failed an event", event_id=event.id, destination=name, failure=type(problem).__name__, status=problem.status
        )
        if await self._destinations.failed(name, event.id, problem):
            return self._hold(running, name, note=str(problem))
        match problem:
            case RateLimited():
                return self._wait(running, problem.retry_after_s * (1 + 0.3 * self._rng.random()), f"{name} limits the rate", outcome="h")
            case Gone():
                return self._settlement(running, Skipped(str(problem)))
            case Refused() | Forbidden() | Misused():
                return self._settlement(running, Dead(str(problem)))
            case Unavailable() if event.attempt < MOST_ATTEMPTS:
                delay_s = running.route.retry.next_delay_s(min(event.attempt, 6), rng=self._rng) or 60.0
                return self._wait(running, delay_s, str(problem), outcome="r", restore=False)
            case _:
                return self._settlement(running, Retry(str(problem)))

    def _settlement(self, running: Running, outcome: Outcome | Settled) -> End | Wait | Burial | None:
        match outcome:
            case Done():
                return self._end(running, "d", outcome.note)
            case Skipped():
                return self._end(running, "s", scrub(outcome.reason)[:400])
            case Settled():
                return None
            case Retry():
                failures = running.event.failures + 1
                delay_s = running.route.retry.next_delay_s(failures, rng=self._rng, retry_after_s=outcome.after_s)
                reason = scrub(outcome.reason)[:400]
                if delay_s is None:
                    return self._bury(running, f"{reason} (after {failures} failures)")
                return self._wait(running, delay_s, reason, outcome="r", charge=1, restore=False)
            case Snooze():
                return self._wait(running, max(0.0, outcome.seconds), scrub(outcome.reason)[:400], outcome="z", restore=False)
            case Dead():
                return self._bury(running, scrub(outcome.reason)[:400])

    def _end(self, running: Running, code: str, note: str | None) -> End:
        return End(running.event, self._lease.clock.at(running.started), running.took_ms(), code, note, running.followers)

    def _hold(self, running: Running, name: str, *, note: str | None = None) -> Wait:
        """Until the destination flows; costs no attempt."""
        self._destinations.hold(name)
        started = self._lease.clock.at(running.started)
        outcome = None if note is None else "h"
        return Wait(running.event, started, running.took_ms(), outcome, held_for(name), None, 0, running.event.attempt - 1)

    def _wait(self, running: Running, delay_s: float, why: str, *, outcome: str | None, charge: int = 0, restore: bool = True) -> Wait:
        """For a time. `restore`: it costs no attempt either."""
        started = self._lease.clock.at(running.started)
        attempt = running.event.attempt - 1 if restore else running.event.attempt
        return Wait(running.event, started, running.took_ms(), outcome, why, delay_s, charge, attempt)

    def _bury(self, running: Running, reason: str) -> Burial:
        log.error("event buried", event_id=running.event.id, kind=running.event.kind, reason=reason)
        return Burial(
            running.event, self._lease.clock.at(running.started), running.took_ms(), fingerprint(running.event.kind, reason), reason
        )


def fingerprint(kind: str, reason: str) -> str:
    """The same for all dead letters of one cause: kind and message, with ids, numbers and quoted values left out."""
    shape = json.dumps([kind, VARIABLE.sub("‹…›", reason)])
    return hashlib.sha256(shape.encode()).hexdigest()[:8]


def _fault(error: object) -> str:
    """One field and what is wrong with it, without its value."""
    assert isinstance(error, dict)
    return f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"
