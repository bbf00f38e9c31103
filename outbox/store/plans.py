"""outbox.plans: dead letters retried or discarded by a stored plan, in portions that prove themselves.

The row is the act: what a plan holds was counted when it was made, and what it does next follows from its rows alone. `advance` is
one transaction by whoever locks the row, so a portion is sent and written down together, or neither.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Any

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from outbox.queries import load
from outbox.store import dead
from outbox.store.dead import Filter

Q = load("plans")
log = get_logger(__name__)
MOST_EVENTS = 100_000
LANES_LOOKED_AT, LOOK_FOR_NEWER_S = 100, 2.0  # a lane costs some milliseconds to look through
CANARY = (1, 10)
PORTION, DISCARDED_AT_ONCE = 100, 500
SAME_AGAIN_LIMIT = 0.05
ALL_PORTIONS = 2**31 - 1


class Act(StrEnum):
    """What a plan does with its dead letters."""

    RETRY = "retry"
    DISCARD = "discard"


class State(StrEnum):
    """Where a plan stands; see schema.sql for the drawing."""

    MADE = "made"
    RUNNING = "running"
    RESTING = "resting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DONE = "done"


BECAME: Mapping[str, str] = {
    "d": "done",
    "s": "skipped",
    "x": "dead again by the same cause",
    "y": "dead again by another cause",
    "a": "already retried",
    "g": "gone",
    "l": "left out",
}


def told(which: Filter, ids: Sequence[int] | None) -> dict[str, Any]:
    """A filter as a plan keeps it: only what filters."""
    given = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(which).items()}
    return {name: value for name, value in {**given, "ids": list(ids) if ids else None}.items() if value is not None}


async def make(
    connection: Connection,
    which: Filter,
    *,
    act: Act,
    by: str,
    ids: Sequence[int] | None = None,
    reason: str | None = None,
    canary: bool = True,
) -> int | None:
    """Stores a plan of what is dead now, at most the oldest MOST_EVENTS. None: the filter finds nothing. In the caller's transaction."""
    retries = act is Act.RETRY
    which_as_told = json.dumps(told(which, ids))
    made = await db.fetchval(
        connection,
        Q["make"],
        *which.values(),
        list(ids) if ids else None,
        str(act),
        which_as_told,
        reason,
        canary and retries,
        by,
        MOST_EVENTS,
    )
    if made is None:
        return None
    plan = await one(connection, made)
    if retries and plan is not None and plan["lanes"] <= LANES_LOOKED_AT:
        await _mark_late(connection, made)
    return int(made)


async def _mark_late(connection: Connection, plan_id: int) -> None:
    """Within its time, or not at all: a plan is good without it."""
    try:
        with db.mapped():
            async with connection.transaction():
                await connection.fetchval(Q["mark_late"], plan_id, timeout=LOOK_FOR_NEWER_S)
    except DatabaseUnavailable:
        log.info("a plan does not know which of its events are late: looking took too long", plan=plan_id)


async def one(connection: Connection | Pool, plan_id: int) -> Record | None:
    """A plan, or None."""
    return await db.fetchrow(connection, Q["one"], plan_id)


async def find(connection: Connection | Pool, *, before: int | None = None, limit: int = 50) -> list[Record]:
    """Plans, newest first."""
    return await db.fetch(connection, Q["list"], before, limit)


async def tally(connection: Connection | Pool, plan_id: int) -> dict[str, int]:
    """What became of a plan's events, in words; `waits` and `under way` are not over yet. The sum is the plan."""
    rows = await db.fetch(connection, Q["tally"], plan_id)
    return {BECAME.get(row["became"], row["became"]): row["events"] for row in rows}


async def portions(connection: Connection | Pool, plan_id: int) -> list[Record]:
    """The portions taken so far."""
    return await db.fetch(connection, Q["portions"], plan_id)


async def events(connection: Connection | Pool, plan_id: int, *, above: int = 0, limit: int = 100) -> list[Record]:
    """A plan's events in their turns, with what became of each."""
    return await db.fetch(connection, Q["events"], plan_id, above, limit)


async def kinds(connection: Connection | Pool, plan_id: int) -> dict[str, int]:
    """How many of which kind, the most first."""
    return {row["kind"]: row["events"] for row in await db.fetch(connection, Q["kinds"], plan_id)}


async def start(connection: Connection, plan_id: int, *, canary: bool, alone: bool, leave_out: bool) -> bool:
    """`alone`: goes on by itself after the canary. False when it was begun before. The caller then calls `advance`."""
    allowed = 1 if canary and not alone else ALL_PORTIONS
    return await db.fetchval(connection, Q["start"], plan_id, canary, leave_out, allowed) is not None


