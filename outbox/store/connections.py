"""outbox.connections: accounts at providers that a person connected, with their sealed token pairs.

A pair has a version. Whoever stores the next one names the one that it replaces, so that of several writers one counts. The right to
refresh is a lease on the row, not a lock: no transaction stays open over a call, and one that died with it is followed in time.

    nothing ─install─▶ inactive ─connect─▶ active ─give_up─▶ inactive
                                             │ ▲ store, connect │
                              uninstall ◀────┘ └────────────────┘
"""

from datetime import datetime

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("connections")


def link_command(provider: str, account: str) -> str:
    """What makes a link with which an account is connected, again or for the first time."""
    return f"postroom connect google --user {account}" if provider == "google" else f"postroom connect {provider}"


async def one(connection: Connection | Pool, destination: str) -> Record | None:
    """A connection with its sealed pair and the seconds until its token ends, or None."""
    return await db.fetchrow(connection, Q["one"], destination)


async def every(connection: Connection | Pool, *, users: bool = True) -> list[Record]:
    """All connections, without their tokens; `users` False: of single users, of whom there may be thousands, those in use are left out."""
    return await db.fetch(connection, Q["all"], users)


async def due(connection: Connection | Pool, provider: str, *, within_s: float) -> list[tuple[str, int]]:
    """(destination, version) of those that should be refreshed now, interrupted ones first."""
    return [(row["destination"], row["version"]) for row in await db.fetch(connection, Q["due"], provider, within_s)]


async def connect(
    connection: Connection | Pool,
    destination: str,
    *,
    provider: str,
    account: str,
    sealed: bytes,
    expires_in_s: float,
    at: datetime,
    company_id: str | None = None,
    label: str | None = None,
) -> int:
    """A consent of time `at` ended well. Returns the pair's version."""
    return int(
        await db.fetchval(connection, Q["connect"], destination, provider, account, company_id, label, sealed, float(expires_in_s), at)
    )


async def take(connection: Connection | Pool, destination: str, *, version: int, lease_s: float) -> bool:
    """Whether the caller may refresh this pair, for so long."""
    return await db.fetchval(connection, Q["take"], destination, version, lease_s) is not None


async def give_back(connection: Connection | Pool, destination: str, *, version: int, why: str, unfinished: bool) -> None:
    """The refresh failed, and the pair stays: the next may try. `unfinished`: somebody has to, for the provider may have changed it."""
    await db.fetchval(connection, Q["give_back"], destination, version, why, unfinished)


async def store(connection: Connection | Pool, destination: str, *, version: int, sealed: bytes, expires_in_s: float) -> int | None:
    """The pair that followed pair `version`. Returns its version; None: another stored one before, or the app was uninstalled."""
    stored = await db.fetchval(connection, Q["store"], destination, version, sealed, float(expires_in_s))
    return None if stored is None else int(stored)


async def give_up(connection: Connection | Pool, destination: str, *, version: int, why: str) -> bool:
    """This pair is refused for good. False when there is a newer one."""
    return await db.fetchval(connection, Q["give_up"], destination, version, why) is not None


async def install(
    connection: Connection | Pool,
    destination: str,
    *,
    provider: str,
    account: str,
    company_id: str | None,
    label: str | None,
    why: str,
    at: datetime,
) -> str:
    """The provider says that our app was installed. Returns the state; `inactive` waits for a consent, for the reason `why`."""
    return str(await db.fetchval(connection, Q["install"], destination, provider, account, company_id, label, why, at))


async def uninstall(connection: Connection | Pool, destination: str, *, at: datetime, why: str) -> bool:
    """The provider says that our app was removed at `at`. False when it is not known, or was connected again since."""
    return await db.fetchval(connection, Q["uninstall"], destination, at, why) is not None


async def of_company(connection: Connection | Pool, provider: str, company_id: str) -> list[Record]:
    """destination, account and state of an agency's accounts."""
    return await db.fetch(connection, Q["of_company"], provider, company_id)
