"""outbox.runs: asked for, at work, ended. A run's id is its event's, and what holds the event holds the run.

Owns the one way in which a run is staged, for the schedule, the API, the command line and an external cron alike.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.errors import PostroomError
from outbox.queries import load
from outbox.store import syncs

Q = load("runs")
LANE: Final = "sync:"
MOST_HOURS_BACK: Final = 87_600
MOST_DELETIONS: Final = 10_000_000
SEEN_DAYS: Final = 7.0
RANGE: Final = "range"  # the type of a run whose span is asked for, not worked out
LONGEST_RANGE: Final = timedelta(days=3_660)
CALLED_AGAIN_S: Final = 300.0  # an external cron that calls twice within this means one run


class Trigger(StrEnum):
    """What asked for a run. GAP: webhooks may have been missed."""

    SCHEDULE = "schedule"
    GAP = "gap"
    MANUAL = "manual"
    CRON = "cron"


class RunState(StrEnum):
    """See schema.sql. The last four are ends; BRAKED: a person has to decide."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BRAKED = "braked"


ENDS: Final = frozenset({RunState.DONE, RunState.FAILED, RunState.CANCELLED, RunState.BRAKED})


class Category(StrEnum):
    """What kind of error it was."""

    API = "api"
    NETWORK = "network"
    RATE_LIMIT = "rate limit"
    VALIDATION = "validation"
    CONFLICT = "conflict"


class What(StrEnum):
    """What a run did to a record."""

    CREATED = "created"
    UPDATED = "updated"
    SKIPPED = "skipped"
    DELETED = "deleted"
    ERROR = "error"


class UnknownSync(PostroomError):
    """There is no sync of that name."""


class UnknownType(PostroomError):
    """The sync has no runs of that type."""


class WrongRange(PostroomError):
    """A range where there is none, or none where there must be one, or one that cannot be; the message says which, `field` of what."""

    def __init__(self, message: str, *, field: str = "since") -> None:
        super().__init__(message)
        self.field = field


class SwitchedOff(PostroomError):
    """The sync cannot run; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A run that was asked for. `is_new` False: it had been asked for before."""

    id: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened to one record. `record` is the far side's id; the note holds no personal data."""

    record: str
    what: What
    category: Category | None = None
    note: str | None = None


@dataclass(slots=True)
class Numbers:
    """What a run has done so far. `phase` None: it has only one; `expected` and `pace` (records a second) None: nobody knows."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    deleted: int = 0
    errors: int = 0
    errors_by: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    quota_left: int | None = None
    quota: int | None = None
    phase: str | None = None
    progress: int = 0
    expected: int | None = None
    pages: int = 0
    checkpoint: Any = None
    worked_ms: int = 0
    missed: dict[str, dict[str, int]] = field(default_factory=dict)
    pace: float | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A run as it begins, or goes on. `since` None: from the beginning; `kept` is what its sync keeps between runs."""

    id: int
    sync: str
    type: str
    trigger: Trigger
    dry_run: bool
    since: datetime | None
    until: datetime
    started_at: datetime
    may_delete: int | None
    off: str | None
    cancel_by: str | None
    kept: Mapping[str, Any]
    logged: int
    logged_errors: int
    numbers: Numbers


async def ask(
    connection: Connection,
    sync: str,
    type_: str,
    *,
    trigger: Trigger,
    by: str | None = None,
    hours_back: int | None = None,
    dry_run: bool = False,
    key: str | None = None,
    span: tuple[datetime, datetime] | None = None,
) -> Asked | None:
    """In the caller's transaction: stages a run. None: its key was used before, or a tick of this type waits already.

    `span` is that of a run of type range: from the first, to before the second. Raises UnknownSync, UnknownType, WrongRange, SwitchedOff.
    """
    known = await syncs.one(connection, sync)
    if known is None:
        raise UnknownSync(f"There is no sync {sync[:80]!r}.")
    if type_ not in known["types"]:
        raise UnknownType(f"{sync} has no runs of type {type_[:40]!r}; it has {', '.join(known['types'])}.")
    _check_range(sync, type_, span, hours_back)
    if known["off"] is not None:
        raise SwitchedOff(f"{sync} is off: {known['off']}.")
    name, _, account = sync.partition(":")
    payload = {"sync": sync, "type": type_, "trigger": trigger.value, "dry_run": dry_run, "hours_back": hours_back}
    if account:
        payload["account"] = account
    staged = await db.fetchval(
        connection,
        Q["stage"],
        f"sync.{name}",
        json.dumps(payload),
        key or f"{LANE}{sync}:{type_}:{secrets.token_hex(12)}",
        LANE + sync,
        sync,
        type_,
        trigger.value,
        by,
        hours_back,
        dry_run,
        *(span or (None, None)),
    )
    return None if staged is None else Asked(staged, is_new=True)


