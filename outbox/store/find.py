"""Where something that a person has at hand leads: an event's id, a key, a lane, an id at either side, an e-mail address, a phone number.

What is asked for is in no answer: lanes and ids carry no personal data.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load
from outbox.store import events, search
from outbox.store.search import Wanted

Q = load("find")
MOST_LANES = 20
DIGITS = 9  # of a phone number, from its end: the country's code is written in many ways
TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane, what it belongs to, and its newest event; None: none is known."""

    name: str
    what: str
    newest: int | None


@dataclass(frozen=True, slots=True)
class Led:
    """Events that are named directly, and lanes."""

    ids: tuple[int, ...] = ()
    lanes: tuple[Lane, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of it that ever had an event."""
        return not self.ids and all(lane.newest is None for lane in self.lanes)


async def lead(connection: Connection | Pool, text: str, *, known_sources: Sequence[str]) -> Led:
    """What a text leads to; lanes with events first, the newest event first."""
    text = text.strip()
    number = text.removeprefix("#")
    if number.isascii() and number.isdigit() and len(number) <= 16 and await events.one(connection, int(number)) is not None:
        return Led(ids=(int(number),))
    by_key = await search.find(connection, Wanted(key=text, sources=list(known_sources)), limit=5) if len(text) <= 400 else search.Found()
    named = [Lane(text, "lane", newest)] if (newest := await _newest(connection, text)) is not None else []
    found = [Lane(row["lane"], row["what"], await _newest(connection, row["lane"])) for row in await _things(connection, text)]
    lanes = sorted([*named, *found], key=lambda lane: lane.newest or 0, reverse=True)
    return Led(tuple(row["id"] for row in by_key.rows), tuple(lanes))


async def thing(connection: Connection | Pool, lane: str, *, contact_id: str | None) -> Record | None:
    """What a lane is about: contact_id and location_id at GHL, page_url, and `others`, lanes of the same thing.

    `contact_id` is what its event's payload names, where the lane does not say whom it is about.
    """
    return await db.fetchrow(connection, Q["thing"], lane, contact_id, timeout_s=TIMEOUT_S)


async def newest_of(connection: Connection | Pool, lanes: Sequence[str]) -> dict[str, Record | None]:
    """The newest event of each lane: id, kind, mark, staged_at; None: no event of it is known."""
    newest = {lane: await _newest(connection, lane) for lane in lanes}
    rows = await db.fetch(connection, Q["shown"], [one for one in newest.values() if one is not None], timeout_s=TIMEOUT_S)
    known = {row["id"]: row for row in rows}
    return {lane: known.get(event_id) for lane, event_id in newest.items()}


async def staged_at(connection: Connection | Pool, event_id: int | None) -> datetime | None:
    """When an event was staged, or None."""
    at: datetime | None = None if event_id is None else await db.fetchval(connection, Q["staged_at"], event_id, timeout_s=TIMEOUT_S)
    return at


async def turned_away(connection: Connection | Pool, *, since: datetime, until: datetime) -> list[Record]:
    """Rejected requests of a time, by source and reason."""
    return await db.fetch(connection, Q["turned_away"], since, until)


async def _things(connection: Connection | Pool, text: str) -> list[Record]:
    digits = re.sub(r"\D", "", text)
    is_phone = len(digits) >= DIGITS and re.fullmatch(r"[+()\d\s./-]+", text) is not None
    return await db.fetch(connection, Q["things"], text, digits[-DIGITS:] if is_phone else None, MOST_LANES, timeout_s=TIMEOUT_S)


async def _newest(connection: Connection | Pool, lane: str) -> int | None:
    found = await search.in_lane(connection, lane, limit=1)
    return found[0] if found else None
