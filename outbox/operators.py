"""What operators do beyond reading: each act with its row of the audit, in one transaction. API, command line and console call these.

An act takes a pool, or a connection whose transaction it joins. One that cannot be done as things are raises NotNow with what is so
instead; nothing was changed then.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg

from outbox import db, kinds
from outbox.db import Connection, Pool, Record
from outbox.errors import NotNow
from outbox.event import Event
from outbox.staging import stage
from outbox.store import acts, audit, budgets, dead, destinations, events, notes, phorest_rollback, plans, routes
from outbox.store.dead import Filter
from outbox.store.plans import Act, State
from outbox.timeline import iso

Where: TypeAlias = Connection | Pool
PAUSED = "paused"
ACCOUNTS = {"ghl": "locationId", "google": "account"}  # how an event names which of several is meant
PORTION = 500  # of many that are replayed, in one transaction
RUN_NOW_RULE = "Only what waits for a time can be run now; what waits for a destination runs when that is resumed."
REPLAY_RULE = "Only what is done or skipped is replayed; a dead letter is retried."
PLAN_FIELDS = (
    *("id", "act", "state", "why", "reason", "events", "lanes", "ceiling"),
    *("steps_done", "newer", "canary", "leave_out", "portion", "turn"),
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and by which way: api, cli or console."""

    name: str
    via: str

    async def note(self, connection: Where, what: str, *, target: object = None, reason: str | None = None, **result: object) -> None:
        """One row of the audit."""
        text = None if target is None else str(target)[:400]
        await audit.write(connection, who=self.name, via=self.via, what=what, target=text, reason=reason, result=result or None)


async def run_now(where: Where, actor: Actor, event_id: int) -> None:
    """Its next attempt is now, not later. Raises NotNow."""
    async with _transaction(where) as connection:
        if not await acts.run_now(connection, event_id):
            raise await _not_so(connection, event_id, RUN_NOW_RULE)
        await actor.note(connection, "run now", target=event_id)


async def tested(where: Where) -> frozenset[str]:
    """Of which destinations there is a test: ours, and those of the user's own modules that route one."""
    own = {kind.removeprefix(kinds.TEST) for kind in await routes.every(where) if kind.startswith(kinds.TEST)}
    return frozenset({*kinds.TESTED, *own})


async def test(where: Where, actor: Actor, destination: str) -> int:
    """One harmless read call there, by whichever dispatcher takes it. Returns the event that shows its result. Raises NotNow."""
    provider, _, account = destination.partition(":")
    async with _transaction(where) as connection:
        if provider not in await tested(connection) or (account and provider not in ACCOUNTS):
            raise NotNow(f"There is no test of {destination}.")
        if provider == "google" and not account:
            raise NotNow("Google is tested for one user: google:USER.")
        row = next((one for one in await destinations.every(connection) if one["name"] == destination), None)
        if row is not None and row["state"] != "flowing":
            raise NotNow(f"{destination} does not flow, so a test would only wait. Resume it first.")
        payload = {ACCOUNTS[provider]: account} if account else {}
        event = Event(f"{kinds.TEST}{provider}", payload, lane=f"test:{destination}", source="console")
        event_id = int(await stage(connection, event))
        await actor.note(connection, "test", target=destination, event=event_id)
    return event_id


async def bury(where: Where, actor: Actor, event_id: int, *, reason: str) -> None:
    """It becomes a dead letter and frees its lane. Raises NotNow."""
    async with _transaction(where) as connection:
        if not await acts.bury(connection, event_id, by=actor.name, reason=reason):
            raise await _not_so(connection, event_id, "Only what is pending and does not run at this moment can be buried.")
        await actor.note(connection, "bury", target=event_id, reason=reason)


async def release(where: Where, actor: Actor, event_id: int) -> None:
    """Its lane goes on while it waits aside. Raises NotNow."""
    async with _transaction(where) as connection:
        if not await acts.release(connection, event_id, by=actor.name):
            raise await _not_so(connection, event_id, "Only the head of a lane that waits for a time can be taken out of it.")
        await actor.note(connection, "release lane", target=event_id)