def _check_range(sync: str, type_: str, span: tuple[datetime, datetime] | None, hours_back: int | None) -> None:
    if type_ == "full" and hours_back is not None:
        raise WrongRange("A full run takes all of it: leave out hours_back.", field="hours_back")
    if type_ != RANGE:
        if span is not None:
            raise WrongRange(f"A run of type {type_} takes no range; one of type {RANGE} does.")
        return
    if span is None:
        raise WrongRange(f"A run of {sync} needs its range: from when, and to when.")
    if hours_back is not None:
        raise WrongRange("A run goes over a range or so many hours back, not both.")
    if span[0] >= span[1]:
        raise WrongRange("The range ends before it begins.")
    if span[1] - span[0] > LONGEST_RANGE:
        raise WrongRange(f"The range is longer than {LONGEST_RANGE.days} days.")


async def ask_once(connection: Connection, sync: str, type_: str, *, trigger: Trigger, by: str) -> Asked:
    """In the caller's transaction: as ask(), but one of that type that is undone, or that a cron just asked for, is the answer."""
    await db.fetch(connection, Q["turn"], sync)
    if (known := await db.fetchval(connection, Q["recent"], sync, type_, CALLED_AGAIN_S)) is not None:
        return Asked(known, is_new=False)
    asked = await ask(connection, sync, type_, trigger=trigger, by=by)
    assert asked is not None  # its key is fresh, and it is no tick
    return asked


async def ask_first(connection: Connection, sync: str, type_: str) -> Asked | None:
    """In the caller's transaction: the run with which a sync begins that has never run. None: it did, or is off, paused or unscheduled."""
    if await db.fetchrow(connection, Q["is_first"], sync, type_) is None:
        return None
    return await ask(connection, sync, type_, trigger=Trigger.SCHEDULE, key=f"{LANE}{sync}:first")


async def release(connection: Connection, sync: str, *, deletions: int, by: str) -> Asked:
    """In the caller's transaction: a person allows so many deletions, and a full run is asked for that does them. Raises as ask()."""
    asked = await ask(connection, sync, "full", trigger=Trigger.MANUAL, by=by)
    assert asked is not None  # its key is fresh, and it is no tick
    await syncs.allow(connection, sync, deletions=deletions)
    return asked


async def begin(connection: Connection, run_id: int) -> Begun | None:
    """In a transaction that holds the event: the run goes on, or begins. None: there is no such run."""
    await db.fetch(connection, Q["renew"], run_id)
    row = await db.fetchrow(connection, Q["begin"], run_id)
    if row is None:
        return None
    checkpoint, errors_by = row["checkpoint"], json.loads(row["errors_by"])
    counted = {name: row[name] for name in ("created", "updated", "unchanged", "skipped", "deleted", "errors")}
    going = {name: row[name] for name in ("calls", "quota_left", "quota", "phase", "progress", "expected", "pages", "worked_ms")}
    numbers = Numbers(**counted, **going, errors_by=errors_by, missed=json.loads(row["missed"]))
    numbers.checkpoint = None if checkpoint is None else json.loads(checkpoint)
    plain = {name: row[name] for name in ("id", "sync", "type", "dry_run", "since", "until", "started_at", "may_delete", "off")}
    return Begun(
        **plain,
        trigger=Trigger(row["trigger"]),
        cancel_by=row["cancel_by"],
        kept=json.loads(row["kept"]),
        logged=row["logged"],
        logged_errors=row["logged_errors"],
        numbers=numbers,
    )


async def keep(connection: Connection | Pool, run_id: int, numbers: Numbers, *, state: RunState, reason: str | None = None) -> str | None:
    """In the transaction of a page or of an end: where the run stands now. Returns who asked that it ends, if anybody did."""
    cancel_by = await db.fetchval(
        connection,
        Q["keep"],
        run_id,
        state.value,
        reason,
        state in ENDS,
        numbers.created,
        numbers.updated,
        numbers.unchanged,
        numbers.skipped,
        numbers.deleted,
        numbers.errors,
        json.dumps(numbers.errors_by),
        numbers.calls,
        numbers.quota_left,
        numbers.phase,
        numbers.progress,
        numbers.expected,
        numbers.pages,
        None if numbers.checkpoint is None else json.dumps(numbers.checkpoint),
        numbers.worked_ms,
        json.dumps(numbers.missed),
        numbers.quota,
        numbers.pace,
    )
    return None if cancel_by is None else str(cancel_by)


