"""Audits: both sides of a pair of systems compared, and the gaps that were found. Only read here; the syncs write them."""

import json
from typing import Annotated, Any

from pydantic import Field

from outbox.store import audits
from outbox.timeline import iso
from receiver.api.operation import MAX_ID, Answer, Asked, Call, Limit, NoBody, Operation, Said, Table, Text, Time
from receiver.config import Role
from receiver.errors import not_found


class AuditsAsked(Asked):
    system: Text | None = Field(None, description="Only those of this system, such as phorest.")
    before: Annotated[int, Field(ge=1, le=MAX_ID)] | None = Field(None, description="Only ids below this one.")
    limit: Limit = 20


class Audit(Said):
    id: int = Field(description="Also the id of its run.")
    system: str
    started_at: Time
    ended_at: Time | None = Field(description="null: under way, or it never ended.")
    counts: dict[str, Any] = Field(description="there: what the far sides showed; kinds: what is here, linked, and was refused.")


class Summary(Audit):
    gaps: dict[str, int] = Field(description="How many of each sort, such as `client not in ghl`.")


class Audits(Said):
    audits: list[Summary]
    next_before: int | None


class GapsAsked(Asked):
    after_kind: Text | None = Field(None, description="With after_id: only gaps behind this one.")
    after_id: Text | None = None
    limit: Limit = 100


class Gap(Said):
    kind: str
    id: str = Field(description="Phorest's id.")
    gap: str = Field(description="not here, not in phorest, not in ghl, not sent or out of date.")
    at: Time
    repair: int | None = Field(description="The event that mends it; null: a person decides.")
    repair_state: str | None
    repair_why: str | None


class OneAudit(Audit):
    gaps: list[Gap]
    is_last: bool = Field(description="Whether these are all there are behind after_kind, after_id.")


async def list_audits(call: Call[AuditsAsked, NoBody]) -> Answer:
    """Newest first."""
    asked = call.query
    rows = await audits.newest(call.desk.pool, system=asked.system, before=asked.before, limit=asked.limit)
    listed = [Summary(**_members(row), gaps=json.loads(row["gaps"])) for row in rows]
    return Answer(Audits(audits=listed, next_before=listed[-1].id if len(listed) == asked.limit else None))


async def one_audit(call: Call[GapsAsked, NoBody]) -> Answer:
    """With its gaps, and what became of each repair."""
    asked, audit_id = call.query, call.event_id()
    row = await audits.one(call.desk.pool, audit_id)
    if row is None:
        raise not_found("There is no such audit.")
    found = await audits.gaps(call.desk.pool, audit_id, after=(asked.after_kind or "", asked.after_id or ""), limit=asked.limit)
    gaps = [
        Gap(
            kind=gap["kind"],
            id=gap["id"],
            gap=gap["gap"],
            at=iso(gap["at"]) or "",
            repair=gap["repair"],
            repair_state=gap["repair_state"],
            repair_why=gap["repair_why"],
        )
        for gap in found
    ]
    return Answer(OneAudit(**_members(row), gaps=gaps, is_last=len(gaps) < asked.limit))


def _members(row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "system": row["system"],
        "started_at": iso(row["started_at"]) or "",
        "ended_at": iso(row["ended_at"]),
        "counts": json.loads(row["counts"]),
    }


OPERATIONS: Table = (
    Operation("GET", "/api/audits", "Both sides compared", Role.VIEWER, list_audits, AuditsAsked, NoBody, Audits),
    Operation("GET", "/api/audits/{id}", "One audit and its gaps", Role.VIEWER, one_audit, GapsAsked, NoBody, OneAudit),
)
