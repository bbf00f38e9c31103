"""outbox.plans: dead letters retried or discarded, and settled events replayed, by a stored plan, in portions that prove themselves.

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
from outbox.store import events as event_store
from outbox.store.dead import Filter
from outbox.store.search import Wanted

Q = load("plans")
log = get_logger(__name__)
MOST_EVENTS = 100_000
MAKE_S = 60.0
LANES_LOOKED_AT, LOOK_FOR_NEWER_S = 100, 2.0  # a lane costs some milliseconds to look through
CANARY = (1, 10)
SAME_AGAIN_LIMIT = 0.05
STRAGGLERS = 100  # of a replay may still be under way when the next portion goes: few that retry for a day hold up nobody else
LOOKED_AT_ONCE = 1000  # turns that a portion goes through, when many are no longer as planned: a transaction stays short
ALL_PORTIONS = 2**31 - 1


class Act(StrEnum):
    """What a plan does: the first two with dead letters, the last with what is done or skipped."""

    RETRY = "retry"
    DISCARD = "discard"
    REPLAY = "replay"


PORTIONS: Mapping[Act, int] = {Act.RETRY: 100, Act.DISCARD: 500, Act.REPLAY: 500}


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
OF_A_REPLAY: Mapping[str, str] = {**BECAME, "x": "dead", "a": "was not settled"}


def words(act: str) -> Mapping[str, str]:
    """What became of an event of a plan, by the letter of its row."""
    return OF_A_REPLAY if act == Act.REPLAY else BECAME


def told(which: Filter | Wanted, ids: Sequence[int] | None) -> dict[str, Any]:
    """A filter as a plan keeps it: only what filters; of what was looked for in payloads only that it was."""
    given = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(which).items()}
    if given.get("text"):
        given["text"] = "…"
    return {name: value for name, value in {**given, "ids": list(ids or ())}.items() if value not in (None, (), [])}


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
        timeout_s=MAKE_S,
    )
    if made is not None and retries:
        await _mark_late(connection, made)
    return None if made is None else int(made)


async def make_replay(connection: Connection, which: Wanted, found: Sequence[int], *, by: str, by_id: bool = False) -> int | None:
    """Stores a plan of these, which the filter found, or a person named (`by_id`). None: none is known. In the caller's transaction."""
    which_as_told = json.dumps(told(which, found if by_id else None))
    made = await db.fetchval(connection, Q["make_replay"], list(found), which_as_told, by, timeout_s=MAKE_S)
    if made is not None:
        await _mark_late(connection, made)
    return None if made is None else int(made)


async def _mark_late(connection: Connection, plan_id: int) -> None:
    """For few lanes, and within its time, or not at all: a plan is good without it."""
    plan = await one(connection, plan_id)
    if plan is None or plan["lanes"] > LANES_LOOKED_AT:
        return
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
    return {words(row["act"]).get(row["became"], row["became"]): row["events"] for row in rows}


async def by_others(connection: Connection | Pool, plan_id: int) -> dict[str, int]:
    """What was done by somebody else to those that were no longer as planned, such as `retried by ana`, and to how many."""
    return {row["note"]: row["events"] for row in await db.fetch(connection, Q["by_others"], plan_id)}


async def portions(connection: Connection | Pool, plan_id: int) -> list[Record]:
    """The portions taken so far."""
    return await db.fetch(connection, Q["portions"], plan_id)


async def events(connection: Connection | Pool, plan_id: int, *, above: int = 0, limit: int = 100) -> list[Record]:
    """A plan's events in their turns, with what became of each."""
    return await db.fetch(connection, Q["events"], plan_id, above, limit)


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


async def resume(connection: Connection, plan_id: int) -> bool:
    """It goes on with the turns that are left. False when it was not stopped. The caller then calls `advance`."""
    return await db.fetchval(connection, Q["resume"], plan_id) is not None


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
        portion = await db.fetchrow(connection, Q["portion"], plan_id, plan["portion"])
        assert portion is not None
        state, why = judged(plan, portion)
        if state is State.RUNNING and not waits(plan, portion, state):
            await _take_portion(connection, plan)
            return True
        if (state, why) != (plan["state"], None):
            await db.fetch(connection, Q["move"], plan_id, str(state), plan["portion"], plan["turn"], why)
        return False