async def go_on(connection: Connection, plan: Record, *, alone: bool) -> bool:
    """After a portion of the canary. False when it does not rest. The caller then calls `advance`."""
    further = plan["portion"] + 1
    allowed = ALL_PORTIONS if alone or further > len(CANARY) else further
    return await db.fetchval(connection, Q["go_on"], plan["id"], allowed) is not None


async def stop(connection: Connection, plan_id: int, *, why: str) -> bool:
    """No portion more; what was sent goes on and is waited for. False when there is nothing to stop."""
    return await db.fetchval(connection, Q["stop"], plan_id, why) is not None


async def prune(connection: Connection, *, older_than_days: int) -> None:
    """Drops plans that are over, or were never begun, and are old."""
    await db.fetch(connection, Q["prune"], older_than_days)


async def under_way(connection: Connection | Pool) -> list[int]:
    """The plans that `advance` may move."""
    return [row["id"] for row in await db.fetch(connection, Q["under_way"])]


async def advance(pool: Pool, plan_id: int) -> bool:
    """Writes down what is over, then stops, rests, or takes the next portion. True: it took one, and may have more to do at once."""
    async with db.transaction(pool) as connection:
        plan = await db.fetchrow(connection, Q["take"], plan_id)
        if plan is None:
            return False
        await db.fetch(connection, Q["settle"], plan_id)
        portion = next((row for row in await portions(connection, plan_id) if row["portion"] == plan["portion"]), None)
        state, why = judged(plan, portion)
        if state is State.RUNNING and (portion is None or portion["under_way"] == 0):
            await _take_portion(connection, plan)
            return True
        if (state, why) != (plan["state"], None):
            await db.fetch(connection, Q["move"], plan_id, str(state), plan["portion"], plan["turn"], why)
        return False


def judged(plan: Record | Mapping[str, Any], portion: Record | Mapping[str, Any] | None) -> tuple[State, str | None]:
    """Where a plan under way stands by what became of its portion, and why it stops. RUNNING: waits for it, or may take the next."""
    state, why = State(plan["state"]), None
    if portion is not None and state is State.RUNNING and portion["same"] > _allowance(plan, portion["sent"]):
        state, why = State.STOPPING, f"{portion['same']} of {portion['sent']} came back dead by the same cause"
    if portion is not None and portion["under_way"]:
        return state, why
    if plan["turn"] >= plan["events"]:
        return State.DONE, None
    if state is State.STOPPING:
        return State.STOPPED, why
    return (State.RUNNING if plan["portion"] < plan["allowed"] else State.RESTING), None


def _allowance(plan: Record | Mapping[str, Any], sent: int) -> int:
    """How many of a portion may come back dead by the same cause: none of the canary."""
    return 0 if plan["canary"] and plan["portion"] <= len(CANARY) else int(sent * SAME_AGAIN_LIMIT)


def size(plan: Record, portion: int) -> int:
    """How many the portion of this number sends."""
    if plan["act"] == Act.DISCARD:
        return DISCARDED_AT_ONCE
    return CANARY[portion - 1] if plan["canary"] and portion <= len(CANARY) else PORTION


async def _take_portion(connection: Connection, plan: Record) -> None:
    """Sends the next portion. Turns that are no longer as planned are written down and do not count: a canary has its one event."""
    portion, turn = plan["portion"] + 1, plan["turn"]
    wanted = size(plan, portion)
    while wanted > 0 and (turns := await db.fetch(connection, Q["next"], plan["id"], turn, wanted)):
        turn = turns[-1]["turn"]
        sent = set(await _send(connection, plan, [row["event_id"] for row in turns if row["is_dead"] and not _left_out(plan, row)]))
        ends = [None if row["event_id"] in sent else _unsent(plan, row) for row in turns]
        if plan["act"] == Act.DISCARD:
            ends = [end or "s" for end in ends]
        await db.fetch(connection, Q["taken"], plan["id"], portion, [row["turn"] for row in turns], ends)
        wanted -= len(sent)
    await db.fetch(connection, Q["move"], plan["id"], str(State.RUNNING), portion, turn, None)


async def _send(connection: Connection, plan: Record, ids: Sequence[int]) -> list[int]:
    """Those that somebody else took at the same moment are not among the returned."""
    if not ids:
        return []
    by = f"{plan['made_by']}, plan {plan['id']}"
    if plan["act"] == Act.DISCARD:
        return await dead.discard(connection, ids, by=by, reason=plan["reason"])
    return await dead.retry(connection, ids, by=by)


def _left_out(plan: Record, row: Record) -> bool:
    return bool(plan["leave_out"] and row["is_late"])


def _unsent(plan: Record, row: Record) -> str:
    if not row["is_known"]:
        return "g"
    return "l" if row["is_dead"] and _left_out(plan, row) else "a"
