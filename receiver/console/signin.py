"""Signing in to the console and out: sessions in the database, found by a cookie that only the browser has.

    token ──▶ cookie with a random id ──▶ row: SHA-256 of the id, HMAC under the id of the token's digest

A session ends 12 h after its last visit, when signed out, or with its token: one that is taken out of POSTROOM_ADMIN_TOKENS proves nothing.
Wrong tokens are few for an address. A right one is let in even then: behind a proxy everybody has one address.
"""

import hashlib
import math
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request

from outbox.db import Connection, Pool, Record
from outbox.store import audit, sessions
from receiver.auth import Gate, Operator, token_proof
from receiver.console.origin import host_of
from receiver.limits import Buckets, network_of

LASTS_S = 12 * 3600
LINK_LASTS_S = 120
WRONG_PER_S = 5 / 60
WRONG_BURST = 5
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in. `now` is the database's clock."""

    digest: bytes
    who: Operator
    now: datetime
    notice: str | None


class SignIn:
    """The way in. One for each process."""

    def __init__(self, public_url: str | None) -> None:
        self._public_url = public_url
        self.public_host = host_of(public_url) if public_url else None
        self._wrong = Buckets(per_s=WRONG_PER_S, burst=WRONG_BURST)

    async def find(self, request: Request, gate: Gate, pool: Pool, *, slides: bool = True) -> Session | None:
        """The session of the request's cookie, if it still counts. `slides`: a person came, so that it counts for longer."""
        secret = _secret(request.cookies.get(self.cookie_name(request)))
        if secret is None:
            return None
        row: Record | None = await sessions.find(pool, _digest(secret), lasts_s=LASTS_S if slides else None)
        who = None if row is None else gate.proven(bytes(row["token"]), secret=secret)
        return None if row is None or who is None else Session(_digest(secret), who, row["now"], row["notice"])

    def wait_s(self, request: Request) -> int:
        """Seconds until this address may show a wrong token again; 0: now. Spends one of its tries."""
        address, now = _address(request), time.monotonic()
        return 0 if self._wrong.take(address, now=now) else math.ceil(self._wrong.wait_s(address, now=now))

    async def by_token(self, request: Request, gate: Gate, connection: Connection, token: str) -> str | None:
        """Begins a session, in the caller's transaction. Returns the cookie's value, or None for a wrong token."""
        who = gate.find(token)
        secret = secrets.token_bytes(_SECRET_BYTES)
        proof = gate.proof(token, secret=secret)
        if who is None or proof is None:
            return None
        await self._begin(request, connection, who, secret=secret, proof=proof, by="token")
        return secret.hex()

    async def by_link(self, request: Request, gate: Gate, connection: Connection, link: str) -> str | None:
        """The same by a link, which is used up. None: it was used, its time is over, or its token is not configured any more."""
        shown = _secret(link)
        kept = None if shown is None else await sessions.take_link(connection, _digest(shown))
        who = None if shown is None or kept is None else gate.proven(kept, secret=shown)
        if who is None or shown is None or kept is None:
            return None
        secret = secrets.token_bytes(_SECRET_BYTES)
        proof = gate.again(kept, old=shown, new=secret)
        assert proof is not None
        await self._begin(request, connection, who, secret=secret, proof=proof, by="link")
        return secret.hex()

    async def _begin(self, request: Request, connection: Connection, who: Operator, *, secret: bytes, proof: bytes, by: str) -> None:
        network = network_of(request.scope)
        await sessions.begin(connection, digest=_digest(secret), token=proof, name=who.name, network=network, lasts_s=LASTS_S)
        await audit.write(connection, who=who.name, via="console", what="sign in", result={"by": by, "network": network})

    def is_secure(self, request: Request) -> bool:
        """Whether the browser came by HTTPS, as far as can be seen behind a proxy. A client that lies harms its own cookie only."""
        return (
            request.scope["scheme"] == "https"
            or request.headers.get("x-forwarded-proto", "").partition(",")[0].strip() == "https"
            or ((self._public_url or "").startswith("https:") and request.headers.get("host", "").lower() == self.public_host)
        )

    def cookie_name(self, request: Request) -> str:
        """With HTTPS a name that no subdomain and no plain page can set."""
        return "__Host-postroom" if self.is_secure(request) else "postroom"

    def cookie(self, request: Request) -> dict[str, Any]:
        """How it is set."""
        secure = self.is_secure(request)
        return {"key": self.cookie_name(request), "path": "/", "httponly": True, "samesite": "lax", "secure": secure}


async def offer_link(connection: Connection | Pool, token: str) -> str:
    """A path that signs in once, within two minutes, as whom the access token names."""
    secret = secrets.token_bytes(_SECRET_BYTES)
    proof = token_proof(hashlib.sha256(token.encode()).digest(), secret)
    await sessions.offer_link(connection, digest=_digest(secret), token=proof, lasts_s=LINK_LASTS_S)
    return f"/console/sign-in/{secret.hex()}"


def _secret(text: str | None) -> bytes | None:
    """The bytes of a cookie or a link; None for what we never gave out."""
    if text is None or len(text) != 2 * _SECRET_BYTES or not text.isascii() or not text.isalnum():
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
