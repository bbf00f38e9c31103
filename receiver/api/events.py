"""Events: list, stage, look at one, replay."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from outbox.db import Record
from outbox.errors import KeyReused
from outbox.event import Event, State
from outbox.staging import stage
from outbox.store import events
from outbox.timeline import story, summary
from receiver.api.operation import (
    Answer,
    Asked,
    Call,
    EventId,
    Flag,
    Limit,
    Moment,
    NoBody,
    NoQuery,
    Operation,
    Said,
    Table,
    Text,
    Time,
    Told,
)
from receiver.config import Role
from receiver.desk import Desk
from receiver.errors import Problem, conflict, not_found

LOOK_AT = 10_000


class EventsAsked(Asked):
    source: Text | None = Field(None, description="ghl, ghl-workflow, notion, standard:NAME or app.")
    kind: Text | None = None
    lane: Text | None = None
    key: Text | None = Field(None, description="The idempotency key, which is the sender's id of the delivery.")
    state: list[State] = Field([], description="Repeatable. Looks at the newest 10,000 that fit the other filters; go on with next_before.")
    before: EventId | None = Field(None, description="Only ids below this one: next_before of the page before.")
    limit: Limit = 50


class EventSummary(Said):
    id: int
    source: str
    kind: str
    key: str | None = Field(description="null: the sender gave none.")
    lane: str | None = Field(description="null: it waits for no other.")
    state: str = Field(description="pending, done, skipped or dead.")
    why: str | None
    until: Time | None = Field(description="When a wait ends; null: it does not wait for a time.")
    attempts: int
    staged_at: Time
    changed_at: Time


class EventPage(Said):
    events: list[EventSummary]
    next_before: int | None = Field(description="null: there are no more.")


class TimelineEntry(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    at: Time
    what: Literal["staged", "duplicate", "attempt", "step", "replay", "discard"]
    text: str


class EventStory(EventSummary):
    duplicates: int = Field(description="Deliveries of the same key after the first.")
    payload_bytes: int
    headers: dict[str, str]
    timeline: list[TimelineEntry]
    payload: str | None = Field(None, description="The exact bytes as text; only when asked for.")


class EventTold(Told):
    kind: Text
    payload: Any
    key: Text | None = None
    lane: Text | None = None
    due_at: Moment | None = Field(None, description="Not before; absent: now.")
    source: Text = "app"


class EventStaged(Said):
    id: int
    duplicate: bool


class EventAsked(Asked):
    payload: Flag = Field(False, description="1: with the payload. Operators only, and kept in the audit.")


class EventReplayed(Said):
    id: int
    replayed: bool


async def list_events(call: Call[EventsAsked, NoBody]) -> Answer:
    """Newest first."""
    asked = call.query
    if asked.key is not None and (rows := await _by_key(call.desk, asked.key, asked)):
        return Answer(EventPage(events=[EventSummary.model_validate(summary(row)) for row in rows], next_before=None))
    filters = {"source": asked.source, "kind": asked.kind, "lane": asked.lane, "key": asked.key}
    rows = await events.find(
        call.desk.pool, before=asked.before, limit=asked.limit, states=[str(state) for state in asked.state], look_at=LOOK_AT, **filters
    )
    next_before = rows[-1]["id"] if len(rows) == asked.limit else None
    if next_before is None and asked.state:
        next_before = await events.looked_to(call.desk.pool, before=asked.before, look_at=LOOK_AT, **filters)
    return Answer(EventPage(events=[EventSummary.model_validate(summary(row)) for row in rows], next_before=next_before))


async def _by_key(desk: Desk, key: str, asked: EventsAsked) -> list[Record]:
    """A sender's key leads to its event at once, where looking at every event would take long."""
    known = [asked.source] if asked.source else sorted({"app", *(door.source.name for door in desk.webhooks.doors.values())})
    rows = await events.with_key(desk.pool, key, sources=known)
    return [
        row
        for row in rows
        if asked.kind in (None, row["kind"])
        and asked.lane in (None, row["lane"])
        and (not asked.state or row["state"] in asked.state)
        and (asked.before is None or row["id"] < asked.before)
    ]


async def stage_event(call: Call[NoQuery, EventTold]) -> Answer:
    """Row and audit in one transaction."""
    told = call.body
    event = Event(told.kind, told.payload, key=told.key, lane=told.lane, due_at=told.due_at, source=told.source)
    try:
        async with call.desk.pool.acquire() as connection, connection.transaction():
            event_id: int = await stage(connection, event)
            duplicate = not await events.is_new(connection, event_id)
            await call.note(connection, "stage", target=event_id, kind=told.kind, duplicate=duplicate)
    except KeyReused as problem:
        raise conflict("key-reused", str(problem)) from None
    return Answer(EventStaged(id=event_id, duplicate=duplicate), status=200 if duplicate else 201)


async def one_event(call: Call[EventAsked, NoBody]) -> Answer:
    """With its timeline."""
    event_id = call.event_id()
    if call.query.payload and (call.who is None or call.who.role is not Role.OPERATOR):
        raise Problem(403, "forbidden", "Not with this token", "Payloads are shown to operators only.")
    told = await story(call.desk.pool, event_id)
    if told is None:
        raise _unknown(event_id)
    if call.query.payload:
        await call.note(call.desk.pool, "show payload", target=event_id)
        row = await events.one(call.desk.pool, event_id)
        told["payload"] = None if row is None else bytes(row["payload"]).decode("utf-8", "replace")
    return Answer(EventStory.model_validate(told))


async def replay_event(call: Call[NoQuery, NoBody]) -> Answer:
    """Done or skipped becomes pending; finished steps are not repeated."""
    event_id = call.event_id()
    async with call.desk.pool.acquire() as connection, connection.transaction():
        if not await events.replay(connection, event_id, by=call.by):
            row = await events.one(connection, event_id)
            if row is None:
                raise _unknown(event_id)
            raise conflict(
                "not-settled",
                f"Event {event_id} is {row['state']}. Only what is done or skipped is replayed; retry a dead one at /api/dead-letters.",
                state=row["state"],
            )
        await call.note(connection, "replay", target=event_id)
    return Answer(EventReplayed(id=event_id, replayed=True))


def _unknown(event_id: int) -> Problem:
    return not_found(f"There is no event {event_id}; it never was, or retention has dropped it.")


OPERATIONS: Table = (
    Operation("GET", "/api/events", "Events, newest first", Role.VIEWER, list_events, EventsAsked, NoBody, EventPage),
    Operation(
        "POST",
        "/api/events",
        "Stage an event",
        Role.OPERATOR,
        stage_event,
        NoQuery,
        EventTold,
        EventStaged,
        status=201,
        also={200: "The key is known, with the same content: the first event's id", 409: "The key was used for other content"},
    ),
    Operation("GET", "/api/events/{id}", "An event and its timeline", Role.VIEWER, one_event, EventAsked, NoBody, EventStory),
    Operation(
        "POST",
        "/api/events/{id}/replay",
        "Put a settled event into the queue again",
        Role.OPERATOR,
        replay_event,
        NoQuery,
        NoBody,
        EventReplayed,
        also={409: "It is not settled"},
    ),
)
