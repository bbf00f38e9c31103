"""Destinations and lanes: what flows, what is paused, what is held back and by what."""

import re
from typing import Annotated

from pydantic import Field

from outbox import operators, ways
from outbox.operators import Actor
from outbox.store import destinations, lanes
from outbox.timeline import iso
from outbox.ways import Way
from receiver.api.operation import (
    Answer,
    Asked,
    Call,
    Flag,
    Limit,
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

NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}(?::[A-Za-z0-9_-]{1,64})?")  # also one account of a provider, such as ghl:<location>
MOST_COUNTED = 1000
USUAL = ("ghl", "notion")  # listed even before anything ever happened to them


class Budget(Said):
    burst: int | None = Field(description="So many calls at once; null, like per_second: none was made since this is noted down.")
    taken: int = Field(description="Of these, now.")
    per_second: float | None
    used_today: int
    left_today: int | None = Field(description="As the provider last said; null: it does not say.")
    rests_for_s: float | None = Field(description="As the provider asked; null: it does not rest.")


class Destination(Said):
    name: str = Field(description="google is all users' own, google:USER, as one.")
    state: str = Field(description="flowing, open (its breaker), unauthorised or paused.")
    why: str | None
    by: str | None = Field(description="Who paused or resumed it; null: the breaker.")
    since: Time | None = Field(description="null: it was always flowing.")
    resumes_in_s: float | None = Field(description="Until it is tried again or resumes; null: it flows, or a person decides.")
    times_opened: int = Field(description="Probes in a row that failed.")
    waiting: int = Field(description="Events held for it.")
    oldest_waiting: int | None
    calls: int = Field(description="Made in the last 24 hours by our own clients; those of clients of your modules are not counted.")
    success_rate: float | None = Field(
        description="Of these, whose far side did its part: an answer, a credential taken, no error of its own. null: none was made."
    )
    success_rate_last_hour: float | None = Field(description="By quarters of an hour, the one under way and the three before it.")
    p95_ms: float | None = Field(description="All but one in twenty of the last 24 hours' took no longer; null: none was made.")
    budget: Budget | None = Field(description="Of its credential; null: it made no call yet.")


class Destinations(Said):
    destinations: list[Destination]


class Resumed(Destinations):
    changed: bool = Field(description="false: it flowed already.")
    outlook: str = Field(description="How many events flow now, and at which rate.")


class Tested(Said):
    event: int = Field(description="GET /api/events/{id} has the answer, as soon as it is there.")


class PauseTold(Told):
    reason: Text
    minutes: Annotated[float, Field(gt=0, le=60 * 24 * 30)] | None = Field(None, description="Resumes by itself; absent: a person does.")


class LanesAsked(Asked):
    blocked: Flag = Field(False, description="1: only lanes whose head waits; else also those at work.")
    above: Annotated[int, Field(ge=0, le=2**53 - 1)] = Field(0, description="Only heads above this id: next_above of the page before.")
    limit: Limit = 50


class Lane(Said):
    lane: str
    head: int = Field(description="The event that holds it.")
    kind: str
    why: str
    mark: str = Field(description="running, retry, snoozed or held (its destination does not flow).")
    worker: str | None
    since: Time
    until: Time | None = Field(description="null: it is at work, or waits until its destination flows.")
    attempt: int
    waiting: int = Field(description=f"Events behind the head; {MOST_COUNTED + 1} means more than {MOST_COUNTED}.")


class Lanes(Said):
    lanes: list[Lane]
    next_above: int | None


async def list_destinations(call: Call[NoQuery, NoBody]) -> Answer:
    """All that flow, stand or hold something back."""
    return Answer(Destinations(destinations=[_said(way) for way in await ways.every(call.desk.pool, usual=USUAL)]))


