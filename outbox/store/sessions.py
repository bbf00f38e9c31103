"""outbox.sessions, sign_in_links and sent_forms: who is signed in to the console, and which of its forms have acted.

Only digests are kept: neither a session's id nor a link's secret can be read back.
"""

import json
from collections.abc import Mapping
from uuid import UUID

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("sessions")


async def begin(connection: Connection | Pool, *, digest: bytes, token: bytes, name: str, network: str | None, lasts_s: float) -> None:
    """Somebody signed in. Also forgets what has ended."""
    await db.fetch(connection, Q["prune"])
    await db.fetchval(connection, Q["begin"], digest, token, name, network, lasts_s)


async def find(connection: Connection | Pool, digest: bytes, *, lasts_s: float | None) -> Record | None:
    """token, name, started_at, notice and the database's now; None when there is no such session, or it has ended."""
    return await db.fetchrow(connection, Q["find"], digest, lasts_s)


async def tell(connection: Connection | Pool, digest: bytes, notice: Mapping[str, object] | None) -> None:
    """What the last act has to say; None dismisses it."""
    await db.fetchval(connection, Q["tell"], digest, None if notice is None else json.dumps(dict(notice)))


async def end(connection: Connection | Pool, digest: bytes) -> str | None:
    """Signs out. Returns whose it was."""
    name = await db.fetchval(connection, Q["end"], digest)
    return None if name is None else str(name)


async def offer_link(connection: Connection | Pool, *, digest: bytes, token: bytes, lasts_s: float) -> None:
    """A link that signs in once."""
    await db.fetchval(connection, Q["offer_link"], digest, token, lasts_s)


async def take_link(connection: Connection | Pool, digest: bytes) -> bytes | None:
    """Uses a link up. Returns the proof of its token; None: it was used, or its time is over."""
    token = await db.fetchval(connection, Q["take_link"], digest)
    return None if token is None else bytes(token)


async def unsend_form(connection: Connection | Pool, form: UUID) -> None:
    """What it asked for was refused: it may be sent again."""
    await db.fetch(connection, Q["unsend_form"], form)


async def send_form(connection: Connection | Pool, form: UUID) -> bool:
    """Whether this form is sent for the first time. Committed before what it does, so that no form ever acts twice."""
    return await db.fetchval(connection, Q["send_form"], form) is not None
