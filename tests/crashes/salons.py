"""Scenes of Phorest: its records read page by page, brought to GHL through steps and links, a client repaired, all of it rolled back.

What must hold: of each record one thing at GHL, linked to it as made by us; nothing of it after the rollback; one repair for a client.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dispatcher.handlers.phorest_mapping import source_of
from outbox import db, operators
from outbox.operators import Actor
from outbox.store import links, phorest, phorest_rollback
from outbox.store.phorest import Kind, PhorestRecord, event_for
from simulators.phorest import PhorestSettings, PhorestSimulator
from simulators.samples import DEMO_BRANCH_ID, DEMO_CALENDAR_ID
from tests.crashes.pulls import ASKED_BY_HAND, ask
from tests.crashes.scenes import Scene
from tests.crashes.world import World
from tests.dispatcher.running import stage_all

CLIENTS = 8
VISIT = {"appointmentDate": "2027-01-05", "startTime": "10:00:00.000", "endTime": "10:30:00.000", "serviceName": "Cut"}


def person(n: int) -> dict[str, str]:
    """The n-th client."""
    return {"firstName": f"Client{n}", "lastName": "Example", "email": f"client{n}@example.com", "mobile": f"3530155501{n:02}"}


async def open_salon(world: World) -> PhorestSimulator:
    """A simulated Phorest without anybody in it."""
    salon = PhorestSimulator(PhorestSettings(requests_per_second=10_000))
    world.env |= {
        "PHOREST_USERNAME": salon.settings.username,
        "PHOREST_PASSWORD": salon.settings.password,
        "PHOREST_BUSINESS_ID": salon.settings.business_id,
        "PHOREST_API_BASE_URL": await world.serve(salon.app),
        "PHOREST_BRANCHES": f"{DEMO_BRANCH_ID}=Europe/Dublin",
        "GHL_DEFAULT_CALENDAR_ID": DEMO_CALENDAR_ID,
    }
    return salon


async def keep(world: World, kind: Kind, *records: PhorestRecord) -> None:
    """As a page of phase one leaves them: here, and on their way to GHL."""
    async with db.transaction(world.pool) as connection:
        await phorest.apply(connection, kind, records)
    await stage_all(world.postroom, *(event_for(kind, record.id) for record in records))


def visit(n: int, client_id: str) -> PhorestRecord:
    """The n-th appointment, of this client."""
    return PhorestRecord(Kind.APPOINTMENT, f"a{n}", VISIT, branch_id=DEMO_BRANCH_ID, client_id=client_id)


async def is_in_ghl(world: World, *, clients: int, visits: int) -> bool:
    """Of each one contact and one booking, made and linked once."""
    wanted = Counter({source_of(Kind.CLIENT, f"p{n}"): 1 for n in range(clients)})
    made = Counter(contact["source"] for contact in world.ghl.store.contacts.values() if contact.get("source") in wanted)
    counts = "select count(*) filter (where made and not shared) from crm.links where kind = $1"
    linked = [await world.postroom.value(counts, kind.link) for kind in (Kind.CLIENT, Kind.APPOINTMENT)]
    return made == wanted and len(world.ghl.store.appointments) == visits and linked == [clients, visits]


# ── phase one


@asynccontextmanager
async def walk(world: World) -> AsyncIterator[None]:
    """Three pages of clients, each of which goes on to GHL."""
    salon = await open_salon(world)
    for n in range(CLIENTS):
        salon.put_client(f"p{n}", **person(n))
    await ask(world, "phorest-clients", "incremental", destination="phorest")
    yield
    at_death = """select (select count(*) from crm.phorest_records) = coalesce(max(r.created), 0)
                         and (select count(*) from outbox.events where kind = 'phorest.client') = coalesce(max(r.created), 0)
                         and coalesce(bool_and(r.state = 'done' or s.watermark is null), true)
                  """
    assert await world.postroom.value(at_death + ASKED_BY_HAND)


async def is_imported(world: World) -> bool:
    done = """select count(*) = 1 and bool_and(r.state = 'done' and r.created = $1 and r.updated + r.errors = 0 and s.watermark >= r.until)
              """
    return bool(await world.postroom.value(done + ASKED_BY_HAND, CLIENTS)) and await is_in_ghl(world, clients=CLIENTS, visits=0)


IMPORT = Scene(walk, mended=is_imported)


# ── phase two


@asynccontextmanager
async def push(world: World) -> AsyncIterator[None]:
    """Three clients, two of them with an appointment."""
    await open_salon(world)
    await keep(world, Kind.CLIENT, *(PhorestRecord(Kind.CLIENT, f"p{n}", person(n)) for n in range(3)))
    await keep(world, Kind.APPOINTMENT, visit(0, "p0"), visit(1, "p1"))
    await world.mention(6)
    yield


async def is_pushed(world: World) -> bool:
    return await is_in_ghl(world, clients=3, visits=2)


PUSH = Scene(push, mended=is_pushed)


@asynccontextmanager
async def missing(world: World) -> AsyncIterator[None]:
    """Four appointments of a client that is at Phorest only."""
    salon = await open_salon(world)
    salon.put_client("p0", **person(0))
    await keep(world, Kind.APPOINTMENT, *(visit(n, "p0") for n in range(4)))
    await world.mention(6)
    yield


async def is_repaired(world: World) -> bool:
    """By one repair, and nobody waits for it any more."""
    staged = """select (select count(*) = 1 from outbox.events where kind = 'phorest.client.import')
                   and (select count(*) = 1 from outbox.events where kind = 'phorest.client')
                   and not exists (select from crm.phorest_repairs)"""
    return bool(await world.postroom.value(staged)) and await is_in_ghl(world, clients=1, visits=4)


REPAIR = Scene(missing, mended=is_repaired)


# ── the rollback


async def made(world: World, number: int) -> None:
    """Clients that we brought to GHL."""
    async with db.transaction(world.pool) as connection:
        for n in range(number):
            contact_id = f"of-p{n}"
            world.ghl.put_contact(contact_id, **person(n))
            await links.join(connection, Kind.CLIENT.link, ours=f"p{n}", theirs=contact_id, destination="ghl", our_hash=None, made=True)


@asynccontextmanager
async def rollback(world: World) -> AsyncIterator[None]:
    """All that we made is to be deleted; what GHL had before is not."""
    await made(world, 4)
    assert await operators.roll_back_phorest(world.pool, Actor("otto", "api")) == (4, [])
    await world.mention(6)
    yield


async def is_rolled_back(world: World) -> bool:
    """Each deleted once, and only those."""
    left = await phorest_rollback.left(world.pool)
    ours = [contact_id for contact_id in world.ghl.store.contacts if contact_id.startswith("of-")]
    return (left, ours, world.ghl.effects.count("contact.delete")) == ({}, [], 4)


ROLLBACK = Scene(rollback, mended=is_rolled_back)
