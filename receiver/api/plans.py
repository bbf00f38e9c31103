"""Plans: a retry, discard or replay of many that is stored before it begins, proves itself in portions, and can be stopped and resumed."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from outbox import planning
from outbox.store import plans
from outbox.store.dead import Filter
from outbox.store.plans import Act
from outbox.store.search import Wanted
from outbox.timeline import iso
from receiver.api.operation import (
    MAX_ID,
    Answer,
    Asked,
    Call,
    EventId,
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
from receiver.errors import not_found

MOST_IDS = 5_000


class PlanTold(Told):
    act: Literal["retry", "discard"] = Field("retry", description="retry or discard.")
    kind: Text | None = None
    source: Text | None = None
    lane: Text | None = None
    group: Text | None = None
    since: Moment | None = None
    until: Moment | None = None
    ids: list[EventId] | None = Field(None, min_length=1, max_length=MOST_IDS, description="Only these.")
    all: bool = Field(False, description="Needed when neither a filter nor ids are given.")
    reason: Text | None = Field(None, description="Why they are discarded; for a discard only, and needed there.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.all and self.ids is None and self.filter() == Filter():
            raise ValueError('name a filter or ids, or say "all": true')
        if (self.act == "discard") is not (self.reason is not None):
            raise ValueError("a discard has a reason, and a retry has none")
        return self

    def filter(self) -> Filter:
        """As the store takes it."""
        return Filter(kind=self.kind, source=self.source, lane=self.lane, group=self.group, since=self.since, until=self.until)


class ReplayTold(Told):
    source: list[Text] = Field([], description="Any of these, as in GET /api/events.")
    kind: list[Text] = Field([])
    lane: Text | None = None
    key: Text | None = None
    state: list[Literal["done", "skipped"]] = Field([], description="Absent: both.")
    attempts: int | None = Field(None, ge=1, le=99, description="With so many attempts at least.")
    text: Text | None = Field(None, description="In the payload, byte for byte.")
    since: Moment | None = Field(None, description="Staged at this time or later.")
    until: Moment | None = Field(None, description="Staged before this time.")
    ids: list[EventId] | None = Field(None, min_length=1, max_length=MOST_IDS, description="Only these.")
    all: bool = Field(False, description="Needed when neither a filter nor ids are given.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.all, self.ids is not None, self.filter() != Wanted()).count(True) != 1:
            raise ValueError('name a filter, or ids, or say "all": true')
        return self

    def filter(self) -> Wanted:
        """As the store takes it."""
        return Wanted(
            sources=tuple(self.source), kinds=tuple(self.kind), lane=self.lane, key=self.key, states=tuple(self.state),
            attempts=self.attempts, text=self.text, since=self.since, until=self.until,
        )  # fmt: skip


class StartTold(Told):
    canary: bool = Field(True, description="One, then ten, then portions of 100 (a replay's: 500); false: portions at once.")
    alone: bool = Field(False, description="Goes on by itself after the canary.")
    leave_out: bool = Field(False, description="Leaves those as they are of whose lane a newer event is done.")


class ContinueTold(Told):
    alone: bool = Field(False, description="Asks nobody again.")


class PlansAsked(Asked):
    before: Annotated[int, Field(ge=1, le=MAX_ID)] | None = None
    limit: Limit = 50


class PlanEventsAsked(Asked):
    above: Annotated[int, Field(ge=0, le=plans.MOST_EVENTS)] = Field(
        0, description="Only turns above this one: the last of the page before."
    )
    limit: Limit = 100


class PlanSummary(Said):
    id: int
    act: str
    state: str = Field(description="made, running, resting (a person continues it), stopping, stopped or done.")
    why: str | None = Field(description="Why it stopped.")
    reason: str | None
    events: int
    lanes: int
    ceiling: int = Field(description="The largest id in it; what dies, or (replay) is staged, later is not.")
    oldest_at: Time = Field(description="When the first of them died, or (replay) was staged.")
    steps_done: int = Field(description="Finished steps, which are not repeated.")
    newer: int | None = Field(description="Events with a newer one of their lane done; null: too many lanes to look.")
    canary: bool
    alone: bool
    leave_out: bool
    portion: int
    turn: int
    next_portion: int | None = Field(description="How many the next start or continue sends at first; null: neither can be done.")
    which: dict[str, Any] = Field(description="The filter as it was told.")
    by: str
    made_at: Time
    started_at: Time | None
    ended_at: Time | None


class PlanDestination(Said):
    name: str
    events: int
    state: str
    why: str | None
    calls_today: int | None
    calls_left_today: int | None = Field(description="As the destination last said; null: it does not.")
    calls_per_s: float | None = Field(description="How many its budget allows after a first burst; null: nobody has called there yet.")


class Portion(Said):
    portion: int
    events: int
    sent: int
    under_way: int
    fine: int
    same: int
    other: int
    first: int
    ended_at: Time | None


class Plan(PlanSummary):
    kinds: dict[str, int] = Field(description="How many of which kind, the most first.")
    became: dict[str, int] = Field(description="What became of its events; the sum is `events`.")
    by_others: dict[str, int] = Field(description="What somebody else did to those that were no longer as planned: `retried by ana`.")
    destinations: list[PlanDestination]
    portions: list[Portion]


class PlanPage(Said):
    plans: list[PlanSummary]
    next_before: int | None


class PlanEvent(Said):
    turn: int
    id: int
    portion: int | None
    became: str | None = Field(description="null: its turn has not come, or it is under way.")
    is_late: bool = Field(description="A newer event of its lane was done.")
    ended_at: Time | None = None


class PlanEvents(Said):
    events: list[PlanEvent]
    next_above: int | None


async def make_plan(call: Call[NoQuery, PlanTold]) -> Answer:
    """Counts and stores; touches nothing yet."""
    told = call.body
    made = await planning.make(call.desk.pool, call.actor, told.filter(), act=Act(told.act), ids=told.ids, reason=told.reason)
    return Answer(await _plan(call, made), status=201)


async def make_replay(call: Call[NoQuery, ReplayTold]) -> Answer:
    """Counts and stores; touches nothing yet."""
    told = call.body
    known = sorted({"app", *(door.source.name for door in call.desk.webhooks.doors.values())})
    made = await planning.make_replay(call.desk.pool, call.actor, told.filter(), ids=told.ids or (), known_sources=known)
    return Answer(await _plan(call, made), status=201)


async def list_plans(call: Call[PlansAsked, NoBody]) -> Answer:
    """Newest first."""
    rows = await plans.find(call.desk.pool, before=call.query.before, limit=call.query.limit)
    listed = [PlanSummary.model_validate(planning.summary(row)) for row in rows]
    return Answer(PlanPage(plans=listed, next_before=listed[-1].id if len(listed) == call.query.limit else None))


async def one_plan(call: Call[NoQuery, NoBody]) -> Answer:
    """With its progress."""
    return Answer(await _plan(call, call.event_id()))


async def plan_events(call: Call[PlanEventsAsked, NoBody]) -> Answer:
    """In their turns: oldest first, one of each lane first."""
    plan = await plans.one(call.desk.pool, call.event_id())
    said = plans.words(plan["act"] if plan is not None else Act.RETRY)
    rows = await plans.events(call.desk.pool, call.event_id(), above=call.query.above, limit=call.query.limit)
    listed = [
        PlanEvent(
            turn=row["turn"],
            id=row["event_id"],
            portion=row["portion"],
            became=said.get(row["ended"] or ""),
            is_late=row["is_late"],
            ended_at=iso(row["ended_at"]),
        )
        for row in rows
    ]
    return Answer(PlanEvents(events=listed, next_above=listed[-1].turn if len(listed) == call.query.limit else None))


async def start_plan(call: Call[NoQuery, StartTold]) -> Answer:
    """Sends the first portion; a dispatcher carries on."""
    told = call.body
    await planning.start(call.desk.pool, call.actor, call.event_id(), canary=told.canary, alone=told.alone, leave_out=told.leave_out)
    return Answer(await _plan(call, call.event_id()))


async def continue_plan(call: Call[NoQuery, ContinueTold]) -> Answer:
    """After a portion of the canary that went well."""
    await planning.go_on(call.desk.pool, call.actor, call.event_id(), alone=call.body.alone)
    return Answer(await _plan(call, call.event_id()))


async def stop_plan(call: Call[NoQuery, NoBody]) -> Answer:
    """What was sent goes on; nothing more is sent."""
    await planning.stop(call.desk.pool, call.actor, call.event_id())
    return Answer(await _plan(call, call.event_id()))


async def resume_plan(call: Call[NoQuery, NoBody]) -> Answer:
    """It goes on with the turns that are left."""
    await planning.resume(call.desk.pool, call.actor, call.event_id())
    return Answer(await _plan(call, call.event_id()))


async def _plan(call: Call[Any, Any], plan_id: int) -> Plan:
    told = await planning.told(call.desk.pool, plan_id)
    if told is None:
        raise not_found(f"There is no plan {plan_id}; it never was, or is past its days.")
    return Plan.model_validate(told)


_PATH = "/api/plans"
OPERATIONS: Table = (
    Operation(
        "POST",
        "/api/dead-letters/plans",
        "Plan a retry or discard of many",
        Role.OPERATOR,
        make_plan,
        NoQuery,
        PlanTold,
        Plan,
        status=201,
        also={409: "Nothing is found"},
    ),
    Operation(
        "POST",
        "/api/events/plans",
        "Plan a replay of many",
        Role.OPERATOR,
        make_replay,
        NoQuery,
        ReplayTold,
        Plan,
        status=201,
        also={409: "Nothing is found, or more than a plan holds"},
    ),
    Operation("GET", _PATH, "Plans, newest first", Role.VIEWER, list_plans, PlansAsked, NoBody, PlanPage),
    Operation("GET", _PATH + "/{id}", "A plan and its progress", Role.VIEWER, one_plan, NoQuery, NoBody, Plan),
    Operation("GET", _PATH + "/{id}/events", "The events of a plan", Role.VIEWER, plan_events, PlanEventsAsked, NoBody, PlanEvents),
    Operation(
        "POST",
        _PATH + "/{id}/start",
        "Begin",
        Role.OPERATOR,
        start_plan,
        NoQuery,
        StartTold,
        Plan,
        also={409: "It was begun, or its destination is paused"},
    ),
    Operation(
        "POST",
        _PATH + "/{id}/continue",
        "Go on after a canary",
        Role.OPERATOR,
        continue_plan,
        NoQuery,
        ContinueTold,
        Plan,
        also={409: "It does not rest"},
    ),
    Operation("POST", _PATH + "/{id}/stop", "Stop", Role.OPERATOR, stop_plan, NoQuery, NoBody, Plan, also={409: "It is over"}),
    Operation(
        "POST", _PATH + "/{id}/resume", "Resume", Role.OPERATOR, resume_plan, NoQuery, NoBody, Plan, also={409: "It was not stopped"}
    ),
)
