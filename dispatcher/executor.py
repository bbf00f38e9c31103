"""Runs one event: through the gate of its destination, into its handler, and translates what came back into a settlement.

Foreign failures arrive as dispatcher.errors; what each costs is decided here and nowhere else.
"""

import asyncio
import hashlib
import json
import math
import random
import re
from functools import partial

from pydantic import ValidationError

from dispatcher.clients.oauth import NotConnected
from dispatcher.context import Context, Services
from dispatcher.destinations import Destinations
from dispatcher.errors import Forbidden, Gone, Misused, RateLimited, Refused, RemoteError, Unavailable
from dispatcher.outcome import Dead, Done, Outcome, Retry, Settled, Skipped, Snooze, reason_of
from dispatcher.running import Running
from dispatcher.worker import Lease
from outbox.errors import DatabaseUnavailable, OwnershipLost
from outbox.log import get_logger
from outbox.store.lanes import Burial, End, Wait, held_for

log = get_logger(__name__)

MOST_ATTEMPTS = 60  # for which a destination, or the database, is away for one event only, while it answers others
COINCIDENCES = 20  # outages of the database that one event may meet before they are taken for its own doing
LONGEST_WAIT_S = 30 * 86_400.0
# What differs between two deaths of one cause; the status that a destination answered is no such thing.
VARIABLE = re.compile(r"(?<!\banswered )(?:[0-9a-f]{8}-[0-9a-f-]{27}|\b[A-Za-z0-9_-]*\d[A-Za-z0-9_.:-]*\b|'[^']*'|\"[^\"]*\"|\[[^\]]*\])")