def _said(way: Way) -> Destination:
    return Destination(
        name=way.name,
        state=way.state,
        why=way.why,
        by=way.by,
        since=iso(way.since),
        resumes_in_s=None if way.until_s is None else max(0.0, round(way.until_s, 1)),
        times_opened=way.opened,
        waiting=way.held.waiting,
        oldest_waiting=way.held.oldest,
        calls=way.day.made if way.day else 0,
        success_rate=round(way.day.success_rate, 4) if way.day else None,
        success_rate_last_hour=round(way.day.hour.success_rate, 4) if way.day and way.day.hour else None,
        p95_ms=round(way.day.p95_ms, 1) if way.day else None,
        budget=way.pace
        and Budget(
            burst=way.pace.burst,
            taken=way.pace.taken,
            per_second=way.pace.per_s,
            used_today=way.pace.day_used,
            left_today=way.pace.day_left,
            rests_for_s=way.pace.rests_s,
        ),
    )


async def pause(call: Call[NoQuery, PauseTold]) -> Answer:
    """Its events wait; nothing is buried and no attempt is spent."""
    name, told = _name(call.path["name"]), call.body
    async with call.desk.pool.acquire() as connection, connection.transaction():
        seconds = None if told.minutes is None else told.minutes * 60
        await destinations.pause(connection, name, why=told.reason, by=call.by, seconds=seconds)
        await call.note(connection, "pause", target=name, reason=told.reason, minutes=told.minutes)
    return await list_destinations(Call(call.desk, call.who, call.path, NoQuery(), NoBody()))


async def resume(call: Call[NoQuery, NoBody]) -> Answer:
    """Also ends a breaker's wait. What flows already goes on flowing."""
    name = _name(call.path["name"])
    async with call.desk.pool.acquire() as connection, connection.transaction():
        changed = await destinations.resume(connection, name, by=call.by)
        await call.note(connection, "resume", target=name, changed=changed)
    listed = await ways.every(call.desk.pool, usual=(*USUAL, name))
    outlook = next((way.outlook for way in listed if way.name == name), "")
    return Answer(Resumed(destinations=[_said(way) for way in listed], changed=changed, outlook=outlook))


async def test(call: Call[NoQuery, NoBody]) -> Answer:
    """One harmless read call by a dispatcher; the event tells what came of it."""
    event = await operators.test(call.desk.pool, Actor(call.by, "api"), _name(call.path["name"]))
    return Answer(Tested(event=event), 202)


async def list_lanes(call: Call[LanesAsked, NoBody]) -> Answer:
    """The oldest head first."""
    asked = call.query
    rows = await lanes.blocked(call.desk.pool, above=asked.above, limit=asked.limit, waiting_only=asked.blocked)
    listed = [
        Lane(
            lane=row["lane"],
            head=row["event_id"],
            kind=row["kind"],
            why=row["why"],
            mark=row["mark"],
            worker=row["worker"],
            since=iso(row["since"]) or "",
            until=iso(row["until"]),
            attempt=row["attempt"],
            waiting=row["waiting"],
        )
        for row in rows
    ]
    return Answer(Lanes(lanes=listed, next_above=listed[-1].head if len(listed) == asked.limit else None))


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise not_found("A destination's name is a lower-case word, such as ghl or notion.")
    return text


OPERATIONS: Table = (
    Operation(
        "GET", "/api/destinations", "Destinations and what waits for them", Role.VIEWER, list_destinations, NoQuery, NoBody, Destinations
    ),
    Operation("POST", "/api/destinations/{name}/pause", "Hold everything for it", Role.OPERATOR, pause, NoQuery, PauseTold, Destinations),
    Operation("POST", "/api/destinations/{name}/resume", "Let it flow", Role.OPERATOR, resume, NoQuery, NoBody, Resumed),
    Operation(
        "POST",
        "/api/destinations/{name}/test",
        "Ask whether it works",
        Role.OPERATOR,
        test,
        NoQuery,
        NoBody,
        Tested,
        202,
        also={409: "There is no test of it, or it does not flow"},
    ),
    Operation("GET", "/api/lanes", "Lanes that are not free, and what holds them", Role.VIEWER, list_lanes, LanesAsked, NoBody, Lanes),
)