async def retry(where: Where, actor: Actor, event_id: int) -> None:
    """A dead letter becomes pending. Raises NotNow."""
    async with _transaction(where) as connection:
        if not await dead.retry(connection, [event_id], by=actor.name):
            raise await _not_so(connection, event_id, "Only a dead letter is retried.", word="not-dead")
        await actor.note(connection, "retry", target=event_id)


async def discard(where: Where, actor: Actor, event_id: int, *, reason: str) -> None:
    """A dead letter becomes skipped. Raises NotNow."""
    async with _transaction(where) as connection:
        if not await dead.discard(connection, [event_id], by=actor.name, reason=reason):
            raise await _not_so(connection, event_id, "Only a dead letter is discarded.", word="not-dead")
        await actor.note(connection, "discard", target=event_id, reason=reason)


async def replay(where: Where, actor: Actor, event_id: int) -> None:
    """Done or skipped becomes pending. Raises NotNow."""
    async with _transaction(where) as connection:
        if not await events.replay(connection, event_id, by=actor.name):
            raise await _not_so(connection, event_id, REPLAY_RULE, word="not-settled")
        await actor.note(connection, "replay", target=event_id)


async def replay_many(pool: Pool, actor: Actor, ids: Sequence[int], *, which: str) -> int:
    """The settled ones of these become pending, portion by portion, each with its row of the audit. Returns how many."""
    again = 0
    for start in range(0, len(ids), PORTION):
        portion = ids[start : start + PORTION]
        async with _transaction(pool) as connection:
            replayed = await events.replay_many(connection, portion, by=actor.name)
            await actor.note(connection, "replay many", target=which, of=len(portion), replayed=len(replayed))
        again += len(replayed)
    return again


async def payload(where: Where, actor: Actor, event_id: int) -> bytes | None:
    """The exact bytes, once the look is in the audit; None: there is no such event."""
    async with _transaction(where) as connection:
        row = await events.one(connection, event_id)
        if row is None:
            return None
        await actor.note(connection, "show payload", target=event_id)
    return bytes(row["payload"])


async def write_note(where: Where, actor: Actor, group: str, note: str) -> None:
    """The note of a group of dead letters; an empty one removes it."""
    async with _transaction(where) as connection:
        await notes.write(connection, group, note, by=actor.name)
        await actor.note(connection, "note on group", target=group, reason=note.strip() or None)


async def roll_back_phorest(pool: Pool, actor: Actor) -> tuple[int, list[str]]:
    """The syncs of Phorest stand, and all that we made for it at GHL is to be deleted. Asked for again, it goes on.

    The act is in the audit before the first deletion is staged. Returns how many are staged, and the syncs that stand.
    """
    async with _transaction(pool) as connection:
        paused = await phorest_rollback.pause_syncs(connection, by=actor.name)
        await actor.note(connection, "phorest rollback", left=await phorest_rollback.left(connection), paused=paused)
    return await phorest_rollback.stage_all(pool), paused


async def make_plan(
    where: Where, actor: Actor, which: Filter, *, act: Act, ids: Sequence[int] | None = None, reason: str | None = None, canary: bool = True
) -> int:
    """Stores what a retry or discard would do. Raises NotNow when nothing is found."""
    async with _transaction(where) as connection:
        made = await plans.make(connection, which, act=act, by=actor.name, ids=ids, reason=reason, canary=canary)
        if made is None:
            raise NotNow("No dead letter fits: nothing to plan.")
        plan = await plans.one(connection, made)
        assert plan is not None
        await actor.note(connection, f"plan {act}", target=made, reason=reason, events=plan["events"], **plans.told(which, ids))
    return made


async def start_plan(
    where: Where, actor: Actor, plan_id: int, *, canary: bool = True, alone: bool = False, leave_out: bool = False
) -> None:
    """Begins it: its first portion is sent before this returns. Raises NotNow."""
    plan = await _known(where, plan_id)
    if plan["act"] == Act.RETRY and (stopped := [d for d in await _destinations(where, plan_id) if d["state"] == PAUSED]):
        raise NotNow(f"{stopped[0]['name']} is paused; its events would only wait. Resume it first.")
    async with _transaction(where) as connection:
        if not await plans.start(connection, plan_id, canary=canary and plan["act"] == Act.RETRY, alone=alone, leave_out=leave_out):
            raise NotNow(f"Plan {plan_id} was started before: it is {plan['state']}.")
        await actor.note(connection, "start plan", target=plan_id, canary=canary, alone=alone, leave_out=leave_out)
    await _carry_on(where, plan_id)


