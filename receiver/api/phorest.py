"""One client or appointment of Phorest, brought to GHL at once: fetched, kept, sent on; and the rollback of all that was made there."""

from pydantic import Field

from outbox import operators
from outbox.db import Pool
from outbox.staging import stage
from outbox.store import phorest_rollback
from outbox.store.phorest import Kind, import_of
from outbox.timeline import iso
from receiver.api.operation import Answer, Call, NoBody, NoQuery, Operation, Said, Table, Text, Time, Told
from receiver.config import Role
from receiver.errors import not_found

MOST_CHARS = 200


class ImportTold(Told):
    branch_id: Text | None = Field(None, description="Of an appointment that is new here.")


class Import(Said):
    event: int = Field(description="Its event: GET /api/events/{id} tells what became of it.")


async def import_one(call: Call[NoQuery, ImportTold]) -> Answer:
    """Before all bulk work. What is the same at GHL is not written again."""
    kind = {"clients": Kind.CLIENT, "appointments": Kind.APPOINTMENT}.get(call.path["kind"])
    if kind is None or not 1 <= len(call.path["id"]) <= MOST_CHARS or "\x00" in call.path["id"]:
        raise not_found("There are clients and appointments, each with an id of Phorest's.")
    async with call.desk.pool.acquire() as connection, connection.transaction():
        event_id = await stage(connection, import_of(kind, call.path["id"], branch_id=call.body.branch_id))
        await call.note(connection, "phorest import", target=f"{kind.value} {call.path['id']}", event=event_id)
    return Answer(Import(event=event_id), status=202)


class RollbackTold(Told):
    dry_run: bool = Field(True, description="Only count; false: do it.")


class Left(Said):
    left: dict[str, int] = Field(description="What we made at GHL and is still there, by kind of record.")


class Begun(Said):
    by: str
    begun_at: Time
    made: dict[str, int] = Field(description="How much there was to delete when it began, by kind of record.")
    is_staged: bool = Field(description="false: its staging is under way, or was broken off: ask for it again.")
    stopped_at: Time | None
    stopped_by: str | None


class Progress(Left):
    last: Begun | None = Field(description="The rollback that was begun last; null: there was none.")
    coming: int = Field(description="Deletions that are staged and not over.")
    dead: int = Field(description="Deletions that are dead letters: GET /api/dead-letters?kind=phorest.undo.")
    fresh: int = Field(description="Of so much no deletion was asked for, or that rollback was stopped.")


class Rollback(Left):
    staged: int = Field(description="Deletions that this call staged, those that an earlier one had staged among them.")
    paused: list[str] = Field(description="The syncs that stand now.")


async def look_at_rollback(call: Call[NoQuery, NoBody]) -> Answer:
    """How much is left of one that was begun; what one would delete, where none was. With nothing to come, it has ended."""
    return Answer(await _progress(call.desk.pool))


async def roll_back(call: Call[NoQuery, RollbackTold]) -> Answer:
    """Asked for again, it goes on: what was staged is the same event."""
    left = await phorest_rollback.left(call.desk.pool)
    if call.body.dry_run:
        return Answer(Rollback(left=left, staged=0, paused=[]))
    staged, paused = await operators.roll_back_phorest(call.desk.pool, call.actor)
    return Answer(Rollback(left=left, staged=staged, paused=paused), status=202)


async def stop_rollback(call: Call[NoQuery, NoBody]) -> Answer:
    """What is still to come is not deleted; asked for again, all that is left is."""
    await operators.stop_phorest_rollback(call.desk.pool, call.actor)
    return Answer(await _progress(call.desk.pool))


async def _progress(pool: Pool) -> Progress:
    rest, last = await phorest_rollback.rest(pool), await phorest_rollback.newest(pool)
    return Progress(
        left=await phorest_rollback.left(pool),
        coming=rest.coming,
        dead=rest.dead,
        fresh=rest.fresh,
        last=None if last is None else _begun(last),
    )


def _begun(last: phorest_rollback.Rollback) -> Begun:
    return Begun(
        by=last.by_whom,
        begun_at=iso(last.begun_at) or "",
        made=last.made,
        is_staged=last.staged_at is not None,
        stopped_at=iso(last.stopped_at),
        stopped_by=last.stopped_by,
    )


_ROLLBACK = "/api/phorest/rollback"
OPERATIONS: Table = (
    Operation("GET", _ROLLBACK, "What we made at GHL for Phorest", Role.VIEWER, look_at_rollback, NoQuery, NoBody, Progress),
    Operation("POST", _ROLLBACK, "Delete it, or only count", Role.OPERATOR, roll_back, NoQuery, RollbackTold, Rollback),
    Operation(
        "POST",
        f"{_ROLLBACK}/stop",
        "Delete nothing more",
        Role.OPERATOR,
        stop_rollback,
        NoQuery,
        NoBody,
        Progress,
        also={409: "Nothing is to come"},
    ),
    Operation(
        "POST", "/api/phorest/{kind}/{id}/import", "Fetch one client or appointment", Role.OPERATOR, import_one, NoQuery, ImportTold, Import
    ),
)
