"""Scheduled syncs: how they stand, their runs, and what a person may do about them. A dispatcher does the work; this only asks for it."""

from datetime import datetime
from typing import Any

from outbox import cadence, sync_facts
from outbox.cadence import InvalidCadence
from outbox.errors import PostroomError
from outbox.store import events, runs, schedules, syncs
from outbox.store.runs import SwitchedOff, Trigger, UnknownSync, UnknownType, WrongRange
from outbox.store.schedules import CatchUp
from receiver.api.operation import Answer, Call, NoBody, NoQuery, Operation, Table
from receiver.api.sync_shapes import (
    Detail,
    Errors,
    PauseTold,
    RecordsAsked,
    ReleaseTold,
    Run,
    RunDetail,
    Runs,
    RunsAsked,
    RunTold,
    ScheduleTold,
    Started,
    Sync,
    Syncs,
    SyncsAsked,
    Touched,
)
from receiver.config import Role
from receiver.errors import Problem, conflict, invalid, not_found


async def list_syncs(call: Call[SyncsAsked, NoBody]) -> Answer:
    """What a dispatcher has written down, by name; those of single users only when they are asked for."""
    asked, pool, after = call.query, call.desk.pool, call.query.after or ""
    if asked.light is not None:
        if not asked.users or asked.owner is not None:
            raise invalid([{"field": "light", "message": "A light goes with users=1, and with no owner."}])
        found, next_after = await sync_facts.page_of_users(pool, after=after, limit=asked.limit, light=asked.light)
        return Answer(Syncs(syncs=[Sync(**facts) for facts in found], users=None, next_after=next_after))
    is_folded = not asked.users and asked.owner is None
    found = await sync_facts.page(pool, after=after, limit=asked.limit, users=not is_folded, owner=asked.owner)
    return Answer(
        Syncs(
            syncs=[Sync(**facts) for facts in found],
            users=await sync_facts.users(pool) if is_folded and asked.after is None else None,
            next_after=found[-1]["name"] if len(found) == asked.limit else None,
        )
    )


async def one_sync(call: Call[NoQuery, NoBody]) -> Answer:
    """One, with what its last run did."""
    facts = await sync_facts.one(call.desk.pool, call.path["name"])
    if facts is None:
        raise _unknown()
    return Answer(Detail(**facts))


async def list_runs(call: Call[RunsAsked, NoBody]) -> Answer:
    """Newest first."""
    name, asked = call.path["name"], call.query
    if await syncs.one(call.desk.pool, name) is None:
        raise _unknown()
    rows = await runs.every(call.desk.pool, name, before=asked.before, limit=asked.limit)
    return Answer(Runs(runs=[Run(**sync_facts.run(row)) for row in rows], next_before=rows[-1]["id"] if len(rows) == asked.limit else None))


async def start_run(call: Call[NoQuery, RunTold]) -> Answer:
    """Asks for a run; it begins when those before it have ended."""
    name, told = call.path["name"], call.body
    span = _span(told)
    async with call.desk.pool.acquire() as connection, connection.transaction():
        with _as_problem():
            asked = await runs.ask(
                connection, name, told.type, trigger=Trigger.MANUAL, by=call.by, hours_back=told.hours_back, dry_run=told.dry_run, span=span
            )
        assert asked is not None  # its key is fresh
        target = f"{name} {told.type}"
        await call.note(
            connection, "sync", target=target, run=asked.id, hours_back=told.hours_back, dry_run=told.dry_run, range=_as_text(span)
        )
    return Answer(Started(run=asked.id, is_new=True), 202)


async def one_run(call: Call[RecordsAsked, NoBody]) -> Answer:
    """A run, with what it did to which record."""
    row, pool = await _run(call), call.desk.pool
    records = await runs.records(pool, row["id"], what=call.query.what, limit=call.query.limit)
    touched = [Touched(**sync_facts.record(row["sync"], entry)) for entry in records]
    met = [Errors(**one) for one in await sync_facts.errors(pool, row)]
    return Answer(RunDetail(run=Run(**sync_facts.run(row)), errors=met, records=touched))


async def cancel_run(call: Call[NoQuery, NoBody]) -> Answer:
    """A run at work ends behind its page; one that waits ends at once."""
    row = await _run(call)
    async with call.desk.pool.acquire() as connection, connection.transaction():
        state = await runs.cancel(connection, row["id"], by=call.by)
        if state is None and row["ended_at"] is not None:
            raise conflict("has-ended", f"Run {row['id']} has ended: it is {row['state']}.", state=row["state"])
        await call.note(connection, "cancel sync", target=row["id"])
    return await one_run(Call(call.desk, call.who, call.path, RecordsAsked(), NoBody()))


async def pause(call: Call[NoQuery, PauseTold]) -> Answer:
    """Its schedule stands; a run at work goes on, and runs by hand are possible."""
    name = call.path["name"]
    async with call.desk.pool.acquire() as connection, connection.transaction():
        if not await syncs.pause(connection, name, by=call.by, why=call.body.reason):
            raise _unknown()
        await call.note(connection, "pause sync", target=name, reason=call.body.reason)
    return await one_sync(_plain(call))


async def resume(call: Call[NoQuery, NoBody]) -> Answer:
    """Its schedule goes on; what was missed is made good as each schedule says."""
    name = call.path["name"]
    async with call.desk.pool.acquire() as connection, connection.transaction():
        changed = await syncs.resume(connection, name)
        await call.note(connection, "resume sync", target=name, changed=changed)
    return await one_sync(_plain(call))