async def continue_plan(where: Where, actor: Actor, plan_id: int, *, alone: bool = False) -> None:
    """After a portion of the canary. Raises NotNow."""
    async with _transaction(where) as connection:
        plan = await _known(connection, plan_id)
        if not await plans.go_on(connection, plan, alone=alone):
            raise NotNow(f"Plan {plan_id} does not wait for anybody: it is {plan['state']}.")
        await actor.note(connection, "continue plan", target=plan_id, alone=alone)
    await _carry_on(where, plan_id)


async def stop_plan(where: Where, actor: Actor, plan_id: int) -> None:
    """Sends nothing more. Raises NotNow."""
    async with _transaction(where) as connection:
        plan = await _known(connection, plan_id)
        if not await plans.stop(connection, plan_id, why=f"stopped by {actor.name}"):
            raise NotNow(f"There is nothing to stop: plan {plan_id} is {plan['state']}.")
        await actor.note(connection, "stop plan", target=plan_id)
    await _carry_on(where, plan_id)


async def plan_told(pool: Pool, plan_id: int) -> dict[str, Any] | None:
    """A plan with its progress, as plain JSON values; None: there is none of this number."""
    plan = await plans.one(pool, plan_id)
    if plan is None:
        return None
    return {
        **plan_summary(plan),
        "became": await plans.tally(pool, plan_id),
        "destinations": await _destinations(pool, plan_id),
        "portions": [
            {**dict(row), "ended_at": iso(row["ended_at"]) if row["under_way"] == 0 else None}
            for row in await plans.portions(pool, plan_id)
        ],
    }


def plan_summary(plan: Record) -> dict[str, Any]:
    """A plan as a list shows it."""
    times = ("oldest_at", "made_at", "started_at", "ended_at")
    return {
        **{name: plan[name] for name in PLAN_FIELDS},
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
    """What can be done at once is; a dispatcher does the rest. In a caller's transaction nothing can: it is not committed yet."""
    if isinstance(where, asyncpg.Pool):
        while await plans.advance(where, plan_id):
            pass


@asynccontextmanager
async def _transaction(where: Where) -> AsyncIterator[Connection]:
    """One of its own on a pool; inside the caller's, one that can fail alone."""
    if isinstance(where, asyncpg.Pool):
        async with db.transaction(where) as connection:
            yield connection
    else:
        with db.mapped():
            async with where.transaction():
                yield where


async def _destinations(pool: Where, plan_id: int) -> list[dict[str, Any]]:
    """Whom a plan's events call, whether that flows, and its budget."""
    of_kind, standing = await routes.every(pool), {row["name"]: row for row in await destinations.every(pool)}
    budget = {row["credential"]: row for row in await budgets.every(pool)}
    found: dict[str, int] = {}
    for kind, number in (await plans.kinds(pool, plan_id)).items():
        name = of_kind[kind]["destination"] if kind in of_kind else None
        if name is not None:
            found[name] = found.get(name, 0) + number
    return [
        {
            "name": name,
            "events": number,
            "state": standing[name]["state"] if name in standing else "flowing",
            "why": standing[name]["why"] if name in standing else None,
            "calls_today": budget[name]["used"] if name in budget else None,
            "calls_left_today": budget[name]["daily_left"] if name in budget else None,
        }
        for name, number in found.items()
    ]


async def _not_so(connection: Connection, event_id: int, rule: str, *, word: str = "not-now") -> NotNow:
    row = await events.one(connection, event_id)
    if row is None:
        return NotNow(await events.missing(connection, event_id), is_unknown=True)
    why = f" ({row['why']})" if row["why"] else ""
    return NotNow(f"Event {event_id} is {row['state']}{why}. {rule}", word=word, state=row["state"])
