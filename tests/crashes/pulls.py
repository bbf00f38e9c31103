"""Scenes of scheduled syncs: GHL's contacts, Notion's clients, a user's Google contacts, and the schedule that asks for them.

What must hold: every record is here once, its page counted once, and the watermark (or the sync token) never ahead of the records.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from outbox import db
from outbox.store import runs, syncs
from outbox.store.runs import Trigger
from simulators.google import GoogleSettings, GoogleSimulator
from simulators.samples import DEMO_DATABASE_ID
from tests.crashes.scenes import Scene, bury
from tests.crashes.world import CONTACTS, PAGES, World
from tests.dispatcher import googling
from tests.dispatcher.connecting import KEY, MovedClock

PAGE = {"CRASH_PAGE": "3"}
USER, PEOPLE, GONE = "ada", 8, 2

# The run that was asked for; the schedule may have asked for others meanwhile.
ASKED = """from outbox.runs r join outbox.syncs s on s.name = r.sync
where r.trigger = '{trigger}' and r.sync ~ '^(ghl-contacts|notion-clients|google-contacts:|phorest-clients)' and r.type in ({types})"""
ASKED_BY_HAND = ASKED.format(trigger="manual", types="'incremental', 'full'")
# One statement, so that it is of one moment: what is here is what the pages counted, and nothing is passed over.
IN_STEP = """
select (select count(*) from {here}) = coalesce(max(r.created), 0)
       and coalesce(bool_and(r.state = 'done' or ({ahead}) is null), true)
{asked}"""
DONE = """
select count(*) = 1 and bool_and(r.state = 'done' and r.created = $1 and r.updated + r.errors = 0 and r.deleted = $2)
       and bool_and(({ahead}) is not null) and (select count(*) = $1 from {here})
       and not exists (select from outbox.run_seen where run_id = min(r.id))
       and (select count(*) = count(distinct record) from outbox.run_records where run_id = min(r.id))
{asked}"""
WATERMARK = "case when s.watermark >= r.until then s.watermark end"
CONTACTS_HERE, CLIENTS_HERE = "crm.contacts where deleted_at is null", "crm.clients"
PEOPLE_HERE = "crm.google_contacts where deleted_at is null"
TOKEN = "s.kept ->> 'sync_token'"


def in_step(here: str, ahead: str) -> Callable[[World], Awaitable[None]]:
    """At the victim's death."""

    async def check(world: World) -> None:
        assert await world.postroom.value(IN_STEP.format(here=here, ahead=ahead, asked=ASKED_BY_HAND))

    return check


def done(here: str, ahead: str, *, created: int, deleted: int = 0, asked: str = ASKED_BY_HAND) -> Callable[[World], Awaitable[bool]]:
    """In the end."""

    async def check(world: World) -> bool:
        return bool(await world.postroom.value(DONE.format(here=here, ahead=ahead, asked=asked), created, deleted))

    return check


async def ask(world: World, name: str, type_: str, *, destination: str) -> None:
    """A run in small pages, beside events that the engine settles by itself."""
    world.env |= PAGE
    async with db.transaction(world.pool) as connection:
        await syncs.register(connection, name, destination=destination, types=("incremental", "full"), off=None)
        assert await runs.ask(connection, name, type_, trigger=Trigger.MANUAL, by="otto") is not None
    await world.mention(6)


# ── GHL's contacts


@asynccontextmanager
async def contacts(world: World) -> AsyncIterator[None]:
    """Three pages of contacts."""
    await ask(world, "ghl-contacts", "incremental", destination="ghl")
    yield
    await in_step(CONTACTS_HERE, "s.watermark")(world)


@asynccontextmanager
async def all_contacts(world: World) -> AsyncIterator[None]:
    """All of them, and two that are known here and at GHL no more."""
    for n in range(GONE):
        gone = f"gone-{n}"
        await world.pool.execute(
            """insert into crm.contacts (ghl_contact_id, location_id, changed_at, content_hash, synced_at)
               values ($1, $2, now() - interval '1 day', '', now() - interval '1 day')""",
            gone,
            world.ghl.settings.location_id,
        )
    await ask(world, "ghl-contacts", "full", destination="ghl")
    yield


CONTACTS_DONE = done(CONTACTS_HERE, WATERMARK, created=CONTACTS)
RUN = Scene(contacts, mended=CONTACTS_DONE)
FULL_RUN = Scene(all_contacts, mended=done(CONTACTS_HERE, WATERMARK, created=CONTACTS, deleted=GONE))


