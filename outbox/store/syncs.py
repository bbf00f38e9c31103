"""outbox.syncs: which syncs there are, how far each has come, what people said of them."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("syncs")
BY_ITSELF: Final = "postroom"  # who paused a sync whose source is not as it must be
GONE: Final = "the dispatcher that began last does not know it: a module is missing"


async def register(
    connection: Connection | Pool,
    name: str,
    *,
    destination: str | None,
    types: Sequence[str],
    off: str | None,
    overlap: timedelta = timedelta(0),
) -> None:
    """A sync that this code knows. `off`: why it cannot run here; None: it can. `overlap`: so far behind its watermark it looks."""
    await db.fetch(connection, Q["register"], name, destination, list(types), off, round(overlap.total_seconds()) or None)


async def retire(connection: Connection | Pool, known: Sequence[str]) -> None:
    """Switches off those that are not known, such as a sync of a module that was taken away; known again, register() switches it on."""
    await db.fetch(connection, Q["retire"], list(known), GONE)


async def every(connection: Connection | Pool) -> list[Record]:
    """All syncs but those of single users, each with its last success, its last failure and its undone run."""
    return await db.fetch(connection, Q["all"], None)


async def standing(connection: Connection | Pool, name: str) -> Record | None:
    """One of every(), or None."""
    return next(iter(await some(connection, [name])), None)


async def page(connection: Connection | Pool, *, after: str, limit: int, users: bool = True, owner: str | None = None) -> list[Record]:
    """As some(), the next behind the name `after`. `users` False: none of those that there is one of for each user; `owner`: only its."""
    return await some(connection, [row["name"] for row in await db.fetch(connection, Q["page"], after, not users, owner, limit)])


async def page_of_users(connection: Connection | Pool, *, after: str, limit: int, light: str | None) -> list[str]:
    """Names of single users' syncs; with `light` also those of which only outbox.light can tell it."""
    return [row["name"] for row in await db.fetch(connection, Q["page_of_users"], after, light, limit)]


async def some(connection: Connection | Pool, names: Sequence[str]) -> list[Record]:
    """As every(), of these."""
    return await db.fetch(connection, Q["all"], list(names)) if names else []


async def users(connection: Connection | Pool) -> Record:
    """How single users' syncs stand, in one row; `by_cron` names those of which only outbox.light can tell the light."""
    row = await db.fetchrow(connection, Q["users"])
    assert row is not None
    return row


async def one(connection: Connection | Pool, name: str) -> Record | None:
    """A sync as it is set up, or None."""
    return await db.fetchrow(connection, Q["one"], name)


async def is_to_succeed(connection: Connection | Pool, name: str) -> bool:
    """Whether it has never succeeded, and will: it is on, and comes due by itself."""
    return bool(await db.fetchval(connection, Q["is_to_succeed"], name))


async def pause(connection: Connection | Pool, name: str, *, by: str, why: str) -> bool:
    """Its schedule stands until resume(); a run at work goes on. False: there is no such sync."""
    return await db.fetchval(connection, Q["pause"], name, by, why) is not None


async def resume(connection: Connection | Pool, name: str) -> bool:
    """Its schedule goes on; what was missed is made good as each schedule says. False: it was not paused."""
    return await db.fetchval(connection, Q["resume"], name) is not None


async def expect(connection: Connection | Pool, name: str) -> None:
    """Its light ages from now on, whenever it succeeded before."""
    await db.fetch(connection, Q["expect"], name)


async def allow(connection: Connection | Pool, name: str, *, deletions: int) -> bool:
    """The next sweep may delete so many. False: there is no such sync."""
    return await db.fetchval(connection, Q["allow"], name, deletions) is not None


async def advance(
    connection: Connection,
    name: str,
    *,
    watermark: datetime | None,
    kept: Mapping[str, Any] | None,
    since: datetime | None = None,
    used_up: bool = False,
) -> None:
    """In the transaction that ends a run: everything from `since` (None: the beginning) up to `watermark` is here.

    So the watermark stays where `since` lies behind it: nobody has looked between the two. `used_up`: what a person allowed has been done.
    """
    await db.fetch(connection, Q["advance"], name, watermark, None if kept is None else json.dumps(dict(kept)), used_up, since)
