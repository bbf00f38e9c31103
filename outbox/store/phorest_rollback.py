"""A rollback of what we made at GHL for Phorest: exactly that, one event for each, so it is limited, retried and resumed as all work is.

Stages; deletes nothing itself. How far it is, is what links still say that we made. Who begins one: outbox.operators.
"""

from dataclasses import dataclass
from typing import Final

from outbox import db
from outbox.db import Connection, Pool
from outbox.event import Event
from outbox.queries import load
from outbox.staging import stage
from outbox.store import links, syncs
from outbox.store.phorest import SOURCE, Kind

Q = load("phorest_rollback")
PREFIX: Final = "phorest-"
BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Rest:
    """Of what we made: how much is still there; of how much the deletion is to come, and of how much it is a dead letter."""

    left: int
    coming: int
    dead: int


async def left(connection: Connection | Pool) -> dict[str, int]:
    """What a rollback would delete by now, by kind of record."""
    return {kind.removeprefix(PREFIX): n for kind, n in (await links.count_made(connection, PREFIX)).items()}


async def rest(connection: Connection | Pool) -> Rest:
    """How far it is. Nothing to come: it has ended, well or not."""
    row = await db.fetchrow(connection, Q["rest"], PREFIX, SOURCE)
    assert row is not None
    return Rest(**row)


async def pause_syncs(connection: Connection | Pool, *, by: str) -> list[str]:
    """The syncs of Phorest stand, or they would make anew what is being undone. Returns their names."""
    names = [row["name"] for row in await syncs.every(connection) if row["name"].startswith(PREFIX)]
    for name in names:
        await syncs.pause(connection, name, by=by, why="rolled back")
    return names


async def stage_all(pool: Pool) -> int:
    """All that we made is to be undone, batch by batch; broken off, it is asked for again. Returns how many."""
    staged, after = 0, ("", "")
    while True:
        async with db.transaction(pool) as connection:
            n, behind = await stage_batch(connection, after=after)
        staged += n
        if behind is None:
            return staged
        after = behind


async def stage_batch(connection: Connection, *, after: tuple[str, str] = ("", "")) -> tuple[int, tuple[str, str] | None]:
    """In the caller's transaction: the next of what we made is to be undone. (how many, where to go on; None: that was all).

    Staged again, it is the same event: a rollback that was interrupted is simply asked for again.
    """
    made = await db.fetch(connection, Q["made"], PREFIX, *after, BATCH)
    for one in made:
        kind = Kind(one["kind"].removeprefix(PREFIX))
        payload = {"kind": kind.value, "id": one["ours"], "theirs": one["theirs"]}
        await stage(connection, Event("phorest.undo", payload, key=one["key"], lane=kind.lane(one["ours"]), source=SOURCE))
    return len(made), (made[-1]["kind"], made[-1]["ours"]) if len(made) == BATCH else None
