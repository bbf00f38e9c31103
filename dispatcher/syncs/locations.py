"""GHL locations that are connected by consent: each has its own of the syncs that look into a location, `<sync>:<location>`.

Its sync is written down with the consent, comes due at minutes of its own, and is off when the app is uninstalled. A location with a key
has none of its own: the sync without a colon in its name is its.
"""

from datetime import datetime
from typing import Final
from zlib import crc32

from dispatcher.clients.accounts import GHL
from dispatcher.clients.ghl_oauth import location_name
from dispatcher.context import Services
from dispatcher.syncs.base import Sync
from outbox.cadence import Cadence, Cron
from outbox.db import Connection
from outbox.store import connections, runs, schedules, syncs

MINUTES: Final = 60


async def add(connection: Connection, sync: Sync, location_id: str, *, now: datetime) -> None:
    """In the caller's transaction: the location has this sync, which begins at once unless it waits for its tick."""
    name = name_of(sync, location_id)
    await _register(connection, sync, location_id, off=None)
    for type_, default in sync.schedules.items():
        await schedules.put(connection, name, type_, _moved(default.cadence, location_id), catch_up=default.catch_up, now=now)
    if sync.first is not None:
        await runs.ask_first(connection, name, sync.first)


async def end(connection: Connection, sync: Sync, location_id: str, *, why: str) -> None:
    """In the caller's transaction: the location's sync is off. What was pulled stays."""
    name = name_of(sync, location_id)
    if await syncs.one(connection, name) is not None:
        await _register(connection, sync, location_id, off=why)


async def _register(connection: Connection, sync: Sync, location_id: str, *, off: str | None) -> None:
    destination = location_name(location_id)
    await syncs.register(connection, name_of(sync, location_id), destination=destination, types=sync.types, off=off, overlap=sync.overlap)


async def enrol(sync: Sync, services: Services, connection: Connection, now: datetime) -> None:
    """Locations that were connected before there was such a sync for each."""
    accounts = services.accounts
    for row in await connections.every(connection):
        is_location = row["provider"] == GHL and row["state"] == "active" and row["destination"] == location_name(row["account"])
        if accounts is not None and is_location and accounts.destination_of(row["account"]) != GHL:
            await add(connection, sync, row["account"], now=now)


def name_of(sync: Sync, location_id: str) -> str:
    """The name of a connected location's sync."""
    return f"{sync.name}:{location_id}"


def _moved(cadence: Cadence, location_id: str) -> Cadence:
    """Not all locations in the same minute, and one location's syncs as far apart as the default ones are."""
    if not isinstance(cadence, Cron):
        return cadence
    minute, rest = cadence.expression.split(maxsplit=1)
    return Cron(f"{(int(minute) + crc32(location_id.encode())) % MINUTES} {rest}", cadence.zone)
