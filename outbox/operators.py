"""What operators do beyond reading: each act with its row of the audit, in one transaction. API, command line and console call these.

An act takes a pool, or a connection whose transaction it joins. One that cannot be done as things are raises NotNow with what is so
instead; nothing was changed then.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg

from outbox import db, kinds
from outbox.db import Connection, Pool
from outbox.errors import NotNow
from outbox.event import Event
from outbox.staging import stage
from outbox.store import acts, audit, dead, destinations, events, notes, phorest_rollback, routes

Where: TypeAlias = Connection | Pool
ACCOUNTS = {"ghl": "locationId", "google": "account"}  # how an event names which of several is meant
PORTION = 500  # of many that are replayed, in one transaction
RUN_NOW_RULE = "Only what waits for a time can be run now; what waits for a destination runs when that is resumed."
REPLAY_RULE = "Only what is done or skipped is replayed; a dead letter is retried."


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
    async with transaction(where) as connection:
        if not await acts.run_now(connection, event_id):
            raise await _not_so(connection, event_id, RUN_NOW_RULE)
        await actor.note(connection, "run now", target=event_id)


async def tested(where: Where) -> dict[str, str | None]:
    """Of which destinations there is a test, ours and those of the user's own modules that route one; and what each lacks to be called."""
    routed = {
        kind.removeprefix(kinds.TEST): row["lacks"] for kind, row in (await routes.every(where)).items() if kind.startswith(kinds.TEST)
    }
    return {**dict.fromkeys(kinds.TESTED), **routed}


async def test(where: Where, actor: Actor, destination: str) -> int:
    """One harmless read call there, by whichever dispatcher takes it. Returns the event that shows its result. Raises NotNow."""
    provider, _, account = destination.partition(":")
    async with transaction(where) as connection:
        lacks = await tested(connection)
        if provider not in lacks or (account and provider not in ACCOUNTS):
            raise NotNow(f"There is no test of {destination}.")
        if provider == "google" and not account:
            raise NotNow("Google is tested for one user: google:USER.")
        if not account and lacks[provider]:
            raise NotNow(f"{destination} is not set up: {lacks[provider]}.")
        row = (await destinations.some(connection, [destination])).get(destination)
        if row is not None and row["state"] != "flowing":
            raise NotNow(f"{destination} does not flow, so a test would only wait. Resume it first.")
        payload = {ACCOUNTS[provider]: account} if account else {}
        event = Event(f"{kinds.TEST}{provider}", payload, lane=f"test:{destination}", source="console")
        event_id = int(await stage(connection, event))
        await actor.note(connection, "test", target=destination, event=event_id)
    return event_id


async def bury(where: Where, actor: Actor, event_id: int, *, reason: str) -> None:
    """It becomes a dead letter and frees its lane. Raises NotNow."""
    async with transaction(where) as connection:
        if not await acts.bury(connection, event_id, by=actor.name, reason=reason):
            raise await _not_so(connection, event_id, "Only what is pending and does not run at this moment can be buried.")
        await actor.note(connection, "bury", target=event_id, reason=reason)


async def release(where: Where, actor: Actor, event_id: int) -> None:
    """Its lane goes on while it waits aside. Raises NotNow."""
    async with transaction(where) as connection:
        if not await acts.release(connection, event_id, by=actor.name):
            raise await _not_so(connection, event_id, "Only the head of a lane that waits for a time can be taken out of it.")
        await actor.note(connection, "release lane", target=event_id)


async def retry(where: Where, actor: Actor, event_id: int) -> None:
    """A dead letter becomes pending. Raises NotNow."""
    async with transaction(where) as connection:
        if not await dead.retry(connection, [event_id], by=actor.name):
            raise await _not_so(connection, event_id, "Only a dead letter is retried.", word="not-dead")
        await actor.note(connection, "retry", target=event_id)


async def discard(where: Where, actor: Actor, event_id: int, *, reason: str) -> None:
    """A dead letter becomes skipped. Raises NotNow."""
    async with transaction(where) as connection:
        if not await dead.discard(connection, [event_id], by=actor.name, reason=reason):
            raise await _not_so(connection, event_id, "Only a dead letter is discarded.", word="not-dead")
        await actor.note(connection, "discard", target=event_id, reason=reason)


async def replay(where: Where, actor: Actor, event_id: int) -> None:
    """Done or skipped becomes pending. Raises NotNow."""
    async with transaction(where) as connection:
        if not await events.replay(connection, event_id, by=actor.name):
            raise await _not_so(connection, event_id, REPLAY_RULE, word="not-settled")
        await actor.note(connection, "replay", target=event_id)


async def replay_many(pool: Pool, actor: Actor, ids: Sequence[int], *, which: str) -> list[int]:
    """The settled ones of these become pending, portion by portion, each with its row of the audit. Returns which those were."""
    again: list[int] = []
    for start in range(0, len(ids), PORTION):
        portion = ids[start : start + PORTION]
        async with transaction(pool) as connection:
            replayed = await events.replay_many(connection, portion, by=actor.name)
            await actor.note(connection, "replay many", target=which, of=len(portion), replayed=len(replayed))
        again += replayed
    return again


async def payload(where: Where, actor: Actor, event_id: int) -> bytes | None:
    """The exact bytes, once the look is in the audit; None: there is no such event."""
    async with transaction(where) as connection:
        row = await events.one(connection, event_id)
        if row is None:
            return None
        await actor.note(connection, "show payload", target=event_id)
    return bytes(row["payload"])


async def write_note(where: Where, actor: Actor, group: str, note: str) -> None:
    """The note of a group of dead letters; an empty one removes it."""
    async with transaction(where) as connection:
        await notes.write(connection, group, note, by=actor.name)
        await actor.note(connection, "note on group", target=group, reason=note.strip() or None)


async def roll_back_phorest(pool: Pool, actor: Actor) -> tuple[int, list[str]]:
    """The syncs of Phorest stand, and all that we made for it at GHL is to be deleted. Asked for again, it goes on.

    The act is in the audit before the first deletion is staged. Returns how many are staged, and the syncs that stand.
    """
    async with transaction(pool) as connection:
        paused = await phorest_rollback.pause_syncs(connection, by=actor.name)
        await phorest_rollback.begin(connection, by=actor.name)
        await actor.note(connection, "phorest rollback", left=await phorest_rollback.left(connection), paused=paused)
    return await phorest_rollback.stage_all(pool), paused


async def stop_phorest_rollback(where: Where, actor: Actor) -> None:
    """What is still to come of it is not deleted; Phorest's syncs stand as before. Raises NotNow when nothing is to come."""
    async with transaction(where) as connection:
        if not await phorest_rollback.stop(connection, by=actor.name):
            raise NotNow("No deletion of a rollback is to come: there is nothing to stop.")
        await actor.note(connection, "stop phorest rollback", left=await phorest_rollback.left(connection))


@asynccontextmanager
async def transaction(where: Where) -> AsyncIterator[Connection]:
    """One of its own on a pool; inside the caller's, one that can fail alone."""
    if isinstance(where, asyncpg.Pool):
        async with db.transaction(where) as connection:
            yield connection
    else:
        with db.mapped():
            async with where.transaction():
                yield where


async def _not_so(connection: Connection, event_id: int, rule: str, *, word: str = "not-now") -> NotNow:
    row = await events.one(connection, event_id)
    if row is None:
        return NotNow(await events.missing(connection, event_id), is_unknown=True)
    why = f" ({row['why']})" if row["why"] else ""
    return NotNow(f"Event {event_id} is {row['state']}{why}. {rule}", word=word, state=row["state"])
