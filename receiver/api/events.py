"""Events: list, stage, look at one, replay."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from outbox import operators
from outbox.errors import KeyReused
from outbox.event import Event, Mark, State
from outbox.staging import stage
from outbox.store import events, search
from outbox.store.search import Wanted
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
from receiver.auth import Operator
from receiver.config import Role
from receiver.errors import Problem, conflict, not_found


class EventsAsked(Asked):
    source: list[Text] = Field([], description="ghl, ghl-workflow, notion, standard:NAME or app. Repeatable.")
    kind: list[Text] = Field([], description="Repeatable.")
    lane: Text | None = None
    key: Text | None = Field(None, description="The idempotency key, which is the sender's id of the delivery.")
    state: list[State] = Field([], description="Repeatable.")
    mark: list[Mark] = Field([], description="The state, and of a pending event what it waits for. Repeatable.")
    group: Text | None = Field(None, description="Dead letters of this cause only.")
    attempts: int | None = Field(None, ge=1, le=99, description="With so many attempts at least.")
    text: Text | None = Field(None, description="In the payload, byte for byte. Operators only.")
    since: Moment | None = Field(None, description="Staged at this time or later.")
    until: Moment | None = Field(None, description="Staged before this time.")
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
    mark: str = Field(description="ready, running, retry, snoozed, delayed, behind, held, done, skipped or dead.")
    until: Time | None = Field(description="When a wait ends; null: it does not wait for a time.")
    attempts: int
    staged_at: Time
    changed_at: Time


class EventPage(Said):
    events: list[EventSummary]
    next_before: int | None = Field(description="null: there are no more.")
    count: int = Field(description="Of the whole answer, if counted says so; else at least so many.")
    counted: bool
    looked: int | None = Field(description="How many of the newest that may fit were looked at; null: all there are.")
    back_to: int | None = Field(description="Back to this id; next_before goes on from there.")


class TimelineEntry(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    at: Time
    what: Literal["staged", "duplicate", "wait", "attempt", "step", "replay", "discard", "bury"]
    text: str


class Beside(Said):
    id: int
    kind: str
    mark: str


class RouteTold(Said):
    handler: str
    destination: str | None
    deadline_s: float
    retries: str
    covers: str | None = Field(description="Events behind it in its lane with the same word are covered by it.")


class EventStory(EventSummary):
    verdict: str = Field(description="One sentence.")
    because: str | None = Field(description="Why the next attempt is when it is.")
    may: list[str] = Field(description="What an operator can do: run, bury, release, replay, retry, discard.")
    steps_done: list[str] = Field(description="Not repeated by a retry or replay.")
    signed_by: str | None = Field(description="Fingerprint of the key or secret that matched; null: it came by no webhook.")
    trace: str | None
    group: str | None = Field(description="Of a dead letter: its cause.")
    route: RouteTold | None = Field(description="null: no dispatcher knows this kind.")
    previous: Beside | None = Field(description="In its lane; not further back than a day.")
    next: Beside | None
    caused_by: Beside | None = Field(description="The event whose run staged it; null: a sender, an app or a clock did.")
    follow_ups: list[Beside] = Field(description="What its newest runs staged, as far as it was looked for: at most fifty.")
    covered: list[int] = Field(description="Neighbours in its lane that this one covered.")
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


class WhyTold(Told):
    reason: Text = Field(description="Kept with the event.")


class Acted(Said):
    id: int
    did: Literal["run now", "bury", "release"]


class EventReplayed(Said):
    id: int
    replayed: bool


async def list_events(call: Call[EventsAsked, NoBody]) -> Answer:
    """Newest first."""
    asked = call.query
    if asked.text is not None:
        _operators_only(call.who)
    wanted = Wanted(
        sources=asked.source, kinds=asked.kind, lane=asked.lane, key=asked.key, states=[str(state) for state in asked.state],
        marks=[str(mark) for mark in asked.mark], group=asked.group, attempts=asked.attempts, text=asked.text,
        since=asked.since, until=asked.until,
    )  # fmt: skip
    known = sorted({"app", *(door.source.name for door in call.desk.webhooks.doors.values())})
    found = await search.find(call.desk.pool, wanted, before=asked.before, limit=asked.limit, known_sources=known)
    return Answer(
        EventPage(
            events=[EventSummary.model_validate(summary(row)) for row in found.rows],
            next_before=found.next_before,
            count=min(found.fitting, search.COUNTED),
            counted=found.counted,
            looked=found.looked,
            back_to=found.back_to,
        )
    )


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
    if call.query.payload:
        _operators_only(call.who)
    told = await story(call.desk.pool, event_id)
    if told is None:
        raise not_found(await events.missing(call.desk.pool, event_id))
    if call.query.payload:
        payload = await operators.payload(call.desk.pool, call.actor, event_id)
        told["payload"] = None if payload is None else payload.decode("utf-8", "replace")
    return Answer(EventStory.model_validate(told))


async def replay_event(call: Call[NoQuery, NoBody]) -> Answer:
    """Done or skipped becomes pending; finished steps are not repeated."""
    event_id = call.event_id()
    await operators.replay(call.desk.pool, call.actor, event_id)
    return Answer(EventReplayed(id=event_id, replayed=True))


async def run_event(call: Call[NoQuery, NoBody]) -> Answer:
    """A wait for a time ends now."""
    event_id = call.event_id()
    await operators.run_now(call.desk.pool, call.actor, event_id)
    return Answer(Acted(id=event_id, did="run now"))


async def bury_event(call: Call[NoQuery, WhyTold]) -> Answer:
    """It becomes a dead letter; its lane goes on, and order is not restored by a later retry."""
    event_id = call.event_id()
    await operators.bury(call.desk.pool, call.actor, event_id, reason=call.body.reason)
    return Answer(Acted(id=event_id, did="bury"))


async def release_event(call: Call[NoQuery, NoBody]) -> Answer:
    """It waits aside until its next attempt; its lane goes on without it, and its failures count from none again."""
    event_id = call.event_id()
    await operators.release(call.desk.pool, call.actor, event_id)
    return Answer(Acted(id=event_id, did="release"))


def _operators_only(who: Operator | None) -> None:
    if who is None or who.role is not Role.OPERATOR:
        raise Problem(403, "forbidden", "Not with this token", "Payloads are shown to operators only.")


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
    Operation(
        "POST", "/api/events/{id}/run", "End its wait", Role.OPERATOR, run_event, NoQuery, NoBody, Acted, also={409: "It waits for no time"}
    ),
    Operation(
        "POST",
        "/api/events/{id}/bury",
        "Make a dead letter of it, and free its lane",
        Role.OPERATOR,
        bury_event,
        NoQuery,
        WhyTold,
        Acted,
        also={409: "It runs, or is over"},
    ),
    Operation(
        "POST",
        "/api/events/{id}/release",
        "Let its lane go on without it until its next attempt",
        Role.OPERATOR,
        release_event,
        NoQuery,
        NoBody,
        Acted,
        also={409: "It holds no lane, or runs"},
    ),
)
