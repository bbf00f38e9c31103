"""The audit: who did what. Only read here; every act writes its own row."""

import json
from typing import Annotated, Any

from pydantic import Field

from outbox.store import audit
from outbox.store.audit import Filter, Via
from outbox.timeline import iso
from receiver.api.operation import MAX_ID, Answer, Asked, Call, Limit, Moment, NoBody, Operation, Said, Table, Text, Time
from receiver.config import Role


class AuditAsked(Asked):
    who: Text | None = Field(None, description="The name of the token, or of who ran the command.")
    via: Via | None = None
    what: Text | None = Field(None, description="What begins with this.")
    target: Text | None = Field(None, description="On what begins with this.")
    since: Moment | None = None
    until: Moment | None = Field(None, description="Before this time.")
    before: Annotated[int, Field(ge=1, le=MAX_ID)] | None = Field(None, description="Only ids below this one.")
    limit: Limit = 50


class Act(Said):
    id: int
    at: Time
    who: str
    via: str = Field(description="api, cli or console.")
    what: str
    target: str | None
    reason: str | None
    result: dict[str, Any] | None


class Acts(Said):
    acts: list[Act]
    next_before: int | None


async def list_acts(call: Call[AuditAsked, NoBody]) -> Answer:
    """Newest first."""
    asked = call.query
    which = Filter(asked.who, asked.via, asked.what, asked.target, asked.since, asked.until)
    rows = await audit.find(call.desk.pool, which, before=asked.before, limit=asked.limit)
    acts = [
        Act(
            id=row["id"],
            at=iso(row["at"]) or "",
            who=row["who"],
            via=row["via"],
            what=row["what"],
            target=row["target"],
            reason=row["reason"],
            result=None if row["result"] is None else json.loads(row["result"]),
        )
        for row in rows
    ]
    return Answer(Acts(acts=acts, next_before=acts[-1].id if len(acts) == asked.limit else None))


OPERATIONS: Table = (Operation("GET", "/api/audit", "Who did what", Role.VIEWER, list_acts, AuditAsked, NoBody, Acts),)
