"""crm.audits and crm.audit_gaps: both sides compared, id by id, and what is staged to mend what one of them lacks.

Reads the records and links that are compared, and notes when a walk met them. Fetches nothing and stages nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load
from outbox.store.phorest import Kind

Q = load("audits")
KEPT_DAYS: Final = 90


class Gap(StrEnum):
    """What one side has and the other lacks."""

    NOT_HERE = "not here"
    NOT_IN_PHOREST = "not in phorest"
    NOT_IN_GHL = "not in ghl"
    NOT_SENT = "not sent"
    OUT_OF_DATE = "out of date"


@dataclass(frozen=True, slots=True)
class Unmet:
    """A record that Phorest did not show."""

    id: str
    branch_id: str | None


async def begin(connection: Connection, audit_id: int, system: str, started_at: datetime) -> None:
    """In the caller's transaction: the audit of this run is under way. May be said again."""
    await db.fetch(connection, Q["begin"], audit_id, system, started_at)


async def end(connection: Connection, audit_id: int, counts: Mapping[str, Any]) -> None:
    """In the caller's transaction: the audit went to its end. Those of more than KEPT_DAYS days ago go."""
    await db.fetch(connection, Q["end"], audit_id, json.dumps(counts), KEPT_DAYS)


async def new_gaps(connection: Connection, audit_id: int, kind: str, gap: Gap, ids: Sequence[str]) -> list[str]:
    """Those of these ids that this audit has not yet found to be such gaps."""
    known = {row["id"] for row in await db.fetch(connection, Q["known_gaps"], audit_id, kind, gap.value, list(ids))}
    return [one for one in ids if one not in known]


async def gap(connection: Connection, audit_id: int, kind: str, identifier: str, what: Gap, *, repair: int | None) -> None:
    """In the caller's transaction: a gap, and the event that mends it; None: a person decides."""
    await db.fetch(connection, Q["gap"], audit_id, kind, identifier, what.value, repair)


async def met_records(connection: Connection, kind: Kind, ids: Sequence[str]) -> list[str]:
    """In the caller's transaction: Phorest shows these. Returns the ones that are not here."""
    return [row["id"] for row in await db.fetch(connection, Q["met_records"], kind.value, list(ids))]


async def met_links(connection: Connection, kinds: Sequence[Kind], theirs: Sequence[str], *, destination: str) -> None:
    """In the caller's transaction: the far side shows these."""
    await db.fetch(connection, Q["met_links"], destination, [kind.link for kind in kinds], list(theirs))


async def unmet_records(
    connection: Connection | Pool, kind: Kind, *, before: datetime, above: str, limit: int, days: tuple[str, str] | None = None
) -> list[Unmet]:
    """What is here and was not met since `before`, by id; of appointments only those on `days`."""
    first, last = days or (None, None)
    rows = await db.fetch(connection, Q["unmet_records"], kind.value, before, above, limit, first, last)
    return [Unmet(row["id"], row["branch_id"]) for row in rows]


async def unmet_links(
    connection: Connection | Pool, kind: Kind, *, before: datetime, linked_before: datetime, above: str, limit: int
) -> list[tuple[str, str]]:
    """(ours, theirs) of what the far side did not show since `before`, by ours."""
    rows = await db.fetch(connection, Q["unmet_links"], kind.link, before, linked_before, above, limit)
    return [(row["ours"], row["theirs"]) for row in rows]


async def unsent(
    connection: Connection | Pool, audit_id: int, kind: Kind, *, before: datetime, above: str, limit: int
) -> list[tuple[str, Gap]]:
    """What was imported before a time and never sent, or sent as something else, by id; not what this audit has found already."""
    rows = await db.fetch(connection, Q["unsent"], kind.value, before, above, limit, audit_id)
    return [(row["id"], Gap.NOT_SENT if row["never"] else Gap.OUT_OF_DATE) for row in rows]


async def counts(connection: Connection | Pool) -> dict[str, dict[str, int]]:
    """By kind: here, linked, refused."""
    rows = await db.fetch(connection, Q["counts"], timeout_s=60)
    return {row["kind"]: {"here": row["here"], "linked": row["linked"], "refused": row["refused"]} for row in rows}


async def newest(connection: Connection | Pool, *, system: str | None = None, before: int | None = None, limit: int = 20) -> list[Record]:
    """Audits, newest first, with how many gaps of each sort they found."""
    return await db.fetch(connection, Q["list"], system, before, limit)


async def one(connection: Connection | Pool, audit_id: int) -> Record | None:
    """An audit, or None."""
    return await db.fetchrow(connection, Q["one"], audit_id)


async def gaps(connection: Connection | Pool, audit_id: int, *, after: tuple[str, str] = ("", ""), limit: int = 100) -> list[Record]:
    """What an audit found, behind a (kind, id), with what became of each repair."""
    return await db.fetch(connection, Q["gaps"], audit_id, *after, limit)


async def open_gaps(connection: Connection | Pool) -> dict[str, tuple[int, int]]:
    """By system: its newest finished audit, and how many gaps that found."""
    return {row["system"]: (row["id"], row["gaps"]) for row in await db.fetch(connection, Q["open_gaps"])}
