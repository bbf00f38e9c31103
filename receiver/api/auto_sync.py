"""Each user's Google contacts: whether and how often they are kept in step, and which of them are imported.

A user without settings has the defaults. Settings may come before the consent: the first sync begins as soon as both are there.
"""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from outbox import google_consent
from outbox.db import Record
from outbox.errors import ConfigError
from outbox.store import events, google_contacts, google_users, runs
from outbox.timeline import iso
from receiver.api.operation import (
    Answer,
    Asked,
    Call,
    EventId,
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
    Words,
)
from receiver.config import Role
from receiver.errors import not_found, unavailable

USER = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

Label = Annotated[Words, StringConstraints(max_length=100)]
UserId = Annotated[str, StringConstraints(pattern=f"^{USER.pattern}$")]
Interval = Literal[4, 12, 24, 48]


class Imports(StrEnum):
    """What becomes of a contact that is new at Google."""

    ALL = "all"
    CHOSEN = "chosen"


class Connection(StrEnum):
    """How the user's consent stands."""

    NONE = "none"
    ACTIVE = "active"
    NEEDS_CONSENT = "needs_consent"


class AutoSync(Said):
    user_id: str
    enabled: bool
    interval_hours: int | None = Field(description="null: a person gave it a cron expression instead.")
    last_sync_at: Time | None = Field(description="When a run last went well; null: never yet.")
    next_sync_at: Time | None = Field(description="null: not enabled, paused, or the user has to consent first.")
    imports: Imports
    label: str | None
    no_identifier: int = Field(description="Contacts that are left out now: with neither an e-mail address nor a phone number.")
    connection: Connection
    why: str | None = Field(
        description="Why the user has to consent again, why it is paused, or what a person has to allow; null: nothing of it."
    )


class UsersAsked(Asked):
    after: UserId | None = Field(None, description="Only those behind it: next_after of the page before.")
    limit: Limit = 50


class AutoSyncs(Said):
    users: list[AutoSync]
    next_after: str | None


class AutoSyncTold(Told):
    enabled: bool
    interval_hours: Interval | None = Field(None, description="Absent: as it is, at first 24.")
    imports: Literal["all", "chosen"] | None = Field(
        None, description="all: contacts that are new are imported. chosen: only those that are chosen. Absent: as it is, at first all."
    )
    label: Label | None = Field(None, description="Label of those that are imported by themselves; null: none. Absent: as it is.")


class ContactsAsked(Asked):
    imported: Flag | None = Field(None, description="1: only those that are imported; 0: only those that are not.")
    after: EventId | None = Field(None, description="Only those with a higher id: next_after of the page before.")
    limit: Limit = 50


class GoogleContact(Said):
    id: int
    resource_name: str
    name: str | None
    company: str | None
    emails: list[str]
    phones: list[str]
    labels: list[str]
    imported_at: Time | None = Field(description="null: known, but not imported.")
    changed_at: Time | None


class GoogleContacts(Said):
    contacts: list[GoogleContact]
    next_after: int | None


class Job(Said):
    id: int = Field(description="Of the run, and of its event.")
    state: str = Field(description="queued, running, waiting, done, failed, cancelled or braked.")
    reason: str | None = Field(description="Of waiting, failed, cancelled and braked.")
    total: int
    synced: int = Field(description="New, changed, or as we had it.")
    created: int
    updated: int
    deleted: int
    skipped_no_identifier: int = Field(description="With neither an e-mail address nor a phone number.")
    progress: int = Field(description="Contacts read so far.")
    expected: int | None = Field(description="Contacts there are; null: Google does not say.")
    asked_at: Time
    started_at: Time | None
    ended_at: Time | None


class JobsAsked(Asked):
    before: EventId | None = Field(None, description="Only those with a lower id: next_before of the page before.")
    limit: Limit = 50


class Jobs(Said):
    jobs: list[Job]
    next_before: int | None


class Consent(Said):
    consent_url: str = Field(description="Where the user consents; it works once.")
    redirect_uri: str = Field(description="Google's console must know it.")
    lasting_s: int