def judged(plan: Record | Mapping[str, Any], portion: Record | Mapping[str, Any]) -> tuple[State, str | None]:
    """Where a plan under way stands by what became of its portion, and why it stops. RUNNING: waits for it, or may take the next."""
    state, why = State(plan["state"]), None
    if state is State.RUNNING and plan["portion"] > plan["excused"] and portion["same"] > _allowance(plan, portion["sent"]):
        died = "died" if plan["act"] == Act.REPLAY else "came back dead by the same cause"
        state, why = State.STOPPING, f"{portion['same']} of {portion['sent']} {died}"
    if waits(plan, portion, state):
        return state, why
    if plan["turn"] >= plan["events"]:
        return State.DONE, None
    if state is State.STOPPING:
        return State.STOPPED, why
    return (State.RUNNING if plan["portion"] < plan["allowed"] else State.RESTING), None


def waits(plan: Record | Mapping[str, Any], portion: Record | Mapping[str, Any], state: State) -> bool:
    """Whether what was sent has to be over before anything else: all of it, or of a replay that goes on all but stragglers."""
    goes_on = state is State.RUNNING and plan["turn"] < plan["events"] and not _in_canary(plan)
    return bool(portion["under_way"] > (STRAGGLERS if goes_on and plan["act"] == Act.REPLAY else 0))


def _allowance(plan: Record | Mapping[str, Any], sent: int) -> int:
    """How many of a portion may come back dead: none of the canary."""
    return 0 if _in_canary(plan) else int(sent * SAME_AGAIN_LIMIT)


def _in_canary(plan: Record | Mapping[str, Any]) -> bool:
    return bool(plan["canary"] and plan["portion"] <= len(CANARY))


def size(plan: Record, portion: int) -> int:
    """How many the portion of this number sends."""
    if plan["act"] != Act.DISCARD and plan["canary"] and portion <= len(CANARY):
        return CANARY[portion - 1]
    return PORTIONS[Act(plan["act"])]


async def _take_portion(connection: Connection, plan: Record) -> None:
    """Sends the next portion. Turns that are no longer as planned are written down and do not count: a canary has its one event."""
    portion, turn = plan["portion"] + 1, plan["turn"]
    wanted = left = size(plan, portion)
    while left > 0 and turn - plan["turn"] < LOOKED_AT_ONCE and (turns := await db.fetch(connection, Q["next"], plan["id"], turn, left)):
        turn = turns[-1]["turn"]
        sent = set(await _send(connection, plan, [row["event_id"] for row in turns if _may_be_sent(plan, row)]))
        ends = [None if row["event_id"] in sent else _unsent(plan, row) for row in turns]
        if plan["act"] == Act.DISCARD:
            ends = [end or "s" for end in ends]
        await db.fetch(connection, Q["taken"], plan["id"], portion, [row["turn"] for row in turns], ends)
        left -= len(sent)
    is_taken = left < wanted or turn >= plan["events"]  # else none of so many was as planned: the portion goes on with the next turns
    await db.fetch(connection, Q["move"], plan["id"], str(State.RUNNING), portion if is_taken else portion - 1, turn, None)


async def _send(connection: Connection, plan: Record, ids: Sequence[int]) -> list[int]:
    """Those that somebody else took at the same moment are not among the returned."""
    if not ids:
        return []
    by = f"{plan['made_by']}, plan {plan['id']}"
    if plan["act"] == Act.DISCARD:
        return await dead.discard(connection, ids, by=by, reason=plan["reason"])
    if plan["act"] == Act.REPLAY:
        return await event_store.replay_many(connection, ids, by=by)
    return await dead.retry(connection, ids, by=by)


def _may_be_sent(plan: Record, row: Record) -> bool:
    """Of a replay, whether it is settled shows when it is sent."""
    return bool(row["is_known"] if plan["act"] == Act.REPLAY else row["is_dead"]) and not _left_out(plan, row)


def _left_out(plan: Record, row: Record) -> bool:
    return bool(plan["leave_out"] and row["is_late"])


def _unsent(plan: Record, row: Record) -> str:
    if not row["is_known"]:
        return "g"
    return "l" if _left_out(plan, row) and (row["is_dead"] or plan["act"] == Act.REPLAY) else "a"
