"""crm.google_contacts: each user's own contacts, as Google has them, and what of them is imported, with which labels.

What is imported and the labels are ours alone. Writes nothing to Google and stages nothing.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("google_contacts")


@dataclass(frozen=True, slots=True)
class GoogleContact:
    """A contact with an e-mail address or a phone number, as a list shows it."""

    resource_name: str
    display_name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    company: str | None = None
    title: str | None = None
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    changed_at: datetime | None = None

    def digest(self) -> str:
        """What is compared: everything but the name at Google and the time."""
        texts = [self.display_name, self.given_name, self.family_name, self.company, self.title]
        content = json.dumps([*texts, self.emails, self.phones, sorted(self.groups)])
        return hashlib.sha256(content.encode()).hexdigest()


async def rename(connection: Connection, user_id: str, names: Iterable[tuple[str, str]]) -> None:
    """In the caller's transaction: (old, new) names. An old one whose row could not go on under the new name is marked as deleted."""
    pairs = list(names)
    if pairs:
        old, new = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        await db.fetch(connection, Q["rename"], user_id, old, new)
        await mark_deleted(connection, user_id, old)


async def apply(
    connection: Connection, user_id: str, contacts: Sequence[GoogleContact], *, imports: bool, label: str | None = None
) -> dict[str, bool]:
    """In the caller's transaction: contacts as Google shows them. `imports`: new ones are imported, with the label.

    Returns, by name, those that changed something here, and whether they are new.
    """
    once = {contact.resource_name: contact for contact in contacts}
    given = [{**asdict(contact), "digest": contact.digest()} for contact in once.values()]
    rows = await db.fetch(connection, Q["apply"], user_id, json.dumps(given, default=str), imports, label) if given else []
    return {row["resource_name"]: row["created"] for row in rows}


async def mark_deleted(connection: Connection, user_id: str, names: Sequence[str]) -> list[str]:
    """In the caller's transaction. Returns those that were not marked before."""
    rows = await db.fetch(connection, Q["mark_deleted"], user_id, list(names)) if names else []
    return [str(row["resource_name"]) for row in rows]


async def set_aside(
    connection: Connection, user_id: str, names: Sequence[str], *, unidentified: Sequence[str], begins_anew: bool = False
) -> None:
    """In the caller's transaction: which of a page's people have neither address nor number; `begins_anew`: nothing is known but them."""
    await db.fetch(connection, Q["set_aside"], user_id, list(names), list(unidentified), begins_anew)


async def unmet(connection: Connection | Pool, user_id: str, *, run_id: int) -> tuple[int, int]:
    """How many contacts this full run has not met, and how many there are."""
    row = await db.fetchrow(connection, Q["unmet"], user_id, run_id)
    assert row is not None
    return row["unmet"], row["total"]


async def hand_on(connection: Connection, user_id: str, *, run_id: int) -> list[str]:
    """In a transaction behind a full run's last page, before sweep(): what is ours of a renamed contact goes to the one that it is now."""
    return [str(row["resource_name"]) for row in await db.fetch(connection, Q["hand_on"], user_id, run_id)]


async def sweep(connection: Connection, user_id: str, *, run_id: int) -> list[str]:
    """In a transaction behind a full run's last page: what it has not met is gone. Returns their names."""
    return [str(row["resource_name"]) for row in await db.fetch(connection, Q["sweep"], user_id, run_id)]


async def choose(connection: Connection, user_id: str, names: Sequence[str] | None, *, label: str | None = None) -> int:
    """In the caller's transaction: these are imported; None: all. Returns how many there were of them."""
    return len(await db.fetch(connection, Q["choose"], user_id, names, label))


async def leave_out(connection: Connection, user_id: str, names: Sequence[str] | None) -> int:
    """In the caller's transaction: these are not imported any more; None: all. Returns how many were."""
    return len(await db.fetch(connection, Q["leave_out"], user_id, names))


async def page(connection: Connection | Pool, user_id: str, *, after: int, limit: int, imported: bool | None) -> list[Record]:
    """A user's contacts in the order in which they came, above id `after`."""
    return await db.fetch(connection, Q["list"], user_id, after, limit, imported)