async def log(connection: Connection, run_id: int, entries: Sequence[Entry]) -> None:
    """What happened to records, in the page's transaction. The caller bounds their number."""
    records, whats = [one.record[:200] for one in entries], [one.what.value for one in entries]
    categories = [None if one.category is None else one.category.value for one in entries]
    await db.fetch(connection, Q["log"], run_id, records, whats, categories, [one.note for one in entries])


async def saw(connection: Connection, run_id: int, records: Sequence[str]) -> None:
    """A full run met these: they still exist over there."""
    await db.fetch(connection, Q["saw"], run_id, list(records))


async def forget_seen(connection: Connection, run_id: int) -> None:
    """What a full run met is needed no more."""
    await db.fetch(connection, Q["forget_seen"], run_id)


async def cancel(connection: Connection, run_id: int, *, by: str) -> RunState | None:
    """In the caller's transaction: CANCELLED at once when it is not at work, else RUNNING: it ends at its next page. None: it has ended."""
    if await db.fetchval(connection, Q["cancel_resting"], run_id, by) is not None:
        await forget_seen(connection, run_id)  # replayed, it begins anew
        return RunState.CANCELLED
    return None if await db.fetchval(connection, Q["cancel"], run_id, by) is None else RunState.RUNNING


async def end_dead(connection: Connection | Pool) -> list[int]:
    """Runs whose event died have failed. Returns their ids."""
    return [row["id"] for row in await db.fetch(connection, Q["end_dead"])]


async def every(connection: Connection | Pool, sync: str | None = None, *, before: int | None = None, limit: int = 50) -> list[Record]:
    """Runs, newest first."""
    return await db.fetch(connection, Q["list"], sync, before, limit)


async def some(connection: Connection | Pool, run_ids: Sequence[int]) -> list[Record]:
    """Runs with why they wait, in no order; those that there are not are missing."""
    return await db.fetch(connection, Q["some"], list(run_ids)) if run_ids else []


async def last(connection: Connection | Pool, names: Sequence[str], *, limit: int) -> dict[str, list[Record]]:
    """The newest runs of each of these syncs with their counts, newest first; one that never ran is not there."""
    found: dict[str, list[Record]] = {}
    for row in await db.fetch(connection, Q["last"], list(names), limit):
        found.setdefault(row["sync"], []).append(row)
    return found


async def usual(connection: Connection | Pool, sync: str, types: Sequence[str]) -> list[Record]:
    """What the last run of each of these types took that ended well and left nothing out; of a type without one there is none."""
    return await db.fetch(connection, Q["usual"], sync, list(types))


async def today(connection: Connection | Pool, names: Sequence[str]) -> dict[str, Record]:
    """Calls of today's runs of each of these syncs, the day's quota and what is left of it (NULL: nobody said so).

    A sync without such runs is not there.
    """
    return {row["sync"]: row for row in await db.fetch(connection, Q["today"], list(names))}


async def one(connection: Connection | Pool, run_id: int) -> Record | None:
    """A run with why it waits, or None."""
    return next(iter(await some(connection, [run_id])), None)


async def records(
    connection: Connection | Pool, run_id: int, *, what: What | None = None, category: Category | None = None, limit: int = 200
) -> list[Record]:
    """What it did to which record, errors first; `category`: only errors of it."""
    return await db.fetch(
        connection, Q["records"], run_id, None if what is None else what.value, limit, None if category is None else category.value
    )


async def examples(connection: Connection | Pool, run_id: int, *, each: int) -> list[Record]:
    """So many of the errors that it met of each category, the newest."""
    return await db.fetch(connection, Q["examples"], run_id, each)


async def prune(connection: Connection, *, keep_days: float, records_days: float) -> None:
    """Forgets what is old."""
    await db.fetch(connection, Q["prune_seen"], SEEN_DAYS)
    await db.fetch(connection, Q["prune_records"], records_days)
    await db.fetch(connection, Q["prune"], keep_days)