@asynccontextmanager
async def dead_run(world: World) -> AsyncIterator[None]:
    """A run whose event was buried."""
    await ask(world, "ghl-contacts", "incremental", destination="ghl")
    await bury(world, urgency=1)
    yield


async def has_failed(world: World) -> bool:
    return bool(
        await world.postroom.value("select bool_and(state = 'failed' and ended_at is not null) from outbox.runs where trigger = 'manual'")
    )


# ── Notion's clients


@asynccontextmanager
async def clients(world: World) -> AsyncIterator[None]:
    """Three pages of rows."""
    world.env["NOTION_CLIENTS_DATA_SOURCE"] = DEMO_DATABASE_ID
    await ask(world, "notion-clients", "incremental", destination="notion")
    yield
    await in_step(CLIENTS_HERE, "s.watermark")(world)


NOTION_RUN = Scene(clients, mended=done(CLIENTS_HERE, WATERMARK, created=PAGES))


# ── a user's Google contacts


async def consented(world: World) -> googling.World:
    """A user with eight contacts at a simulated Google."""
    clock = MovedClock()
    google = GoogleSimulator(GoogleSettings(reads_per_minute=10_000, full_syncs_per_minute=10_000), clock=clock)
    at = googling.World(world.postroom, google, await world.serve(google.app), clock)
    world.env |= {**PAGE, **at.environment(), "POSTROOM_ENCRYPTION_KEYS": KEY}
    for n in range(PEOPLE):
        at.put(f"Person{n}")
    await at.connect(USER)
    return at


@asynccontextmanager
async def people(world: World) -> AsyncIterator[None]:
    """Three pages of contacts, read for the first time."""
    at = await consented(world)
    await at.ask(USER)
    await world.mention(6)
    yield
    await in_step(PEOPLE_HERE, TOKEN)(world)


@asynccontextmanager
async def all_people(world: World) -> AsyncIterator[None]:
    """All of them again; one is known here under a former name, with a label, another is at Google no more."""
    at = await consented(world)
    for name, shown in (("people/former", "Person0"), ("people/gone", "Nobody")):
        await world.pool.execute(
            """insert into crm.google_contacts (user_id, resource_name, display_name, emails, content_hash, labels, imported_at, created_at)
               values ($1, $2, $3, array[lower($3) || '@example.com'], '', '{vip}', now(), now() - interval '1 day')""",
            USER,
            name,
            shown,
        )
    await at.ask(USER, "full")
    await world.mention(6)
    yield


async def is_handed_on(world: World) -> bool:
    """And the label of the one that was renamed is where it belongs."""
    labels = "select labels = '{vip}' from crm.google_contacts where display_name = 'Person0' and deleted_at is null"
    is_done = done(PEOPLE_HERE, TOKEN, created=PEOPLE, deleted=GONE)
    return await is_done(world) and bool(await world.postroom.value(labels))


GOOGLE_RUN = Scene(people, mended=done(PEOPLE_HERE, TOKEN, created=PEOPLE))
GOOGLE_FULL = Scene(all_people, mended=is_handed_on)


# ── the schedule


@asynccontextmanager
async def due(world: World) -> AsyncIterator[None]:
    """A tick that is due, of a sync whose schedule a person has set."""
    world.env |= PAGE
    async with db.transaction(world.pool) as connection:
        await syncs.register(connection, "ghl-contacts", destination="ghl", types=("incremental", "full"), off=None)
        await connection.execute(
            """insert into outbox.schedules (sync, type, every_s, catch_up, due_at, edited_by)
               values ('ghl-contacts', 'incremental', 86400, 'one', now(), 'otto')"""
        )
    await world.mention(6)
    yield


TICKED = ASKED.format(types="'incremental'", trigger="schedule")
TICK_DONE = done(CONTACTS_HERE, WATERMARK, created=CONTACTS, asked=TICKED)


async def has_ticked_once(world: World) -> bool:
    """One run, and it is done; the next is due a day later."""
    later = "select due_at > now() + interval '12 hours' from outbox.schedules where sync = 'ghl-contacts' and type = 'incremental'"
    return await TICK_DONE(world) and bool(await world.postroom.value(later))


TICK = Scene(due, mended=has_ticked_once)


async def is_registered(world: World) -> bool:
    """All that a dispatcher writes down as it begins."""
    return bool(
        await world.postroom.value(
            """select (select count(*) > 5 from outbox.routes)
                  and (select count(*) > 1 from outbox.syncs where name in ('ghl-contacts', 'ghl-missed') and off is null)
                  and (select count(*) > 2 from outbox.schedules where sync in ('ghl-contacts', 'ghl-missed'))"""
        )
    )