class ImportTold(Told):
    resource_names: Annotated[list[Text], Field(min_length=1, max_length=1000)] | None = Field(
        None, description="null: all that are known."
    )
    label: Label | None = Field(None, description="Put on each of them, beside the labels that they have.")


class LeaveOutTold(Told):
    resource_names: Annotated[list[Text], Field(min_length=1, max_length=1000)] | None = Field(None, description="null: all.")


class Chosen(Said):
    contacts: int = Field(description="How many of the named ones there were.")


async def list_users(call: Call[UsersAsked, NoBody]) -> Answer:
    """By their ids: those that were given settings, or consented."""
    asked = call.query
    listed = [_said(row) for row in await google_users.page(call.desk.pool, after=asked.after or "", limit=asked.limit)]
    return Answer(AutoSyncs(users=listed, next_after=listed[-1].user_id if len(listed) == asked.limit else None))


async def get_settings(call: Call[NoQuery, NoBody]) -> Answer:
    """The defaults for a user who has none."""
    return Answer(_said(await google_users.one(call.desk.pool, _user(call.path["user_id"]))))


async def put_settings(call: Call[NoQuery, AutoSyncTold]) -> Answer:
    """Switched on, the first sync is due at once."""
    user, told = _user(call.path["user_id"]), call.body
    async with call.desk.pool.acquire() as connection, connection.transaction():
        await google_users.save(
            connection,
            user,
            enabled=told.enabled,
            now=await events.clock(connection),
            by=call.by,
            interval_hours=told.interval_hours,
            imports=told.imports,
            label=told.label,
            sets_label="label" in told.model_fields_set,
        )
        await call.note(connection, "set auto-sync", target=user, enabled=told.enabled, interval_hours=told.interval_hours)
        return Answer(_said(await google_users.one(connection, user)))


async def make_link(call: Call[NoQuery, NoBody]) -> Answer:
    """For the user themselves: whoever opens it connects their own Google account to this user's id."""
    user, desk = _user(call.path["user_id"]), call.desk
    try:
        asking = google_consent.Asking.of(desk.settings, public_url=desk.settings.public_url, sealer=desk.sealer)
    except ConfigError as problem:
        raise unavailable(str(problem), retry_after_s=60) from None
    async with desk.pool.acquire() as connection, connection.transaction():
        link = await google_consent.begin(connection, user, asking, by=call.by)
        await call.note(connection, "begin consent", target=f"google:{user}")
    return Answer(Consent(consent_url=link, redirect_uri=asking.redirect_uri, lasting_s=int(google_consent.LASTING_S)), status=201)


async def list_jobs(call: Call[JobsAsked, NoBody]) -> Answer:
    """Newest first; the one at work shows how far it is."""
    asked, sync = call.query, google_users.sync_of(_user(call.path["user_id"]))
    rows = await runs.every(call.desk.pool, sync, before=asked.before, limit=asked.limit)
    listed = [
        Job(
            id=row["id"],
            state=row["state"],
            reason=row["reason"] or row["why"],
            total=row["total"],
            synced=row["created"] + row["updated"] + row["unchanged"],
            created=row["created"],
            updated=row["updated"],
            deleted=row["deleted"],
            skipped_no_identifier=row["skipped"],
            progress=row["progress"],
            expected=row["expected"],
            asked_at=iso(row["asked_at"]) or "",
            started_at=iso(row["started_at"]),
            ended_at=iso(row["ended_at"]),
        )
        for row in rows
    ]
    return Answer(Jobs(jobs=listed, next_before=listed[-1].id if len(listed) == asked.limit else None))


