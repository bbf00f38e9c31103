"""What pins the horizon: transactions, standbys, prepared transactions and replication slots that keep dead rows from being cleared away.

Owns the look, and says who and since when. Never tells what anybody ran, and ends nobody: that is for a person to decide.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from outbox import db
from outbox.db import Connection, Pool
from outbox.queries import load

Q = load("horizon")
LONG_S = 60.0
MANY_XIDS = 10_000


class What(StrEnum):
    BACKEND = "backend"
    STANDBY = "standby"
    PREPARED = "prepared"
    SLOT = "slot"


class Keeps(StrEnum):
    ROWS = "rows"  # of every table
    CATALOGS = "catalogs"  # of the system's own tables only


@dataclass(frozen=True, slots=True)
class Pin:
    """One that holds the horizon. `name`: a process id, a prepared transaction's or a slot's name. `since` NULL: this role may not see it.

    `xids`: how many transactions began since. `wal_bytes`: what a slot keeps of the log.
    """

    what: What
    name: str
    application: str | None
    role: str | None
    state: str | None
    since: datetime | None
    age_s: float | None
    xids: int
    keeps: Keeps
    wal_bytes: int | None


async def pins(connection: Connection | Pool, *, over_s: float | None = None, over_xids: int | None = None) -> list[Pin]:
    """Those that have held it for longer than `over_s` (a minute), or, of unknown age, over so many transactions; the oldest first.

    A slot that nobody is connected to counts at any age: it stays until somebody drops it.
    """
    over_s, over_xids = LONG_S if over_s is None else over_s, MANY_XIDS if over_xids is None else over_xids
    found = []
    for row in await db.fetch(connection, Q["pins"]):
        pin = Pin(
            What(row["what"]),
            row["name"],
            row["application"] or None,
            row["role"],
            row["state"],
            row["since"],
            row["age_s"],
            row["xids"],
            Keeps(row["keeps"]),
            row["wal_bytes"],
        )
        if _is_long(pin, over_s, over_xids):
            found.append(pin)
    return found


def _is_long(pin: Pin, over_s: float, over_xids: int) -> bool:
    match pin.what:
        case What.SLOT:
            return pin.state == "inactive" or pin.xids > over_xids
        case What.STANDBY:  # its age is that of its connection
            return pin.xids > over_xids
        case What.BACKEND | What.PREPARED:
            return pin.xids > over_xids if pin.age_s is None else pin.age_s > over_s
