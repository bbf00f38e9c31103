"""outbox.steps: the journal of remote effects. Entries are written only while the event is held."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.event import Claimed
from outbox.queries import load

Q = load("steps")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one run of an event says of a step: `i`ntent, `d`one, `f`ound or `n`ot done.

    `answer` is JSON text. `only_first`: not written when the journal knows anything of the event.
    """

    event: Claimed
    worker: int
    name: str
    entry: str
    took_ms: int | None = None
    answer: str | None = None
    note: str | None = None
    only_first: bool = False


class Fate(Enum):
    """What became of an entry."""

    WRITTEN = auto()
    KNOWN = auto()  # the journal has something of the event, and the entry was to be its first
    LOST = auto()  # the event is another's by now


async def journal(connection: Connection | Pool, event_id: int) -> list[Record]:
    """What is known of an event's steps, oldest first."""
    return await db.fetch(connection, Q["journal"], event_id)


async def write(connection: Connection | Pool, entries: Sequence[Entry]) -> list[Fate]:
    """All entries, in one commit outside a transaction; the fate of each. Rows of busy are locked in the order of `entries`."""
    rows = await db.fetch(
        connection,
        Q["write"],
        [entry.event.lane_key for entry in entries],
        [entry.event.id for entry in entries],
        [entry.worker for entry in entries],
        [entry.event.attempt for entry in entries],
        [entry.name for entry in entries],
        [entry.entry for entry in entries],
        [entry.took_ms for entry in entries],
        [entry.answer for entry in entries],
        [entry.note for entry in entries],
        [entry.only_first for entry in entries],
    )
    fates = [Fate.LOST] * len(entries)
    for n, is_written in rows:
        fates[n - 1] = Fate.WRITTEN if is_written else Fate.KNOWN
    return fates
