"""An app with tables of its own, as `postroom up` and `postroom demo` play it: it stages its changes in its own transactions.

The only SQL outside outbox/, because it is what an app would write. Its tables live in a schema of their own, `sample_app`.

    requests   the app calls outbox.stage() in the transaction of its own insert
    bookings   outbox.watch() stages whatever happens to it, under the app's own column names and status words
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cli.ledger import Ledger
from outbox import db, stage
from outbox.event import Event
from outbox.store import search
from outbox.store.search import Wanted
from simulators.samples import app_appointment, app_appointment_change
from simulators.seeds import CONTACT_IDS

if TYPE_CHECKING:
    from outbox.db import Connection

APP = "app"
TABLES = """
create schema if not exists sample_app;
create table if not exists sample_app.requests (id text primary key, made_at timestamptz not null default now());
create table if not exists sample_app.bookings (
  id          uuid primary key,
  state       text not null default 'booked' check (state in ('booked', 'confirmed', 'cancelled', 'done')),
  begins      timestamptz not null,
  ends        timestamptz not null,
  ghl_contact text,
  title       text not null);
select outbox.watch('sample_app.bookings',
  columns => '{"status": "state", "starts_at": "begins", "ends_at": "ends", "contact_id": "ghl_contact"}',
  statuses => '{"booked": "scheduled", "done": "completed"}');
"""


class RolledBack(Exception):
    """The app changes its mind in the middle of a transaction."""


@asynccontextmanager
async def connected(dsn: str) -> "AsyncIterator[Connection]":
    """The app's own connection, its tables made."""
    connection = await db.connect(dsn, name="sample-app", timeout_s=30)
    try:
        with db.mapped():
            await connection.execute(TABLES)
        yield connection
    finally:
        connection.terminate()


async def stage_requests(connection: "Connection", ledger: Ledger) -> None:
    """Through stage(): booked and confirmed in one lane, one of them twice; one for a contact that refuses; one without a contact."""
    one, other, alone = (f"request-{uuid.uuid4().hex[:8]}" for _ in range(3))
    await _request(connection, ledger, one, "appointment.created", contact_id=CONTACT_IDS[0])
    await _request(connection, ledger, one, "appointment.created", contact_id=CONTACT_IDS[0])
    await _request(connection, ledger, one, "appointment.confirmed", contact_id=CONTACT_IDS[0], status="confirmed")
    await _request(connection, ledger, other, "appointment.cancelled", contact_id=CONTACT_IDS[2], status="cancelled")
    await _request(connection, ledger, alone, "appointment.created", contact_id=None)


async def roll_back_one(connection: "Connection") -> str:
    """A request whose transaction does not commit. Returns the key that must not exist (P3)."""
    request = f"request-{uuid.uuid4().hex[:8]}"
    event = _event(request, "appointment.created", contact_id=CONTACT_IDS[0])
    try:
        async with connection.transaction():
            await connection.execute("insert into sample_app.requests (id) values ($1)", request)
            await stage(connection, event)
            raise RolledBack
    except RolledBack:
        assert event.key is not None
        return event.key


async def change_bookings(connection: "Connection", ledger: Ledger) -> None:
    """Through the watched table: booked, moved, confirmed, done; the app never mentions the outbox."""
    booking, begins = uuid.uuid4(), datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
    steps: list[tuple[str, str, tuple[object, ...]]] = [
        (
            "inserted",
            "insert into sample_app.bookings (id, begins, ends, ghl_contact, title) values ($1, $2, $3, $4, $5)",
            (booking, begins, begins + timedelta(minutes=30), CONTACT_IDS[1], "Colour and cut"),
        ),
        (
            "moved",
            "update sample_app.bookings set begins = $2, ends = $3 where id = $1",
            (booking, begins + timedelta(hours=1), begins + timedelta(hours=2)),
        ),
        ("state confirmed", "update sample_app.bookings set state = 'confirmed' where id = $1", (booking,)),
        ("state done", "update sample_app.bookings set state = 'done' where id = $1", (booking,)),
    ]
    known: set[int] = set()
    for what, statement, values in steps:
        with db.mapped():
            async with connection.transaction():
                await connection.execute(statement, *values)
        for row in (await search.find(connection, Wanted(sources=[APP], lane=f"appointment:{booking}"))).rows:
            if row["id"] not in known:
                known.add(row["id"])
                ledger.staged(f"{row['kind']}: {what}", row["id"])


async def _request(
    connection: "Connection", ledger: Ledger, request: str, kind: str, *, contact_id: str | None, status: str = "scheduled"
) -> None:
    event = _event(request, kind, contact_id=contact_id, status=status)
    with db.mapped():
        async with connection.transaction():
            await connection.execute("insert into sample_app.requests (id) values ($1) on conflict do nothing", request)
            event_id = int(await stage(connection, event))
    ledger.staged(f"{kind}: {'staged' if contact_id else 'without a contact'}", event_id)


def _event(request: str, kind: str, *, contact_id: str | None, status: str = "scheduled") -> Event:
    appointment = app_appointment(request, contact_id=contact_id, status=status)
    return Event(kind, app_appointment_change(appointment), key=f"{request}:{kind}", lane=f"appointment:{request}")
