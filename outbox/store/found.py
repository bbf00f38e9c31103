"""What GHL shows, held against what is here: known already, waiting to be handled, or missed. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from outbox import db
from outbox.db import Connection, Record
from outbox.queries import load

Q = load("found")


@dataclass(frozen=True, slots=True)
class Seen:
    """A state that GHL shows: whose, since when, and the digest of all it says. `digest` None: it is not shown where it was."""

    id: str
    changed_at: datetime
    digest: bytes | None


class Verdict(StrEnum):
    """KNOWN: ours is the same, or newer. WAITS: an event of its lane is undone, or dead, so it was announced."""

    KNOWN = "known"
    WAITS = "waits"
    MISSED = "missed"


async def contacts(connection: Connection, seen: Sequence[Seen]) -> dict[str, Verdict]:
    """By GHL's id."""
    return _verdicts(await _ask(connection, "contacts", seen))


async def appointments(connection: Connection, seen: Sequence[Seen]) -> dict[str, Verdict]:
    """By GHL's id."""
    return _verdicts(await _ask(connection, "appointments", seen))


async def not_shown(
    connection: Connection, calendar_id: str, starts_from: datetime, starts_before: datetime, *, before: datetime, shown: Sequence[str]
) -> list[Seen]:
    """Ours that GHL's calendar does not show at their time; what changed `before` is long enough ago to be shown."""
    rows = await db.fetch(connection, Q["not_shown"], calendar_id, starts_from, starts_before, before, list(shown))
    return [Seen(row["ghl_appointment_id"], row["changed_at"], None) for row in rows]


async def _ask(connection: Connection, name: str, seen: Sequence[Seen]) -> list[Record]:
    newest = {one.id: one for one in sorted(seen, key=lambda one: one.changed_at)}.values()
    ids, times, digests = [one.id for one in newest], [one.changed_at for one in newest], [one.digest for one in newest]
    return await db.fetch(connection, Q[name], ids, times, digests)


def _verdicts(rows: Sequence[Record]) -> dict[str, Verdict]:
    return {row["id"]: Verdict.KNOWN if row["is_known"] else Verdict.WAITS if row["waits"] else Verdict.MISSED for row in rows}
