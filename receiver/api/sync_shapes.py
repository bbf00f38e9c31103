"""What the routes of syncs are asked, and what they say."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from outbox.light import Light
from outbox.store.runs import MOST_DELETIONS, MOST_HOURS_BACK, What
from receiver.api.operation import Asked, Flag, Limit, Moment, Said, Text, Time, Told

Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
RunType = Annotated[str, StringConstraints(min_length=1, max_length=40)]


class Counts(Said):
    total: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    deleted: int
    errors: int


class Missed(Said):
    changed: int = Field(description="So many changed in its window.")
    missed: int = Field(description="So many of them no webhook had announced.")
    share: float | None = Field(description="missed of changed; null: nothing changed.")


class Run(Said):
    id: int = Field(description="Also its event's id.")
    sync: str
    type: str
    trigger: str = Field(description="schedule, gap (webhooks may have been missed), manual or cron.")
    by: str | None = Field(description="Who asked; null: the schedule.")
    state: str = Field(description="queued, running, waiting, done, failed, cancelled or braked (a person has to decide).")
    reason: str | None
    why: str | None = Field(description="What an undone run waits for; null: it has ended.")
    held_until: Time | None
    dry_run: bool
    hours_back: int | None
    since: Time | None = Field(description="Changes from then; null: from the beginning, or it has not begun.")
    until: Time | None
    counts: Counts
    errors_by: dict[str, int] = Field(description="api, network, rate limit, validation, conflict; also those that were tried again.")
    missed: dict[str, Missed] = Field(
        description="Of a run that looks for what webhooks missed: by what it is, such as contacts and appointments."
    )
    calls: int
    quota_left: int | None = Field(description="Calls left today; null: the API does not say.")
    quota: int | None = Field(description="Calls that the API allows in a day, of which calls are a share; null: it does not say.")
    phase: str | None
    progress: int
    expected: int | None
    pages: int
    pages_expected: int | None = Field(description="About so many pages in the end; null: it has ended, or nobody knows.")
    rate: float | None = Field(
        description="Records a second over the last minute of this attempt and phase; null: it is not at work, or nobody knows."
    )
    left_s: int | None = Field(description="So many seconds are left of this phase at that rate; null: nobody knows.")
    worked_ms: int
    cancel_by: str | None
    asked_at: Time
    started_at: Time | None
    ended_at: Time | None


class Touched(Said):
    record: str = Field(description="The far side's id.")
    what: str = Field(description="created, updated, skipped, deleted or error.")
    category: str | None
    note: str | None
    lane: str | None = Field(description="Where events about it take their turn; null: not known of records of this sync.")
    at: Time


class Errors(Said):
    category: str
    count: int = Field(description="As in errors_by.")
    examples: list[Touched] = Field(description="Three at most, the newest. A record of '' is no single one: the run was interrupted.")


class Usual(Said):
    run: int
    at: Time
    total: int
    calls: int
    quota: int | None
    worked_ms: int


class LightRule(Said):
    green_under_s: int = Field(description="Two intervals of its most frequent schedule.")
    yellow_to_s: int = Field(description="Six of them.")
    ages_from: Time = Field(description="The last success, or later: when it was resumed, switched on or given its schedule.")
    missed: int = Field(description="So many times it was due since then; 6: or more. Under 2 it stays green, under 6 it is not red.")


class Tick(Said):
    utc: Time
    local: str = Field(description="In the schedule's own zone.")


class Schedule(Said):
    type: str
    cron: str | None
    zone: str | None
    every_s: int | None
    catch_up: str
    on: bool
    edited_by: str | None = Field(description="null: as the code says.")
    fired_at: Time | None
    next: list[Tick] = Field(description="The next five; none while it is off.")


class Success(Said):
    run: int
    at: Time


class Failure(Said):
    run: int
    at: Time
    state: str
    reason: str | None


class Sync(Said):
    name: str
    destination: str | None
    types: list[str]
    off: str | None = Field(description="Why it cannot run; null: it can.")
    light: str = Field(description="green, yellow, red (also: it paused itself); grey: it is off, or a person paused it.")
    light_rule: LightRule | None = Field(description="By what the light shows its colour; null: nothing is expected of it.")
    watermark: Time | None = Field(description="Every change up to then is here; null: no run has ended well yet.")
    overlap_s: int | None = Field(description="So far behind the watermark the next incremental run begins to look; null: at it.")
    looks_since: Time | None = Field(description="From then: watermark less overlap_s.")
    paused_at: Time | None
    paused_by: str | None
    paused_why: str | None
    may_delete: int | None = Field(description="So many deletions a person has allowed the next sweep.")
    last_success: Success | None
    last_failure: Failure | None
    braked: Failure | None = Field(
        description="Its brake asks a person; null: none of its runs stopped there, or one of that type has ended well since."
    )
    next_at: Time | None
    schedules: list[Schedule]
    current: Run | None = Field(description="The run that is undone, if any.")


class Detail(Sync):
    usual: dict[str, Usual] = Field(description="By type: what the last run took that ended well and left nothing out. Absent: none yet.")
    recent: list[Touched] = Field(description="Of the run at work, else of the last that went well.")


class SyncsAsked(Asked):
    users: Flag = Field(False, description="1: also those that there is one of for each user, such as google-contacts:ada.")
    light: Light | None = Field(None, description="With users=1: only users' own, of this light.")
    owner: Name | None = Field(None, description="Only those of this account: a user, or a connected location.")
    after: Name | None = Field(None, description="Only those behind it: next_after of the page before.")
    limit: Limit = 50


class UserSyncs(Said):
    name: str
    count: int
    light: str = Field(description="The worst of them.")
    lights: dict[str, int] = Field(description="How many are green, yellow, red and grey: nothing is expected of it.")
    need_consent: int = Field(description="So many users have to consent, or to do it again; they are grey.")
    under_way: int = Field(description="Runs that have not ended.")
    last_success_at: Time | None = Field(description="The newest of them.")
    next_at: Time | None


class Syncs(Said):
    syncs: list[Sync]
    users: UserSyncs | None = Field(description="Those of single users, as one; null: there are none, or others were asked for.")
    next_after: str | None


class Runs(Said):
    runs: list[Run]
    next_before: int | None


class RunDetail(Said):
    run: Run
    errors: list[Errors] = Field(description="By category, the most first.")
    records: list[Touched] = Field(description="Errors first; the log of a run is bounded.")


class Started(Said):
    run: int
    is_new: bool = Field(description="false: one was under way, or had just been asked for.")


class RunsAsked(Asked):
    before: Annotated[int, Field(ge=1, le=2**53 - 1)] | None = None
    limit: Limit = 50


class RecordsAsked(Asked):
    what: What | None = Field(None, description="Only these.")
    limit: Limit = 200


class RunTold(Told):
    type: RunType = "incremental"
    hours_back: Annotated[int, Field(ge=1, le=MOST_HOURS_BACK)] | None = Field(None, description="Absent: since the watermark.")
    dry_run: bool = False
    since: Moment | None = Field(None, description="Of a run of type range: from then, with a zone.")
    until: Moment | None = Field(None, description="Of a run of type range: to before then, with a zone.")


class PauseTold(Told):
    reason: Text


class ReleaseTold(Told):
    deletions: Annotated[int, Field(ge=1, le=MOST_DELETIONS, description="So many, and no more, may the next sweep delete.")]


class ScheduleTold(Told):
    """Either cron (with a zone) or every_s."""

    cron: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    zone: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(None, description="IANA, such as Europe/Vienna.")
    every_s: int | None = None
    catch_up: Literal["skip", "one"] = "one"
    on: bool = True
