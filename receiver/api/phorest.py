"""One client or appointment of Phorest, brought to GHL at once: fetched, kept, sent on."""

from pydantic import Field

from outbox.staging import stage
from outbox.store.phorest import Kind, import_of
from receiver.api.operation import Answer, Call, NoQuery, Operation, Said, Table, Text, Told
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


OPERATIONS: Table = (
    Operation(
        "POST", "/api/phorest/{kind}/{id}/import", "Fetch one client or appointment", Role.OPERATOR, import_one, NoQuery, ImportTold, Import
    ),
)
