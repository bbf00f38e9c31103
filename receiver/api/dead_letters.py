"""Dead letters: list, by cause, one; retry one or many, discard.

A retry by filter only touches what was dead when it was counted: ids up to the ceiling, which a dry run returns and the real run repeats.
"""

from typing import Self

from pydantic import Field, model_validator

from outbox import causes, operators
from outbox.causes import STEPS_OF_EACH, STEPS_OF_ONE, group, groups
from outbox.db import Pool, Record
from outbox.store import dead
from outbox.store.dead import Filter
from outbox.timeline import iso
from outbox.verdict import Cause
from receiver.api.operation import (
    Answer,
    Asked,
    Call,
    EventId,
    Flag,
    Limit,
    LongText,
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

PORTION = 500
IDS_SHOWN = 1000
MOST_AT_ONCE = 100_000


class DeadLettersAsked(Asked):
    kind: Text | None = None
    source: Text | None = None
    lane: Text | None = None
    group: Text | None = Field(None, description="The fingerprint of a cause, as /api/dead-letters/groups lists it.")
    since: Moment | None = Field(None, description="Died at this time or later.")
    until: Moment | None = Field(None, description="Died before this time.")
    before: EventId | None = Field(None, description="Only ids below this one: next_before of the page before.")
    limit: Limit = 50


class GroupsAsked(Asked):
    kind: Text | None = Field(None, description="Of the newest letter.")
    destination: Text | None = None
    cause: Cause | None = Field(None, description="What kind of thing they died of.")
    since: Moment | None = Field(None, description="The newest of them died at this time or later.")
    noted: Flag = Field(False, description="Only those with a note.")


class DeadLetter(Said):
    id: int
    source: str
    kind: str
    key: str | None
    lane: str | None
    group: str
    reason: str
    attempts: int
    staged_at: Time
    died_at: Time


class DeadLetterPage(Said):
    dead_letters: list[DeadLetter]
    next_before: int | None


class Note(Said):
    note: str
    by: str
    at: Time


class Group(Said):
    group: str
    reason: str = Field(description="Of the newest.")
    kind: str = Field(description="Of the newest.")
    destination: str | None = Field(description="Whom events of this kind call; null: nobody, or no dispatcher has told.")
    dead: int
    lanes: int
    first_at: Time
    last_at: Time
    example: int
    last_24_hours: list[int] = Field(description="Deaths in each hour, the oldest first.")
    cause: Cause = Field(description="What kind of thing they died of.")
    advice: str = Field(description="What to do.")
    note: Note | None
    steps_done: dict[str, int] = Field(
        description=f"Finished steps of its newest {STEPS_OF_EACH} (of one group: {STEPS_OF_ONE:,}), by name: a retry repeats none of them."
    )


class Alike(Said):
    looked_at: int
    unreadable: int = Field(description="Payloads that are no JSON.")
    same: list[str] = Field(description="Fields that are the same in all: names, never values.")
    differ: list[str]
    missing_in_some: list[str]


class OneGroup(Group):
    alike: Alike = Field(description="What the payloads of its newest fifty share.")


class NoteTold(Told):
    note: LongText = Field(description="Empty: no note any more.")


class Groups(Said):
    groups: list[Group]


class Retried(Said):
    id: int
    retried: bool


class DiscardTold(Told):
    reason: Text = Field(description="Kept with the event, which becomes skipped.")


class Discarded(Said):
    id: int
    discarded: bool


class RetryTold(Told):
    kind: Text | None = None
    source: Text | None = None
    lane: Text | None = None
    group: Text | None = None
    since: Moment | None = None
    until: Moment | None = None
    all: bool = Field(False, description="Needed when no filter is given.")
    dry_run: bool = Field(False, description="Only count.")
    limit: int = Field(10_000, ge=1, le=MOST_AT_ONCE, description="At most so many, the oldest first.")
    ceiling: EventId | None = Field(None, description="Only ids up to this one, which a dry run returned. Absent: the largest now.")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if not self.all and self.filter() == Filter():
            raise ValueError('name a filter, or say "all": true')
        return self

    def filter(self) -> Filter:
        """As the store takes it."""
        return Filter(kind=self.kind, source=self.source, lane=self.lane, group=self.group, since=self.since, until=self.until)


class RetriedMany(Said):
    matched: int = Field(description="Found by the filter, up to the ceiling, before anything was retried.")
    lanes: int
    retried: int
    ids: list[int] = Field(description=f"The first {IDS_SHOWN} of the retried.")
    ceiling: int | None = Field(description="null: nothing was found.")


async def list_dead(call: Call[DeadLettersAsked, NoBody]) -> Answer:
    """Newest first."""
    asked = call.query
    which = Filter(kind=asked.kind, source=asked.source, lane=asked.lane, group=asked.group, since=asked.since, until=asked.until)
    rows = await dead.find(call.desk.pool, which, before=asked.before, limit=asked.limit)
    next_before = rows[-1]["id"] if len(rows) == asked.limit else None
    return Answer(DeadLetterPage(dead_letters=[_letter(row) for row in rows], next_before=next_before))


async def list_groups(call: Call[GroupsAsked, NoBody]) -> Answer:
    """By cause, the newest death first."""
    which = causes.Filter(**call.query.model_dump())
    return Answer(Groups(groups=[Group.model_validate(one) for one in await groups(call.desk.pool, which)]))


async def one_group(call: Call[NoQuery, NoBody]) -> Answer:
    """One cause, with the steps that are done."""
    return Answer(await _group(call.desk.pool, call.path["group"]))


async def note_on_group(call: Call[NoQuery, NoteTold]) -> Answer:
    """It stays when the group is empty, for when it comes back."""
    group = call.path["group"]
    await _group(call.desk.pool, group)
    await operators.write_note(call.desk.pool, call.actor, group, call.body.note)
    return Answer(await _group(call.desk.pool, group))


async def _group(pool: Pool, name: str) -> OneGroup:
    told = await group(pool, name)
    if told is None:
        raise not_found("Nothing is dead of this cause; /api/dead-letters/groups lists those there are.")
    return OneGroup.model_validate(told)


async def one_dead(call: Call[NoQuery, NoBody]) -> Answer:
    """A dead letter; its timeline is at /api/events/{id}."""
    event_id = call.event_id()
    row = await dead.one(call.desk.pool, event_id)
    if row is None:
        raise not_found(f"There is no dead letter {event_id}; what became of the event is at /api/events/{event_id}, if there is one.")
    return Answer(_letter(row))


async def retry_one(call: Call[NoQuery, NoBody]) -> Answer:
    """Dead becomes pending; finished steps are not repeated."""
    event_id = call.event_id()
    await operators.retry(call.desk.pool, call.actor, event_id)
    return Answer(Retried(id=event_id, retried=True))


async def discard_one(call: Call[NoQuery, DiscardTold]) -> Answer:
    """Dead becomes skipped, with the reason."""
    event_id = call.event_id()
    await operators.discard(call.desk.pool, call.actor, event_id, reason=call.body.reason)
    return Answer(Discarded(id=event_id, discarded=True))


async def retry_many(call: Call[NoQuery, RetryTold]) -> Answer:
    """In portions, oldest first, each with its audit in a transaction of its own: what was retried stays retried if a later one fails."""
    told, pool = call.body, call.desk.pool
    which = told.filter()
    counted = await dead.count(pool, which, ceiling=told.ceiling)
    ceiling: int | None = told.ceiling if told.ceiling is not None else counted["ceiling"]
    retried: list[int] = []
    above = 0
    while not told.dry_run and ceiling is not None and len(retried) < told.limit:
        ids = await dead.portion(pool, which, ceiling=ceiling, above=above, limit=min(PORTION, told.limit - len(retried)))
        if not ids:
            break
        above = ids[-1]
        async with pool.acquire() as connection, connection.transaction():
            again = await dead.retry(connection, ids, by=call.by)
            filters = told.model_dump(
                mode="json", exclude_defaults=True, include=set(RetryTold.model_fields) - {"dry_run", "limit", "ceiling"}
            )
            await call.note(connection, "retry by filter", **filters, retried=len(again), first=ids[0], last=ids[-1])
        retried += again
    return Answer(
        RetriedMany(matched=counted["dead"], lanes=counted["lanes"], retried=len(retried), ids=retried[:IDS_SHOWN], ceiling=ceiling)
    )


def _letter(row: Record) -> DeadLetter:
    return DeadLetter(
        id=row["id"],
        source=row["source"],
        kind=row["kind"],
        key=row["key"],
        lane=row["lane"],
        group=row["fingerprint"],
        reason=row["reason"],
        attempts=row["attempt"],
        staged_at=iso(row["staged_at"]) or "",
        died_at=iso(row["died_at"]) or "",
    )


OPERATIONS: Table = (
    Operation("GET", "/api/dead-letters", "Dead letters, newest first", Role.VIEWER, list_dead, DeadLettersAsked, NoBody, DeadLetterPage),
    Operation("GET", "/api/dead-letters/groups", "Dead letters by cause", Role.VIEWER, list_groups, GroupsAsked, NoBody, Groups),
    Operation("GET", "/api/dead-letters/groups/{group}", "One cause", Role.VIEWER, one_group, NoQuery, NoBody, OneGroup),
    Operation(
        "POST", "/api/dead-letters/groups/{group}/note", "Note on a cause", Role.OPERATOR, note_on_group, NoQuery, NoteTold, OneGroup
    ),
    Operation("POST", "/api/dead-letters/retry", "Retry by filter", Role.OPERATOR, retry_many, NoQuery, RetryTold, RetriedMany),
    Operation("GET", "/api/dead-letters/{id}", "One dead letter", Role.VIEWER, one_dead, NoQuery, NoBody, DeadLetter),
    Operation(
        "POST",
        "/api/dead-letters/{id}/retry",
        "Retry one",
        Role.OPERATOR,
        retry_one,
        NoQuery,
        NoBody,
        Retried,
        also={409: "The event is not dead"},
    ),
    Operation(
        "POST",
        "/api/dead-letters/{id}/discard",
        "Discard one",
        Role.OPERATOR,
        discard_one,
        NoQuery,
        DiscardTold,
        Discarded,
        also={409: "The event is not dead"},
    ),
)