async def list_contacts(call: Call[ContactsAsked, NoBody]) -> Answer:
    """Those that are still at Google, in the order in which they came here."""
    asked, user = call.query, _user(call.path["user_id"])
    rows = await google_contacts.page(call.desk.pool, user, after=asked.after or 0, limit=asked.limit, imported=asked.imported)
    listed = [
        GoogleContact(
            id=row["id"],
            resource_name=row["resource_name"],
            name=row["display_name"],
            company=row["company"],
            emails=row["emails"],
            phones=row["phones"],
            labels=row["labels"],
            imported_at=iso(row["imported_at"]),
            changed_at=iso(row["changed_at"]),
        )
        for row in rows
    ]
    return Answer(GoogleContacts(contacts=listed, next_after=listed[-1].id if len(listed) == asked.limit else None))


async def import_contacts(call: Call[NoQuery, ImportTold]) -> Answer:
    """They stay imported, and keep their labels, whatever changes at Google."""
    user, told = _user(call.path["user_id"]), call.body
    async with call.desk.pool.acquire() as connection, connection.transaction():
        count = await google_contacts.choose(connection, user, told.resource_names, label=told.label)
        await call.note(connection, "import contacts", target=user, contacts=count)
    return Answer(Chosen(contacts=count))


async def leave_out_contacts(call: Call[NoQuery, LeaveOutTold]) -> Answer:
    """They are known, but not imported any more, and lose their labels."""
    user, told = _user(call.path["user_id"]), call.body
    async with call.desk.pool.acquire() as connection, connection.transaction():
        count = await google_contacts.leave_out(connection, user, told.resource_names)
        await call.note(connection, "leave out contacts", target=user, contacts=count)
    return Answer(Chosen(contacts=count))


def _user(text: str) -> str:
    if not USER.fullmatch(text):
        raise not_found("A user's id has 1 to 64 letters, digits, dashes or underscores.")
    return text


def _said(row: Record) -> AutoSync:
    connection = Connection.NONE if row["connection"] is None else Connection.NEEDS_CONSENT
    if row["connection"] == "active":
        connection = Connection.ACTIVE
    is_due = row["enabled"] and connection is Connection.ACTIVE and row["paused_why"] is None
    default_h = google_users.DEFAULT_INTERVAL_H if row["cron"] is None else None
    return AutoSync(
        user_id=row["user_id"],
        enabled=row["enabled"],
        interval_hours=default_h if row["every_s"] is None else row["every_s"] // google_users.HOUR_S,
        last_sync_at=iso(row["last_sync_at"]),
        next_sync_at=iso(row["due_at"]) if is_due else None,
        imports=Imports(row["imports"] or Imports.ALL),
        label=row["label"],
        no_identifier=row["no_identifier"],
        connection=connection,
        why=row["connection_why"] or row["paused_why"] or row["braked_why"],
    )


_USER_PATH = "/api/auto-sync/{user_id}"
OPERATIONS: Table = (
    Operation("GET", "/api/auto-sync", "Whose Google contacts are kept in step", Role.VIEWER, list_users, UsersAsked, NoBody, AutoSyncs),
    Operation("GET", _USER_PATH, "How a user's Google contacts are kept in step", Role.VIEWER, get_settings, NoQuery, NoBody, AutoSync),
    Operation("PUT", _USER_PATH, "Switch it on or off, and say how often", Role.OPERATOR, put_settings, NoQuery, AutoSyncTold, AutoSync),
    Operation("POST", f"{_USER_PATH}/consent", "A link on which the user consents", Role.OPERATOR, make_link, NoQuery, NoBody, Consent),
    Operation("GET", f"{_USER_PATH}/jobs", "Its runs, with their counts and progress", Role.VIEWER, list_jobs, JobsAsked, NoBody, Jobs),
    Operation(
        "GET",
        f"{_USER_PATH}/contacts",
        "A user's contacts, to choose from",
        Role.VIEWER,
        list_contacts,
        ContactsAsked,
        NoBody,
        GoogleContacts,
    ),
    Operation("POST", f"{_USER_PATH}/import", "Import contacts", Role.OPERATOR, import_contacts, NoQuery, ImportTold, Chosen),
    Operation("POST", f"{_USER_PATH}/leave-out", "Import them no longer", Role.OPERATOR, leave_out_contacts, NoQuery, LeaveOutTold, Chosen),
)
