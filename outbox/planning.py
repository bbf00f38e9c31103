"""What operators do with stored plans, each act with its row of the audit: make, start, continue, stop, resume. See outbox.store.plans.

As outbox.operators, whose rules hold here: an act takes a pool or a connection, and raises NotNow when it cannot be done as things are.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg

from outbox import ways
from outbox.db import Pool, Record
from outbox.errors import NotNow
from outbox.event import State as EventState
from outbox.operators import Actor, Where, transaction
from outbox.store import budgets, destinations, plans, routes, search
from outbox.store.dead import Filter
from outbox.store.plans import MOST_EVENTS, Act, State
from outbox.store.search import Wanted
from outbox.timeline import iso

PAUSED = "paused"
LOOK_S = 30.0
SETTLED = (str(EventState.DONE), str(EventState.SKIPPED))
FIELDS = (
    *("id", "act", "state", "why", "reason", "events", "lanes", "ceiling"),
    *("steps_done", "newer", "canary", "leave_out", "portion", "turn"),
)


async def make(
    where: Where, actor: Actor, which: Filter, *, act: Act, ids: Sequence[int] | None = None, reason: str | None = None, canary: bool = True
) -> int:
    """Stores what a retry or discard would do. Raises NotNow when nothing is found."""
    async with transaction(where) as connection:
        made = await plans.make(connection, which, act=act, by=actor.name, ids=ids, reason=reason, canary=canary)
        if made is None:
            raise NotNow("No dead letter fits: nothing to plan.")
        plan = await plans.one(connection, made)
        assert plan is not None
        await actor.note(connection, f"plan {act}", target=made, reason=reason, events=plan["events"], **plans.told(which, ids))
    return made


async def make_replay(pool: Pool, actor: Actor, which: Wanted, *, ids: Sequence[int] = (), known_sources: Sequence[str] = ()) -> int:
    """Stores what a replay of all that is settled and fits, or of these ids, would do. Raises NotNow when that is nothing, or too much."""
    found = sorted(set(ids)) if ids else await settled(pool, which, known_sources=known_sources)
    async with transaction(pool) as connection:
        made = await plans.make_replay(connection, which, found, by=actor.name, by_id=bool(ids))
        if made is None:
            raise NotNow("Nothing that is done or skipped fits: nothing to plan. A dead letter is retried.")
        plan = await plans.one(connection, made)
        assert plan is not None
        told = plans.told(which, ids)
        await actor.note(connection, "plan replay", target=made, events=plan["events"], ceiling=plan["ceiling"], **told)
    return made


async def settled(pool: Pool, which: Wanted, *, known_sources: Sequence[str] = ()) -> list[int]:
    """The ids that a plan of a replay would hold. Raises NotNow when they are too many, or not found in time."""
    states = [state for state in SETTLED if which.has_state(state)]
    if not states or which.group is not None:
        return []
    try:
        async with asyncio.timeout(LOOK_S):
            found = await search.settled(pool, replace(which, states=states, marks=()), most=MOST_EVENTS, known_sources=known_sources)
    except TimeoutError:
        raise NotNow(
            f"Looking for all that fits took more than {LOOK_S:.0f} s. Name a shorter time, and plan the rest afterwards."
        ) from None
    if len(found) > MOST_EVENTS:
        raise NotNow(f"More than {MOST_EVENTS:,} settled events fit. Name a shorter time, and plan the rest afterwards.")
    return found


async def start(where: Where, actor: Actor, plan_id: int, *, canary: bool = True, alone: bool = False, leave_out: bool = False) -> None:
    """Begins it: its first portion is sent before this returns. Raises NotNow."""
    plan = await _known(where, plan_id)
    if plan["act"] != Act.DISCARD and (stopped := [d for d in await _destinations(where, plan) if d["state"] == PAUSED]):
        raise NotNow(f"{stopped[0]['name']} is paused; its events would only wait. Resume it first.")
    async with transaction(where) as connection:
        if not await plans.start(connection, plan_id, canary=canary and plan["act"] != Act.DISCARD, alone=alone, leave_out=leave_out):
            raise NotNow(f"Plan {plan_id} was started before: it is {plan['state']}.")
        await actor.note(connection, "start plan", target=plan_id, canary=canary, alone=alone, leave_out=leave_out)
    await _carry_on(where, plan_id)


async def go_on(where: Where, actor: Actor, plan_id: int, *, alone: bool = False) -> None:
    """After a portion of the canary. Raises NotNow."""
    async with transaction(where) as connection:
        plan = await _known(connection, plan_id)
        if not await plans.go_on(connection, plan, alone=alone):
            raise NotNow(f"Plan {plan_id} does not wait for anybody: it is {plan['state']}.")
        await actor.note(connection, "continue plan", target=plan_id, alone=alone)
    await _carry_on(where, plan_id)


async def stop(where: Where, actor: Actor, plan_id: int) -> None:
    """Sends nothing more. Raises NotNow."""
    async with transaction(where) as connection:
        plan = await _known(connection, plan_id)
        if not await plans.stop(connection, plan_id, why=f"stopped by {actor.name}"):
            raise NotNow(f"There is nothing to stop: plan {plan_id} is {plan['state']}.")
        await actor.note(connection, "stop plan", target=plan_id)
    await _carry_on(where, plan_id)


async def resume(where: Where, actor: Actor, plan_id: int) -> None:
    """After a stop, a person's or its own: it goes on with the turns that are left. Raises NotNow."""
    async with transaction(where) as connection:
        plan = await _known(connection, plan_id)
        if not await plans.resume(connection, plan_id):
            raise NotNow(f"Only what was stopped is resumed: plan {plan_id} is {plan['state']}.")
        await actor.note(connection, "resume plan", target=plan_id)
    await _carry_on(where, plan_id)


