"""A rollback of what we made at GHL for Phorest: exactly that, one event for each, so it is limited, retried and resumed as all work is.

    begin -> stage batch by batch -> each deletion an event -> nothing to come
      │ stop: deletions that are still to come are skipped when their turn comes; begun anew, all that is left is staged once more

Stages; deletes nothing itself. How far it is, is what links still say that we made. Who begins or stops one: outbox.operators.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

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
    """Of what we made: how much is still there; of how much the deletion is to come, is a dead letter, or was not asked for.

    What is none of these was given up: somebody discarded its deletion, and asking again does not bring it back.
    """

    left: int
    coming: int
    dead: int
    fresh: int

    @property
    def given_up(self) -> int:
        """So much stays."""
        return self.left - self.coming - self.dead - self.fresh


@dataclass(frozen=True, slots=True)
class Rollback:
    """One that was begun, with what there was to delete then. `staged_at` None: not all of it is staged. `stops`: so many were stopped."""

    id: int
    made: dict[str, int]
    by_whom: str
    begun_at: datetime
    staged_at: datetime | None
    stopped_at: datetime | None
    stopped_by: str | None
    stops: int

    @property
    def is_open(self) -> bool:
        """Whether nobody stopped it."""
        return self.stopped_at is None


async def left(connection: Connection | Pool) -> dict[str, int]:
    """What a rollback would delete by now, by kind of record."""
    return {kind.removeprefix(PREFIX): n for kind, n in (await links.count_made(connection, PREFIX)).items()}


async def newest(connection: Connection | Pool) -> Rollback | None:
    """The one that was begun last; None: there was none."""
    row = await db.fetchrow(connection, Q["newest"])
    return None if row is None else Rollback(**{**dict(row), "made": json.loads(row["made"])})


async def rest(connection: Connection | Pool) -> Rest:
    """How far it is. Nothing to come: it has ended, well or not, or somebody stopped it."""
    row = await db.fetchrow(connection, Q["rest"], PREFIX, SOURCE, _keys(await stops(connection)))
    assert row is not None
    return Rest(**row)


async def stops(connection: Connection | Pool) -> int:
    """How many were stopped: what was staged before the last of them is not deleted any more."""
    last = await newest(connection)
    return 0 if last is None else last.stops


async def begin(connection: Connection, *, by: str) -> None:
    """In the caller's transaction: writes it down. One that is at work goes on instead."""
    last = await newest(connection)
    if last is None or not last.is_open or (last.staged_at is not None and (await rest(connection)).coming == 0):
        await db.fetch(connection, Q["begin"], json.dumps(await left(connection)), by)


async def stop(connection: Connection, *, by: str) -> bool:
    """In the caller's transaction: nothing more is deleted, but for what is being deleted now. False: there is nothing to stop."""
    return (await rest(connection)).coming > 0 and bool(await db.fetch(connection, Q["stop"], by))


async def pause_syncs(connection: Connection | Pool, *, by: str) -> list[str]:
    """The syncs of Phorest stand, or they would make anew what is being undone. Returns their names."""
    names = await names_of_syncs(connection)
    for name in names:
        await syncs.pause(connection, name, by=by, why="rolled back")
    return names


async def names_of_syncs(connection: Connection | Pool) -> list[str]:
    """Those of Phorest."""
    return [row["name"] for row in await syncs.every(connection) if row["name"].startswith(PREFIX)]


async def stage_all(pool: Pool) -> int:
    """All that we made is to be undone, batch by batch; broken off, it is asked for again. Returns how many."""
    staged, after, stopped_before = 0, ("", ""), await stops(pool)
    while True:
        async with db.transaction(pool) as connection:
            n, behind = await stage_batch(connection, after=after, stopped_before=stopped_before)
            if behind is None:
                await db.fetch(connection, Q["staged"])
        staged += n
        if behind is None:
            return staged
        after = behind


async def stage_batch(
    connection: Connection, *, after: tuple[str, str] = ("", ""), stopped_before: int = 0
) -> tuple[int, tuple[str, str] | None]:
    """In the caller's transaction: the next of what we made is to be undone. (how many, where to go on; None: that was all).

    Staged again, it is the same event: a rollback that was interrupted is simply asked for again. Behind a stop it is another one.
    """
    made = await db.fetch(connection, Q["made"], PREFIX, *after, BATCH, _keys(stopped_before))
    for one in made:
        kind = Kind(one["kind"].removeprefix(PREFIX))
        payload: dict[str, Any] = {"kind": kind.value, "id": one["ours"], "theirs": one["theirs"]}
        if stopped_before:
            payload["stopped_before"] = stopped_before
        await stage(connection, Event("phorest.undo", payload, key=one["key"], lane=kind.lane(one["ours"]), source=SOURCE))
    return len(made), (made[-1]["kind"], made[-1]["ours"]) if len(made) == BATCH else None


def _keys(stopped_before: int) -> str:
    """With what the keys of deletions begin."""
    return f"undo:{stopped_before}" if stopped_before else "undo"