class Executor:
    """Shared by all events of a worker."""

    def __init__(self, services: Services, lease: Lease, destinations: Destinations) -> None:
        self._services, self._lease, self._destinations = services, lease, destinations
        self._rng = random.Random()  # noqa: S311 -- jitter, not secrecy

    async def run(self, running: Running) -> End | Wait | Burial | None:
        """The settlement of one run; None: it is committed already. Only the end of the worker ends it otherwise."""
        name, entered = self._name(running), False
        try:
            if name is not None:
                entered = self._destinations.enter(name, urgency=running.event.urgency) or await self._destinations.probe(
                    name, running.event.id, urgency=running.event.urgency
                )
                if not entered:
                    return self._hold(running, name)
            context = Context(running, self._services, self._lease)
            if name is not None:
                context.heard = partial(self._destinations.answered, name, running.event.id)
            outcome = await running.route.handler(running.event, context)
            if name is not None and context.has_asked(name):
                await self._destinations.answered(name, running.event.id)
            if isinstance(outcome, Settled) and not context.is_committed:
                outcome = Dead("its handler said that it had settled the event, but no transaction of it was committed")
            return self._settlement(running, outcome)
        except (KeyboardInterrupt, GeneratorExit):
            raise  # the person's who pressed Ctrl-C, and the interpreter's
        except asyncio.CancelledError:
            if (cause := _cause_of_cancelling(running)) is None:
                raise
            return self._settlement(running, Retry(cause))
        except BaseException as problem:  # noqa: BLE001 -- also a library's sys.exit(): the event's failure, not the end of this process
            return await self._failure(running, problem)
        finally:
            if entered and name is not None:
                self._destinations.leave(name, running.event.id, urgency=running.event.urgency)

    async def _failure(self, running: Running, problem: BaseException) -> End | Wait | Burial | None:
        """What an exception of a handler costs its event."""
        event = running.event
        match problem:
            case OwnershipLost():
                log.warning("event left to its owner", event_id=event.id, problem=problem)
                return self._wait(running, 0.0, "its worker was not sure to hold it", outcome=None)  # counts only if it is ours after all
            case NotConnected():
                return self._settlement(running, Skipped(str(problem)))
            case DatabaseUnavailable():
                # Also a transaction whose commit is unknown: if it did commit, the event is settled and this wait counts for nothing.
                return self._away(running, str(problem), soon=True)
            case RemoteError():
                try:
                    return await self._remote(running, problem)
                except DatabaseUnavailable:
                    return self._away(running, str(problem), soon=True)
                except asyncio.CancelledError:
                    if _cause_of_cancelling(running) is None:
                        raise
                    return self._settlement(running, Retry(str(problem)))
            case ValidationError():
                faults = "; ".join(_fault(error) for error in problem.errors(include_input=False, include_url=False)[:5])
                return self._settlement(running, Dead(f"the payload is not as expected: {faults}"))
            case _:
                log.error("a handler failed", event_id=event.id, kind=event.kind, exc_info=problem)
                return self._settlement(running, Retry(f"{type(problem).__name__}: {problem}"))

    async def _remote(self, running: Running, problem: RemoteError) -> End | Wait | Burial | None:
        event, name = running.event, problem.destination
        log.info(
            "a destination failed an event", event_id=event.id, destination=name, failure=type(problem).__name__, status=problem.status
        )
        # Only the route's own destination has a breaker: at no other is there a gate that would let a probe through.
        if name == self._name(running) and await self._destinations.failed(name, event.id, problem):
            return self._hold(running, name, note=str(problem))
        match problem:
            case RateLimited():
                return self._wait(running, problem.retry_after_s * (1 + 0.3 * self._rng.random()), f"{name} limits the rate", outcome="h")
            case Gone():
                return self._settlement(running, Skipped(str(problem)))
            case Refused() if problem.duplicate_of is not None:
                return self._settlement(running, Skipped(f"{name} has it already, as {problem.duplicate_of}"))
            case Refused() | Forbidden() | Misused():
                return self._settlement(running, Dead(str(problem)))
            case Unavailable():
                return self._away(running, str(problem))
            case _:
                return self._settlement(running, Retry(str(problem)))

    def _name(self, running: Running) -> str | None:
        return self._services.destination_of(running.route, running.event)

    def _away(self, running: Running, why: str, *, soon: bool = False) -> End | Wait | Burial | None:
        """Tried again at no cost, unless it is away for this event only: that shows after some sixty attempts.

        `soon`: it was our own database, which is back as soon as this wait can be stored; however many outages an event has met, the
        next is no reason to put it off (P9), until so many are no coincidence.
        """
        attempt = running.event.attempt
        if attempt >= MOST_ATTEMPTS:
            return self._settlement(running, Retry(why))
        delay_s = running.route.retry.next_delay_s(min(attempt, 6), rng=self._rng)
        if soon and attempt <= COINCIDENCES:
            delay_s = min(60.0 if delay_s is None else delay_s, 4 * (1 + 0.3 * self._rng.random()))
        return self._wait(running, 60.0 if delay_s is None else delay_s, reason_of(Retry(why)), outcome="r", restore=False)

    def _settlement(self, running: Running, outcome: Outcome | Settled) -> End | Wait | Burial | None:
        try:
            return self._translated(running, outcome)
        except (TypeError, ValueError, AttributeError, OverflowError) as problem:
            return self._bury(running, f"its handler returned an outcome that cannot be used ({type(problem).__name__})")

    def _translated(self, running: Running, outcome: Outcome | Settled) -> End | Wait | Burial | None:
        match outcome:
            case Done():
                return self._end(running, "d", outcome.note)
            case Skipped():
                return self._end(running, "s", reason_of(outcome))
            case Settled():
                return None
            case Retry():
                failures = running.event.failures + 1
                delay_s = running.route.retry.next_delay_s(failures, rng=self._rng, retry_after_s=outcome.after_s)
                if delay_s is None:
                    return self._bury(running, f"{reason_of(outcome)} (after {failures} failures)")
                return self._wait(running, delay_s, reason_of(outcome), outcome="r", charge=1, restore=False)
            case Snooze():
                if math.isnan(outcome.seconds):
                    raise ValueError("a snooze of no length")
                return self._wait(running, outcome.seconds, reason_of(outcome), outcome="z", restore=False)
            case Dead():
                return self._bury(running, reason_of(outcome))
        return self._bury(running, f"its handler returned {type(outcome).__name__}, which is no outcome")  # type: ignore[unreachable] # handlers are others' code

    def _end(self, running: Running, code: str, note: str | None) -> End:
        return End(running.event, self._lease.clock.at(running.started), running.took_ms(), code, note, running.followers)

    def _hold(self, running: Running, name: str, *, note: str | None = None) -> Wait:
        """Until the destination flows; costs no attempt."""
        self._destinations.hold(name)
        started = self._lease.clock.at(running.started)
        outcome = None if note is None else "h"
        return Wait(running.event, started, running.took_ms(), outcome, held_for(name), None, 0, running.event.attempt - 1)

    def _wait(self, running: Running, delay_s: float, why: str, *, outcome: str | None, charge: int = 0, restore: bool = True) -> Wait:
        """For a time, at most a month. `restore`: it costs no attempt either."""
        started = self._lease.clock.at(running.started)
        attempt = running.event.attempt - 1 if restore else running.event.attempt
        delay_s = min(max(0.0, delay_s), LONGEST_WAIT_S)
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
    return f"{'.'.join(str(part) for part in error['loc']) or 'payload'}: {error['msg']}"


def _cause_of_cancelling(running: Running) -> str | None:
    """Why a run was cancelled, when that is the event's own affair; None: the worker ends, and the event is handed back."""
    task = asyncio.current_task()
    if task is not None and running.timed_out:
        task.uncancel()
    if task is None or task.cancelling():
        return None
    return (
        f"its handler took longer than {running.route.deadline_s:g} s" if running.timed_out else "its handler was cancelled by its own code"
    )