async def told(pool: Pool, plan_id: int) -> dict[str, Any] | None:
    """A plan with its progress, as plain JSON values; None: there is none of this number."""
    plan = await plans.one(pool, plan_id)
    if plan is None:
        return None
    return {
        **summary(plan),
        "kinds": _kinds(plan),
        "became": await plans.tally(pool, plan_id),
        "by_others": await plans.by_others(pool, plan_id),
        "destinations": await _destinations(pool, plan),
        "portions": [
            {**dict(row), "ended_at": iso(row["ended_at"]) if row["under_way"] == 0 else None}
            for row in await plans.portions(pool, plan_id)
        ],
    }


def summary(plan: Record) -> dict[str, Any]:
    """A plan as a list shows it."""
    times = ("oldest_at", "made_at", "started_at", "ended_at")
    return {
        **{name: plan[name] for name in FIELDS},
        **{name: iso(plan[name]) for name in times},
        "by": plan["made_by"],
        "alone": plan["allowed"] >= plans.ALL_PORTIONS,
        "which": json.loads(plan["which"]),
        "next_portion": plans.size(plan, plan["portion"] + 1) if plan["state"] in (State.MADE, State.RESTING) else None,
    }


async def _known(connection: Where, plan_id: int) -> Record:
    plan = await plans.one(connection, plan_id)
    if plan is None:
        raise NotNow(f"There is no plan {plan_id}; it never was, or is past its days.", is_unknown=True)
    return plan


async def _carry_on(where: Where, plan_id: int) -> None:
    """A portion, and the look whether that was all; a dispatcher does the rest. In a caller's transaction nothing."""
    if isinstance(where, asyncpg.Pool) and await plans.advance(where, plan_id):
        await plans.advance(where, plan_id)


def _kinds(plan: Record) -> dict[str, int]:
    """How many of which kind, the most first."""
    counted: dict[str, int] = json.loads(plan["kinds"])
    return dict(sorted(counted.items(), key=lambda one: -one[1]))


async def _destinations(pool: Where, plan: Record) -> list[dict[str, Any]]:
    """Whom a plan's events call, whether that flows, and its budget: calls_per_s None: nobody has called there yet."""
    of_kind, standing = await routes.every(pool), {row["name"]: row for row in await destinations.every(pool)}
    spent = await budgets.every(pool)
    found: dict[str, int] = {}
    for kind, number in _kinds(plan).items():
        name = of_kind[kind]["destination"] if kind in of_kind else None
        if name is not None:
            found[name] = found.get(name, 0) + number
    paces = {name: ways.pace_of(name, spent, others={*found, *standing}) for name in found}
    return [
        {
            "name": name,
            "events": number,
            "state": standing[name]["state"] if name in standing else "flowing",
            "why": standing[name]["why"] if name in standing else None,
            "calls_today": pace.day_used if (pace := paces[name]) else None,
            "calls_left_today": pace and pace.day_left,
            "calls_per_s": pace and pace.per_s,
        }
        for name, number in found.items()
    ]
