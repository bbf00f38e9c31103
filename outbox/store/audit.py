"""outbox.audit: who did what. Append-only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("audit")


class Via(StrEnum):
    """Where from an act was done."""

    CONSOLE = "console"
    API = "api"
    CLI = "cli"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which acts; None does not filter. `what` and `target` are the beginnings of theirs."""

    who: str | None = None
    via: str | None = None
    what: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERY = Filter()


async def write(
    connection: Connection | Pool,
    *,
    who: str,
    via: str,
    what: str,
    target: str | None = None,
    reason: str | None = None,
    result: Mapping[str, object] | None = None,
) -> None:
    """One act."""
    await db.fetchval(connection, Q["write"], who, via, what, target, reason, None if result is None else json.dumps(dict(result)))


async def find(connection: Connection | Pool, which: Filter = EVERY, *, before: int | None = None, limit: int = 50) -> list[Record]:
    """Acts, newest first."""
    return await db.fetch(connection, Q["list"], before, limit, which.who, which.via, which.what, which.target, which.since, which.until)
