"""crm.phorest_repairs: a client that is not in GHL is repaired once, however many events ask for it.

asked ──linked──▶ (row gone, and all who wait are woken)
  ├───refused──▶ refused: who waits is told why; the client's next change asks anew
  └─came to nothing (a person discarded it)──▶ asked again by the next one
"""

from dataclasses import dataclass
from typing import Final

from outbox import db
from outbox.db import Connection, Pool
from outbox.event import Event, State
from outbox.queries import load
from outbox.staging import stage
from outbox.store import lanes, phorest

Q = load("phorest_repairs")
WAITS: Final = "waits for its client"


@dataclass(frozen=True, slots=True)
class Repair:
    """What is known of a client's repair. `refused`: why there will be none; `is_new`: this call staged it."""

    event_id: int | None
    refused: str | None = None
    is_new: bool = False


async def known(connection: Connection | Pool, client_id: str) -> Repair | None:
    """What those who come while a repair is under way need to know, without a lock that the repair itself would have to wait for.

    None: nothing was asked for, or it came to nothing, or ends just now: see ask().
    """
    row = await db.fetchrow(connection, Q["look"], client_id)
    if row is None:
        return None
    if row["refused"] is not None:
        return Repair(row["event_id"], refused=row["refused"])
    return Repair(row["event_id"]) if row["state"] in (State.PENDING, State.DEAD) else None


async def ask(connection: Connection, client_id: str, repair: Event) -> Repair:
    """In the caller's transaction: stages `repair` unless that is done already, or is known to be in vain."""
    is_first = await db.fetchval(connection, Q["ask"], client_id) is not None
    if is_first and (await phorest.client(connection, client_id)).contact_id is not None:
        await db.fetch(connection, Q["done"], client_id)  # its repair ended between the caller's look and this one
        return Repair(None)
    if not is_first:
        if (under_way := await known(connection, client_id)) is not None:
            return under_way
        row = await db.fetchrow(connection, Q["lock"], client_id)
        if row is None:
            return Repair(None)  # it was there a moment ago: the client has just been linked
        if row["refused"] is not None:
            return Repair(row["event_id"], refused=row["refused"])
        if await db.fetchval(connection, Q["state"], row["event_id"]) in (State.PENDING, State.DEAD):
            return Repair(row["event_id"])
    event_id = await stage(connection, repair)
    await db.fetch(connection, Q["staged"], client_id, event_id)
    return Repair(event_id, is_new=True)


async def follow(connection: Connection, client_id: str, event_id: int) -> None:
    """In the caller's transaction: the client was fetched, and this event brings it to GHL. It is the repair now, if one was asked for."""
    await db.fetch(connection, Q["staged"], client_id, event_id)


async def refuse(connection: Connection, client_id: str, why: str) -> list[int]:
    """In the caller's transaction: the client cannot be in GHL. Wakes who waits for it; returns their ids."""
    await db.fetch(connection, Q["refuse"], client_id, why)
    return await _wake(connection, client_id)


async def done(connection: Connection, client_id: str) -> list[int]:
    """In the caller's transaction: the client is linked. Wakes who waits for it; returns their ids."""
    await db.fetch(connection, Q["done"], client_id)
    return await _wake(connection, client_id)


async def _wake(connection: Connection, client_id: str) -> list[int]:
    return await lanes.wake(connection, await phorest.lanes_about(connection, client_id), why=WAITS)
