"""outbox.consents: consents under way. The state that comes back with a code proves that we asked for it; it counts once."""

import hashlib
import secrets

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("consents")


async def begin(
    connection: Connection | Pool,
    provider: str,
    *,
    redirect_uri: str,
    made_by: str,
    lasting_s: float,
    label: str | None = None,
    account: str | None = None,
    verifier: bytes | None = None,
) -> str:
    """Returns the state to send out with the link. It is kept only as its SHA-256.

    `account`: whose consent it will be, where we name them and not the provider. `verifier`: of PKCE, sealed.
    """
    state = secrets.token_urlsafe(32)
    await db.fetch(connection, Q["begin"], _digest(state), provider, redirect_uri, label, made_by, lasting_s, account, verifier)
    return state


async def end(connection: Connection | Pool, provider: str, state: str) -> Record | None:
    """redirect_uri, label, made_by, account and verifier of the consent; None when the state is unknown, used or too old."""
    return await db.fetchrow(connection, Q["end"], _digest(state), provider)


def _digest(state: str) -> bytes:
    return hashlib.sha256(state.encode("utf-8", "replace")).digest()
