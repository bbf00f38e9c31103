"""crm.phorest_*: what Phorest showed, kept as it came. A record changes only to something newer, and what is the same is left alone.

One statement for all kinds: the tables are partitions of crm.phorest_records. Writes nothing elsewhere and stages nothing.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.event import Event
from outbox.queries import load

Q = load("phorest")
SOURCE: Final = "phorest"
NOT_COMPARED: Final = frozenset({"version", "updatedAt"})  # they move on with every change, also with one that we do not keep


class Kind(StrEnum):
    """What there is of Phorest's. A booking and a check-in are read from appointments, loyalty from clients."""

    CLIENT = "client"
    APPOINTMENT = "appointment"
    BOOKING = "booking"
    CHECKIN = "checkin"
    LOYALTY = "loyalty"
    STAFF = "staff"
    PRODUCT = "product"

    def lane(self, identifier: str) -> str:
        """Where the events of one record take their turn."""
        return f"phorest:{self.value}:{identifier}"

    @property
    def link(self) -> str:
        """The kind of its links."""
        return f"phorest-{self.value}"


@dataclass(frozen=True, slots=True)
class PhorestRecord:
    """One record. `version` and `changed_at` guard against what is older; `apart`: members that are kept, but belong to another kind."""

    kind: Kind
    id: str
    original: Mapping[str, Any]
    branch_id: str | None = None
    client_id: str | None = None
    booking_id: str | None = None
    merged_to: str | None = None
    version: int | None = None
    changed_at: datetime | None = None
    deleted: bool = False
    apart: frozenset[str] = field(default=frozenset())

    def digest(self) -> bytes:
        """What is compared."""
        content = {name: value for name, value in self.original.items() if name not in NOT_COMPARED and name not in self.apart}
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).digest()


@dataclass(frozen=True, slots=True)
class Imported:
    """Of a call of apply(): ids."""

    created: tuple[str, ...]
    updated: tuple[str, ...]

    @property
    def changed(self) -> tuple[str, ...]:
        return self.created + self.updated


def kind_of(kind: Kind) -> str:
    """Of the events that bring a record to GHL."""
    return f"phorest.{kind}"


def event_for(kind: Kind, identifier: str) -> Event:
    """Phase two of one record: what GHL has of it is to become what we have."""
    return Event(kind_of(kind), {"id": identifier}, lane=kind.lane(identifier), source=SOURCE)


def import_of(kind: Kind, identifier: str, *, branch_id: str | None = None) -> Event:
    """Phase one of one client or appointment, then phase two. An appointment that is new here needs its branch."""
    named = {"id": identifier} if branch_id is None else {"id": identifier, "branch_id": branch_id}
    return Event(f"{kind_of(kind)}.import", named, lane=kind.lane(identifier), source=SOURCE)


async def apply(connection: Connection, kind: Kind, records: Sequence[PhorestRecord]) -> Imported:
    """In the caller's transaction: what Phorest shows, where it is new, or newer than ours and not the same. All of one kind.

    Of several with one id, as a walk over shifting pages brings them, the newest counts.
    """
    newest: dict[str, PhorestRecord] = {}
    for record in sorted(records, key=lambda one: (one.version or 0, one.changed_at.timestamp() if one.changed_at else 0.0)):
        newest[record.id] = record
    rows = list(newest.values())
    if not rows:
        return Imported((), ())
    applied = await db.fetch(
        connection,
        Q["apply"],
        kind.value,
        [r.id for r in rows],
        [r.branch_id for r in rows],
        [r.client_id for r in rows],
        [r.booking_id for r in rows],
        [r.merged_to for r in rows],
        [r.version for r in rows],
        [r.changed_at for r in rows],
        [json.dumps(dict(r.original), default=str) for r in rows],
        [r.digest() for r in rows],
        [r.deleted for r in rows],
    )
    created = tuple(row["id"] for row in applied if row["created"])
    return Imported(created, tuple(row["id"] for row in applied if not row["created"]))


async def one(connection: Connection | Pool, kind: Kind, identifier: str) -> Record | None:
    """A record with its link, or None."""
    return await db.fetchrow(connection, Q["one"], kind.value, identifier)


async def of_booking(connection: Connection | Pool, booking_ids: Sequence[str]) -> list[Record]:
    """The appointments of these bookings, in the order in which they take place."""
    return await db.fetch(connection, Q["of_booking"], list(booking_ids))


async def warn(connection: Connection, kind: Kind, identifier: str, warning: str | None) -> bool:
    """In the caller's transaction: what GHL would not take of it; None: all is well. False: unknown here."""
    return await db.fetchval(connection, Q["warn"], kind.value, identifier, warning) is not None


async def gone(connection: Connection, kind: Kind, identifier: str) -> bool:
    """In the caller's transaction: Phorest has it no more. False when there was nothing to mark."""
    return await db.fetchval(connection, Q["gone"], kind.value, identifier) is not None


@dataclass(frozen=True, slots=True)
class Who:
    """Which client something is about, after all mergers. `contact_id`: its contact in GHL; None: not linked."""

    client_id: str
    contact_id: str | None
    is_known: bool


async def client(connection: Connection | Pool, client_id: str) -> Who:
    """The client that this one is by now."""
    row = await db.fetchrow(connection, Q["client"], client_id)
    assert row is not None
    return Who(row["id"], row["contact_id"], row["known"])


async def blocked(connection: Connection | Pool, client_id: str, *, why: str) -> list[tuple[Kind, str]]:
    """What is about a client and has a warning that begins with `why`."""
    return [(Kind(row["kind"]), row["id"]) for row in await db.fetch(connection, Q["blocked"], client_id, why)]


async def lanes_about(connection: Connection | Pool, client_id: str) -> list[str]:
    """The lanes of what is about a client, or about one that was merged into it."""
    return [row["lane"] for row in await db.fetch(connection, Q["about"], client_id)]
