"""ghl-contacts: GHL's contacts → crm.contacts, for what webhooks did not bring.

incremental   changed since the watermark, with an overlap, for GHL's index lags behind
full          all of them in the order in which they were added, then the sweep: what was not met is asked for by its id, and marked
              as deleted if GHL has it no more. More than a set share of deletions is for a person to allow.

The name alone is the sync of the location with a key; a location that is connected by consent has its own, `ghl-contacts:<location>`.
"""

from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from dispatcher.clients.accounts import GHL
from dispatcher.clients.ghl import ContactPage, GhlClient
from dispatcher.context import Services
from dispatcher.handlers.ghl_contacts import contact_of, fetched, field_keys
from dispatcher.syncs import locations
from dispatcher.syncs.ahead import ahead
from dispatcher.syncs.base import Default, NeedsPerson, RunType, Sync
from dispatcher.syncs.run import Page, Run
from outbox.cadence import Cron
from outbox.store import contacts
from outbox.store.contacts import Contact
from outbox.store.ghl_appointments import How
from outbox.store.runs import Category, What
from outbox.store.schedules import CatchUp

NAME: Final = "ghl-contacts"
TYPES: Final = (RunType.INCREMENTAL, RunType.FULL)
PAGE: Final = 200
SWEEP_PAGE: Final = 20  # each of them is a call
OVERLAP: Final = timedelta(minutes=10)
BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
ALWAYS_ALLOWED: Final = 5  # in a location of a few contacts, one or two are a large share


async def pull(run: Run) -> None:
    """See the module."""
    ghl = await run.ctx.ghl_for(run.account)
    if run.type == RunType.INCREMENTAL:
        since = BEGINNING if run.since is None else run.since - OVERLAP
        await _walk(run, ghl, since=since)
        return
    if (run.checkpoint or {}).get("phase") != "sweep":
        await _walk(run, ghl, since=None)
        await _brake(run, ghl)
    await _sweep(run, ghl)


async def _walk(run: Run, ghl: GhlClient, *, since: datetime | None) -> None:
    """Page after page. `since` None: all, noting which were met."""
    at: dict[str, Any] = run.checkpoint or {"phase": "walk", "after": None, "done": 0, "of": None}
    run.phase("contacts")
    walk = ahead(lambda after: _page(ghl, since, run.until, after), at["after"], onward=lambda found: found.search_after)
    async with aclosing(walk) as pages:
        async for found in pages:
            rows = await _rows(run, ghl, found)
            at = {
                "phase": "walk",
                "after": found.search_after,
                "done": at["done"] + len(found.contacts) + found.unreadable,
                "of": at["of"] or found.total,
            }
            run.progress(at["done"], at["of"])
            async with run.page(at) as page:
                await _apply(page, rows)
                for _ in range(found.unreadable):
                    page.error(Category.VALIDATION, None, "a contact without an id")
                if since is None:
                    page.seen([row.ghl_contact_id for row in rows])


async def _page(ghl: GhlClient, since: datetime | None, until: datetime, after: list[Any] | None) -> ContactPage:
    if since is None:
        return await ghl.search_contacts(search_after=after, page_limit=PAGE)
    return await ghl.search_contacts_changed(since, until, search_after=after, page_limit=PAGE)


async def _rows(run: Run, ghl: GhlClient, found: ContactPage) -> list[Contact]:
    keys = await field_keys(ghl, found.contacts)
    # One that states no time of change must not look newer than what a webhook brought meanwhile.
    return [contact_of(shown, keys=keys, fallback_at=run.since or BEGINNING) for shown in found.contacts]


async def _apply(page: Page, rows: list[Contact]) -> None:
    applied = await contacts.apply_many(page.connection, rows)
    for contact_id, how in applied.items():
        page.did(What.CREATED if how is How.CREATED else What.UPDATED, contact_id)
    page.count(unchanged=len(rows) - len(applied))


async def _brake(run: Run, ghl: GhlClient) -> None:
    """Raises NeedsPerson when the sweep would delete more than it may."""
    here, missing = await contacts.count_unseen(run.ctx.services.pool, run.id, location_id=ghl.location_id, before=run.started_at)
    percent = run.ctx.settings.sweep_percent
    allowed = max(ALWAYS_ALLOWED, int(here * percent / 100), run.may_delete or 0)
    if missing > allowed:
        raise NeedsPerson(
            f"GHL shows {missing} of our {here} contacts no more; more than {allowed} are marked as deleted only if a person allows it: "
            f"postroom syncs release {run.sync} --deletions {missing}"
        )


async def _sweep(run: Run, ghl: GhlClient) -> None:
    """What was not met is asked for once more, each by its id: a search may overlook, an answer of 'not found' does not."""
    at: dict[str, Any] = run.checkpoint if (run.checkpoint or {}).get("phase") == "sweep" else {"phase": "sweep", "after": "", "done": 0}
    pool, location_id = run.ctx.services.pool, ghl.location_id
    run.phase("deletions")
    while missing := await contacts.unseen(
        pool, run.id, location_id=location_id, before=run.started_at, above=at["after"], limit=SWEEP_PAGE
    ):
        shown = {contact_id: await fetched(ghl, contact_id, fallback_at=BEGINNING) for contact_id in missing}
        at = {"phase": "sweep", "after": missing[-1], "done": at["done"] + len(missing)}
        run.progress(at["done"])
        async with run.page(at) as page:
            await _apply(page, [contact for contact in shown.values() if contact is not None])
            for contact_id in (one for one, contact in shown.items() if contact is None):
                if await contacts.mark_deleted(page.connection, contact_id, location_id=location_id):
                    page.did(What.DELETED, contact_id)


def off(services: Services) -> str | None:
    """Why nothing can be asked of GHL; None: it can."""
    return services.lacks("ghl")


GHL_CONTACTS: Final = Sync(
    name=NAME,
    run=pull,
    types=TYPES,
    destination=GHL,
    schedules={RunType.INCREMENTAL: Default(Cron("0 * * * *")), RunType.FULL: Default(Cron("0 2 * * *"), CatchUp.SKIP)},
    off=off,
    enrol=locations.enrol,
    overlap=OVERLAP,
)
