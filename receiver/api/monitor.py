"""The monitor: how everything stands, in the fields that the booking site's monitor had, and what became of one appointment.

Numbers come from the counters and from what is undone, never from a look at all events, so asking often costs little.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from outbox import sync_facts
from outbox.health import LATE_S, TARGET_DEAD, TARGET_SUCCESS, Health, judge
from outbox.store import budgets, events, minutes, search, standing
from outbox.store.search import Wanted
from outbox.timeline import iso, story
from receiver.api.operation import Answer, Call, NoBody, NoQuery, Operation, Said, Table, Time
from receiver.config import Role
from receiver.errors import not_found

DAY_S, HOUR_S = 86_400.0, 3_600.0
RECENT = 20
EVENTS_OF_ONE = 50


class Totals(Said):
    accepted: int = Field(description="Of the last 24 hours, as done, skipped and failedAttempts are.")
    done: int
    skipped: int
    failedAttempts: int = Field(description="Runs that failed and were tried again.")  # noqa: N815 -- the old monitor's names
    pending: int = Field(description="Now: waiting, at work or held.")
    dead: int = Field(description="Now.")


class Failure(Said):
    id: int
    kind: str
    at: Time
    attempts: int
    reason: str


class Latency(Said):
    averageSeconds: float | None = Field(description="From staged to done, over 24 hours; null: nothing was done.")  # noqa: N815
    targetSeconds: float  # noqa: N815
    lateShare: float | None = Field(description="The share that took longer than the target.")  # noqa: N815


class Checked(Said):
    name: str
    ok: bool
    value: str
    limit: str


class SystemHealth(Said):
    status: Health
    checks: list[Checked]
    issues: list[str]


class RateLimit(Said):
    credential: str
    usedToday: int  # noqa: N815
    leftToday: int | None = Field(description="As the provider last said; null: it does not say.")  # noqa: N815
    restsForSeconds: float | None = Field(description="null: it does not rest.")  # noqa: N815


class SyncLight(Said):
    name: str
    light: str = Field(description="green, yellow, red, or grey: nothing is expected of it.")
    lastSuccessAt: Time | None  # noqa: N815
    lastFailure: str | None = Field(description="The reason of the last run that failed, if it is newer than the last success.")  # noqa: N815
    nextAt: Time | None  # noqa: N815


class UserSyncs(Said):
    name: str
    count: int
    light: str = Field(description="The worst of them.")
    lights: dict[str, int] = Field(description="How many are green, yellow, red and grey: nothing is expected of it.")
    needConsent: int = Field(description="So many users have to consent, or to do it again; they are grey.")  # noqa: N815
    lastSuccessAt: Time | None = Field(description="The newest of them.")  # noqa: N815
    nextAt: Time | None  # noqa: N815


class Targets(Said):
    successRate: float  # noqa: N815
    latencySeconds: float  # noqa: N815
    deadLetters: int  # noqa: N815
    met: bool = Field(description="Success over, latency and dead letters under their targets.")


class Monitor(Said):
    totals: Totals
    successRate: float | None = Field(description="Done of done and dead, over 24 hours; null: neither happened.")  # noqa: N815
    deadLetterQueueSize: int  # noqa: N815
    recentFailures: list[Failure] = Field(description="The latest dead letters.")  # noqa: N815
    failuresLastHour: int  # noqa: N815
    systemHealth: SystemHealth  # noqa: N815
    recommendations: list[str]
    rateLimits: list[RateLimit]  # noqa: N815
    latency: Latency
    syncs: list[SyncLight]
    userSyncs: UserSyncs | None = Field(description="Those that there is one of for each user, as one; null: there are none.")  # noqa: N815
    targets: Targets


class AppointmentEvent(Said):
    id: int
    kind: str
    state: str
    why: str | None
    attempts: int
    stagedAt: Time  # noqa: N815
    changedAt: Time  # noqa: N815
    timeline: list[dict[str, Any]]


class AppointmentMonitor(Said):
    appointment: str
    synced: bool = Field(description="Nothing of it waits, and nothing of it is dead.")
    events: list[AppointmentEvent] = Field(description=f"Newest first, at most {EVENTS_OF_ONE}.")


async def monitor(call: Call[NoQuery, NoBody]) -> Answer:
    """How everything stands."""
    pool = call.desk.pool
    syncs = await sync_facts.every(pool)
    now, counts, undone = await standing.look(pool, syncs=syncs), await minutes.settled(pool, within_s=DAY_S), await events.counts(pool)
    verdict = judge(now)
    return Answer(
        Monitor(
            totals=Totals(
                accepted=await minutes.accepted(pool, within_s=DAY_S),
                done=counts.done,
                skipped=counts.skipped,
                failedAttempts=counts.failures,
                pending=sum(undone[where] for where in ("pending", "running", "waiting", "held", "delayed")),
                dead=undone["dead"],
            ),
            successRate=counts.success_rate,
            deadLetterQueueSize=undone["dead"],
            recentFailures=[
                Failure(id=row["id"], kind=row["kind"], at=iso(row["died_at"]) or "", attempts=row["attempt"], reason=row["reason"])
                for row in await standing.died(pool, limit=RECENT)
            ],
            failuresLastHour=now.buried_last_hour,
            systemHealth=SystemHealth(
                status=verdict.status,
                checks=[Checked(name=one.name, ok=one.is_met, value=one.value, limit=one.limit) for one in verdict.checks],
                issues=[one.issue for one in verdict.unmet],
            ),
            recommendations=list(dict.fromkeys(one.advice for one in verdict.unmet)),
            rateLimits=[
                RateLimit(
                    credential=row["credential"],
                    usedToday=row["used"],
                    leftToday=row["daily_left"],
                    restsForSeconds=row["paused_s"] if row["paused_s"] and row["paused_s"] > 0 else None,
                )
                for row in await budgets.every(pool)
            ],
            latency=Latency(
                averageSeconds=counts.latency_s, targetSeconds=LATE_S, lateShare=counts.late / counts.done if counts.done else None
            ),
            syncs=[_light(one) for one in syncs.syncs],
            userSyncs=syncs.users and _of_users(syncs.users),
            targets=Targets(
                successRate=TARGET_SUCCESS,
                latencySeconds=LATE_S,
                deadLetters=TARGET_DEAD,
                met=all(check.is_met for check in verdict.checks if check.name.endswith(" target")),
            ),
        )
    )


def _of_users(users: Mapping[str, Any]) -> UserSyncs:
    return UserSyncs(
        name=users["name"],
        count=users["count"],
        light=users["light"],
        lights=users["lights"],
        needConsent=users["need_consent"],
        lastSuccessAt=users["last_success_at"],
        nextAt=users["next_at"],
    )


def _light(sync: Mapping[str, Any]) -> SyncLight:
    success, failure = sync["last_success"], sync["last_failure"]
    is_newer = failure is not None and (success is None or failure["run"] > success["run"])
    return SyncLight(
        name=sync["name"],
        light=sync["light"],
        lastSuccessAt=None if success is None else success["at"],
        lastFailure=failure["reason"] if is_newer and failure is not None else None,
        nextAt=sync["next_at"],
    )


async def of_appointment(call: Call[NoQuery, NoBody]) -> Answer:
    """What was staged for one appointment, and what became of it; also of an app's own table, by its own id."""
    pool, appointment = call.desk.pool, call.path["id"]
    if not 1 <= len(appointment) <= 300 or "\x00" in appointment:
        raise not_found("An appointment's id has 1 to 300 characters.")
    rows = (await search.find(pool, Wanted(lane=f"appointment:{appointment}"), limit=EVENTS_OF_ONE)).rows
    if not rows:
        raise not_found("No event of such an appointment is known here: none was staged, or retention has removed it.")
    told = []
    for row in rows:
        whole = await story(pool, row["id"]) or {}
        told.append(
            AppointmentEvent(
                id=row["id"],
                kind=row["kind"],
                state=row["state"],
                why=row["why"],
                attempts=row["attempts"],
                stagedAt=iso(row["staged_at"]) or "",
                changedAt=iso(row["changed_at"]) or "",
                timeline=whole.get("timeline", []),
            )
        )
    synced = all(one.state in ("done", "skipped") for one in told)
    return Answer(AppointmentMonitor(appointment=appointment, synced=synced, events=told))


OPERATIONS: Table = (
    Operation("GET", "/api/monitor", "How everything stands", Role.VIEWER, monitor, NoQuery, NoBody, Monitor),
    Operation(
        "GET",
        "/api/monitor/appointments/{id}",
        "What became of one appointment",
        Role.VIEWER,
        of_appointment,
        NoQuery,
        NoBody,
        AppointmentMonitor,
    ),
)