async def release(call: Call[NoQuery, ReleaseTold]) -> Answer:
    """Allows the next sweep so many deletions, and asks for a full run, which does them."""
    name, deletions = call.path["name"], call.body.deletions
    async with call.desk.pool.acquire() as connection, connection.transaction():
        with _as_problem():
            asked = await runs.release(connection, name, deletions=deletions, by=call.by)
        await call.note(connection, "release sync", target=name, deletions=deletions, run=asked.id)
    return Answer(Started(run=asked.id, is_new=True), 202)


async def edit_schedule(call: Call[NoQuery, ScheduleTold]) -> Answer:
    """Seen by every dispatcher within seconds."""
    name, type_, told = call.path["name"], call.path["type"], call.body
    known = await syncs.one(call.desk.pool, name)
    if known is None:
        raise _unknown()
    if type_ not in known["types"]:
        raise not_found(f"{name} has no runs of that type; it has {', '.join(known['types'])}.")
    try:
        rule = cadence.read(told.cron, told.zone, told.every_s)
        if told.cron is None and told.zone is not None:
            raise InvalidCadence("an interval has no zone")
    except InvalidCadence as problem:
        raise invalid([{"field": "cron" if told.cron is not None else "every_s", "message": str(problem)}]) from None
    now = await events.clock(call.desk.pool)
    async with call.desk.pool.acquire() as connection, connection.transaction():
        await schedules.edit(connection, name, type_, rule, catch_up=CatchUp(told.catch_up), on=told.on, now=now, by=call.by)
        await call.note(connection, "edit schedule", target=f"{name} {type_}", **told.model_dump(exclude_none=True))
    return await one_sync(_plain(call))


async def cron(call: Call[NoQuery, NoBody]) -> Answer:
    """For an external scheduler. Called twice, it means one run."""
    name, type_ = call.path["sync"], call.path["type"]
    async with call.desk.pool.acquire() as connection, connection.transaction():
        with _as_problem():
            asked = await runs.ask_once(connection, name, type_, trigger=Trigger.CRON, by=call.by)
    return Answer(Started(run=asked.id, is_new=asked.is_new), 202 if asked.is_new else 200)


def _span(told: RunTold) -> tuple[datetime, datetime] | None:
    if told.since is None and told.until is None:
        return None
    if told.since is None or told.until is None:
        raise invalid([{"field": "until" if told.until is None else "since", "message": "A range has both since and until."}])
    return told.since, told.until


def _as_text(span: tuple[datetime, datetime] | None) -> list[str] | None:
    return span and [at.isoformat() for at in span]


async def _run(call: Call[Any, Any]) -> Any:
    row = await runs.one(call.desk.pool, call.event_id())
    if row is None or row["sync"] != call.path["name"]:
        raise not_found("There is no such run of this sync.")
    return row


def _plain(call: Call[Any, Any]) -> Call[NoQuery, NoBody]:
    return Call(call.desk, call.who, call.path, NoQuery(), NoBody())


def _unknown() -> Problem:
    return not_found("There is no such sync; GET /api/syncs lists those that a dispatcher has written down.")


class _as_problem:  # noqa: N801 -- reads as a statement
    """Refusals of the store as answers."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, problem: BaseException | None, _: object) -> None:
        match problem:
            case UnknownSync():
                raise _unknown() from None
            case UnknownType():
                raise invalid([{"field": "type", "message": str(problem)}]) from None
            case WrongRange():
                raise invalid([{"field": problem.field, "message": str(problem)}]) from None
            case SwitchedOff():
                raise conflict("sync-off", str(problem)) from None
            case PostroomError() | None | _:
                return


_RUN, _SYNC = "/api/syncs/{name}/runs/{id}", "/api/syncs/{name}"
OPERATIONS: Table = (
    Operation("GET", "/api/syncs", "Scheduled syncs and how they stand", Role.VIEWER, list_syncs, SyncsAsked, NoBody, Syncs),
    Operation("GET", _SYNC, "One sync", Role.VIEWER, one_sync, NoQuery, NoBody, Detail),
    Operation("GET", f"{_SYNC}/runs", "Its runs", Role.VIEWER, list_runs, RunsAsked, NoBody, Runs),
    Operation(
        "POST", f"{_SYNC}/runs", "Ask for a run", Role.OPERATOR, start_run, NoQuery, RunTold, Started, 202, also={409: "It is off"}
    ),
    Operation("GET", _RUN, "A run and its log", Role.VIEWER, one_run, RecordsAsked, NoBody, RunDetail),
    Operation(
        "POST", f"{_RUN}/cancel", "End a run", Role.OPERATOR, cancel_run, NoQuery, NoBody, RunDetail, also={409: "It has ended"}
    ),
    Operation("POST", f"{_SYNC}/pause", "Stop its schedule", Role.OPERATOR, pause, NoQuery, PauseTold, Detail),
    Operation("POST", f"{_SYNC}/resume", "Let its schedule go on", Role.OPERATOR, resume, NoQuery, NoBody, Detail),
    Operation(
        "POST", f"{_SYNC}/release", "Allow the next sweep its deletions", Role.OPERATOR, release, NoQuery, ReleaseTold, Started, 202,
        also={409: "It is off"},
    ),
    Operation(
        "PUT", f"{_SYNC}/schedules/{{type}}", "Edit a schedule", Role.OPERATOR, edit_schedule, NoQuery, ScheduleTold, Detail
    ),
    Operation(
        "GET", "/api/cron/{sync}/{type}", "Ask for a run, as an external scheduler", None, cron, NoQuery, NoBody, Started, 202,
        also={200: "One was under way, or just asked for", 409: "It is off", 422: "It has no runs of this type"}, by_cron=True,
    ),
)  # fmt: skip
