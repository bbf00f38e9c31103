"""The front door seen from inside: rejected requests, and Notion's verification tokens from candidate to use."""

from contextlib import suppress
from typing import Annotated

from pydantic import Field

from outbox.errors import DatabaseUnavailable
from outbox.store import handshakes, sources
from outbox.timeline import iso
from receiver.api.operation import MAX_ID, Answer, Asked, Call, Limit, NoBody, NoQuery, Operation, Said, Table, Text, Time, Told
from receiver.config import Role
from receiver.errors import conflict, not_found
from receiver.handshakes import SOURCE


class RejectedAsked(Asked):
    source: Text | None = None
    reason: Text | None = None
    before: Annotated[int, Field(ge=1, le=MAX_ID)] | None = Field(None, description="Only ids below this one.")
    limit: Limit = 50


class RejectedRequest(Said):
    id: int
    at: Time
    source: str
    reason: str
    detail: str
    network: str | None = Field(description="The sender's network, /24 or /48, not its address.")
    body_bytes: int = Field(description="As far as it was read.")
    body_head: str = Field(description="The first 200 bytes, secrets blanked; bytes that are no text as \\xNN.")


class RejectedPage(Said):
    rejected: list[RejectedRequest]
    next_before: int | None


class HandshakeSaid(Said):
    id: int
    key: str = Field(description="The token's fingerprint: the first 8 hex digits of its SHA-256.")
    at: Time
    network: str | None
    state: str = Field(description="candidate, or in use.")
    promoted_at: Time | None
    promoted_by: str | None


class Handshakes(Said):
    handshakes: list[HandshakeSaid]
    can_keep: bool = Field(description="false: POSTROOM_ENCRYPTION_KEYS is not set, so handshakes are refused.")


class Revealed(Said):
    id: int
    key: str
    verification_token: str


class PromoteTold(Told):
    retire_others: bool = Field(False, description="End every other promoted token; those of NOTION_WEBHOOK_SECRET stay.")


class Promoted(Said):
    id: int
    key: str
    retired: int


async def list_rejected(call: Call[RejectedAsked, NoBody]) -> Answer:
    """Newest first."""
    asked = call.query
    rows = await sources.rejected(call.desk.pool, asked.source, reason=asked.reason, before=asked.before, limit=asked.limit)
    listed = [
        RejectedRequest(
            id=row["id"],
            at=iso(row["at"]) or "",
            source=row["source"],
            reason=row["reason"],
            detail=row["detail"],
            network=row["remote"],
            body_bytes=row["body_bytes"],
            body_head=bytes(row["body_head"]).decode("utf-8", "backslashreplace"),
        )
        for row in rows
    ]
    return Answer(RejectedPage(rejected=listed, next_before=listed[-1].id if len(listed) == asked.limit else None))


async def list_handshakes(call: Call[NoQuery, NoBody]) -> Answer:
    """Candidates and tokens in use, newest first, without the tokens."""
    rows = await handshakes.every(call.desk.pool, SOURCE)
    listed = [
        HandshakeSaid(
            id=row["id"],
            key=row["fingerprint"],
            at=iso(row["at"]) or "",
            network=row["remote"],
            state="candidate" if row["promoted_at"] is None else "in use",
            promoted_at=iso(row["promoted_at"]),
            promoted_by=row["promoted_by"],
        )
        for row in rows
    ]
    return Answer(Handshakes(handshakes=listed, can_keep=call.desk.notion.can_keep))


async def reveal(call: Call[NoQuery, NoBody]) -> Answer:
    """The token of a candidate, to be pasted into Notion's form. A token in use is never shown."""
    handshake_id = call.event_id()
    async with call.desk.pool.acquire() as connection, connection.transaction():
        row = await handshakes.one(connection, SOURCE, handshake_id)
        if row is None:
            raise not_found(f"There is no handshake {handshake_id}; only the five newest candidates are kept.")
        if row["promoted_at"] is not None:
            raise conflict("in-use", "This token is in use, and such a token is not shown.")
        token = call.desk.notion.open(bytes(row["sealed"]))
        await call.note(connection, "reveal handshake", target=handshake_id, key=row["fingerprint"])
    return Answer(Revealed(id=handshake_id, key=row["fingerprint"], verification_token=token.get_secret_value()))


async def promote(call: Call[NoQuery, PromoteTold]) -> Answer:
    """A candidate becomes a token in use, here at once and in every other receiver within seconds."""
    handshake_id = call.event_id()
    async with call.desk.pool.acquire() as connection, connection.transaction():
        row = await handshakes.one(connection, SOURCE, handshake_id)
        if row is None:
            raise not_found(f"There is no handshake {handshake_id}; only the five newest candidates are kept.")
        call.desk.notion.open(bytes(row["sealed"]))  # or nothing could be verified with it
        if not await handshakes.promote(connection, SOURCE, handshake_id, by=call.by):
            raise conflict("in-use", "This token is in use already.")
        retired = await handshakes.retire_others(connection, SOURCE, handshake_id) if call.body.retire_others else 0
        await call.note(connection, "promote handshake", target=handshake_id, key=row["fingerprint"], retired=retired)
    with suppress(DatabaseUnavailable):  # it is promoted; what cannot be read now is read within seconds
        await call.desk.notion.refresh(call.desk.pool)
    return Answer(Promoted(id=handshake_id, key=row["fingerprint"], retired=retired))


OPERATIONS: Table = (
    Operation("GET", "/api/rejected", "Requests that were turned away", Role.VIEWER, list_rejected, RejectedAsked, NoBody, RejectedPage),
    Operation(
        "GET", "/api/webhooks/notion/handshakes", "Notion's verification tokens", Role.VIEWER, list_handshakes, NoQuery, NoBody, Handshakes
    ),
    Operation(
        "POST",
        "/api/webhooks/notion/handshakes/{id}/reveal",
        "Show a candidate's token, to be pasted into Notion",
        Role.OPERATOR,
        reveal,
        NoQuery,
        NoBody,
        Revealed,
        also={409: "The token is in use"},
    ),
    Operation(
        "POST",
        "/api/webhooks/notion/handshakes/{id}/promote",
        "Put a candidate's token into use",
        Role.OPERATOR,
        promote,
        NoQuery,
        PromoteTold,
        Promoted,
        also={409: "The token is in use already"},
    ),
)
