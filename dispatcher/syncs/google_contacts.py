"""google-contacts:<user>: a user's own Google contacts → crm.google_contacts. It only reads, so nothing of it ever comes back as an echo.

incremental   what changed since the sync token; everything, when there is none that counts: the first time, with other parameters,
              after six days (Google's tokens live for seven), and whenever Google refuses one, in the middle of a walk, too
full          everything, then the sweep: what was not met is gone at Google. More than a set share of deletions is for a person to allow

A token counts for what it was given for, so a walk that has to begin anew begins at its beginning, whole, and forgets what it had met.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from dispatcher.clients.google_people import PARAMETERS, ConnectionsPage, GooglePeople, GooglePerson
from dispatcher.context import Services
from dispatcher.errors import Refused
from dispatcher.syncs.base import NeedsPerson, RunType, Sync, Unusable
from dispatcher.syncs.run import Page, Run
from outbox.log import get_logger
from outbox.store import google_contacts, google_users, runs
from outbox.store.google_contacts import GoogleContact
from outbox.store.runs import What

log = get_logger(__name__)
TOKEN_LIFE: Final = timedelta(days=6)
MOST_BEGINNINGS: Final = 3  # a walk that is refused so often is refused for another reason
ALWAYS_ALLOWED: Final = 5  # of a few contacts, one or two are a large share
NO_IDENTIFIER: Final = "no e-mail address and no phone number"


async def pull(run: Run) -> None:
    """See the module."""
    if run.account is None:
        raise Unusable(f"{run.sync} is no user's sync: name one, as {run.sync}:<user>")
    user = await google_users.one(run.ctx.services.pool, run.account)
    if user["imports"] is None:
        raise Unusable(f"there are no settings of user {run.account}")
    google = run.ctx.google_for(run.account)
    at = run.checkpoint or _beginning(run)
    while at["end"] is None:
        at, found = await _next(google, at)
        run.phase("changes" if at["since"] else "everything")
        run.progress(at["done"], at["of"])
        async with run.page(at) as page:
            is_first = at["pages"] == 1 and not at["since"]
            if is_first:
                await runs.forget_seen(page.connection, run.id)
            await _set_aside(page, run.account, found, begins_anew=is_first)
            await _apply(page, run.account, found, imports=user["imports"] == "all", label=user["label"])
    if not at["since"]:
        await _sweep(run, run.account, at)
    run.kept = {"sync_token": at["end"], "parameters": PARAMETERS, "full_at": at["full_at"]}


def _beginning(run: Run) -> dict[str, Any]:
    """A walk's first place: behind the sync token that is kept, if it still counts."""
    kept = run.kept
    whole = _whole(run.until.isoformat(), beginnings=1)
    if run.type == RunType.FULL or kept.get("parameters") != PARAMETERS or not kept.get("sync_token"):
        return whole
    if run.until - datetime.fromisoformat(kept["full_at"]) > TOKEN_LIFE:
        return whole
    return {**whole, "since": kept["sync_token"], "full_at": kept["full_at"]}


def _whole(began: str, *, beginnings: int) -> dict[str, Any]:
    """`since`: the sync token, None: everything. `next`: the page token. `end`: the sync token of the last page, which ends the walk."""
    places = {"since": None, "next": None, "end": None, "full_at": began, "began": began}
    return {**places, "done": 0, "of": None, "pages": 0, "beginnings": beginnings}


async def _next(google: GooglePeople, at: dict[str, Any]) -> tuple[dict[str, Any], ConnectionsPage]:
    """The next page and the place behind it. Where Google will not have a token any more, that is the first page of everything."""
    try:
        found = await google.connections(sync_token=at["since"], page_token=at["next"])
    except Refused as problem:
        if (at["since"] is None and at["next"] is None) or at["beginnings"] >= MOST_BEGINNINGS:
            raise
        log.info("everything is read anew", destination=google.destination, why=problem)
        return await _next(google, _whole(at["began"], beginnings=at["beginnings"] + 1))
    place = {
        **at,
        "next": found.next_page,
        "end": None if found.next_page else found.sync_token,
        "done": at["done"] + len(found.people),
        "of": at["of"] or found.total,
        "pages": at["pages"] + 1,
    }
    return place, found


async def _set_aside(page: Page, user: str, found: ConnectionsPage, *, begins_anew: bool) -> None:
    names = [name for person in found.people for name in (person.resource_name, *person.was)]
    unidentified = [one.resource_name for one in found.people if not (one.is_deleted or one.emails or one.phones)]
    await google_contacts.set_aside(page.connection, user, names, unidentified=unidentified, begins_anew=begins_anew)


async def _apply(page: Page, user: str, found: ConnectionsPage, *, imports: bool, label: str | None) -> None:
    await google_contacts.rename(page.connection, user, [(was, person.resource_name) for person in found.people for was in person.was])
    there = [person for person in found.people if not person.is_deleted]
    usable = [_contact(person) for person in there if person.emails or person.phones]
    skipped = [person.resource_name for person in there if not person.emails and not person.phones]
    for name in await google_contacts.mark_deleted(page.connection, user, [one.resource_name for one in found.people if one.is_deleted]):
        page.did(What.DELETED, name)
    await google_contacts.mark_deleted(page.connection, user, skipped)
    for name in skipped:
        page.did(What.SKIPPED, name, NO_IDENTIFIER)
    applied = await google_contacts.apply(page.connection, user, usable, imports=imports, label=label)
    for name, is_new in applied.items():
        page.did(What.CREATED if is_new else What.UPDATED, name)
    page.count(unchanged=len(usable) - len(applied))
    page.seen([contact.resource_name for contact in usable])


async def _sweep(run: Run, user: str, at: dict[str, Any]) -> None:
    """What a whole walk has not met. Raises NeedsPerson when that is more than it may."""
    unmet, here = await google_contacts.unmet(run.ctx.services.pool, user, run_id=run.id)
    if unmet and not at.get("handed_on"):
        at = {**at, "handed_on": True}
        async with run.page(at) as page:
            await google_contacts.hand_on(page.connection, user, run_id=run.id)
    allowed = max(ALWAYS_ALLOWED, int(here * run.ctx.settings.sweep_percent / 100), run.may_delete or 0)
    if unmet > allowed:
        raise NeedsPerson(
            f"Google shows {unmet} of this user's {here} contacts no more; more than {allowed} are marked as deleted only if a person "
            f"allows it: postroom syncs release {run.sync} --deletions {unmet}"
        )
    if unmet:
        async with run.page({**at, "swept": True}) as page:
            for name in await google_contacts.sweep(page.connection, user, run_id=run.id):
                page.did(What.DELETED, name)


def _contact(person: GooglePerson) -> GoogleContact:
    return GoogleContact(
        person.resource_name,
        display_name=person.display_name,
        given_name=person.given_name,
        family_name=person.family_name,
        company=person.company,
        title=person.title,
        emails=person.emails,
        phones=person.phones,
        groups=person.groups,
        changed_at=person.changed_at,
    )


def _off(services: Services) -> str | None:
    return services.lacks("google")


GOOGLE_CONTACTS: Final = Sync(
    name=google_users.SYNC, run=pull, types=google_users.TYPES, destination="google", off=_off, is_per_account=True
)
