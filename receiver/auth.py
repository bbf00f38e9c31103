"""Who is asking: bearer tokens of operators and viewers. Owns no session and no cookie, but knows a token again that one was begun with.

A token is compared by its SHA-256 with every configured one, so that neither order nor length shows in the time taken. Wrong tokens are
few per address, then they are a 429. A right one is let in even then: behind a proxy everybody has one address, and a stranger must not
be able to lock people out. Without a configured token there is no way in.
"""

import hashlib
import hmac
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from outbox.log import get_logger
from receiver.config import AdminToken, Role
from receiver.errors import Problem, busy
from receiver.limits import Buckets

log = get_logger(__name__)

WRONG_PER_S = 1 / 10
WRONG_BURST = 10
_CHALLENGE = 'Bearer realm="postroom"'


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who showed a token."""

    name: str
    role: Role


class Gate:
    """Lets in who has a token. One for each process."""

    def __init__(self, admins: Sequence[AdminToken], *, cron_secret: SecretStr | None = None) -> None:
        self._admins = tuple(admins)
        self._cron = None if cron_secret is None else hashlib.sha256(cron_secret.get_secret_value().encode()).digest()
        self._wrong = Buckets(per_s=WRONG_PER_S, burst=WRONG_BURST)

    def let_in(self, headers: Iterable[tuple[bytes, bytes]], *, needs: Role, address: str, now: float) -> Operator:
        """Who asks. Raises Problem: 503 nobody is configured, 429 too many wrong tokens, 401 no or a wrong one, 403 a viewer may not."""
        if not self._admins:
            raise Problem(
                503,
                "no-admins",
                "The operators' API is switched off",
                "No token is configured: set POSTROOM_ADMIN_TOKENS to name:role:token (roles viewer and operator) and restart.",
                headers={"retry-after": "600"},
            )
        shown = _bearer(headers)
        if shown is None:
            raise _unauthorised("Send the header Authorization: Bearer <token>, once.", _CHALLENGE)
        operator = self.find(shown)
        if operator is None:
            self._count_wrong(address, now)
            raise _unauthorised("This token is not known.", f'{_CHALLENGE}, error="invalid_token"')
        if not operator.role.includes(needs):
            raise Problem(403, "forbidden", "Not with this token", "This needs the role operator; the token is a viewer's.")
        return operator

    def let_in_cron(self, headers: Iterable[tuple[bytes, bytes]], *, address: str, now: float) -> Operator:
        """An external scheduler, by CRON_SECRET. Raises Problem: 503 none is configured, 429 too many wrong ones, 401 no or a wrong one."""
        if self._cron is None:
            raise Problem(
                503,
                "no-cron-secret",
                "This door is switched off",
                "No secret is configured: set CRON_SECRET and restart.",
                headers={"retry-after": "600"},
            )
        shown = _bearer(headers)
        if shown is None:
            raise _unauthorised("Send the header Authorization: Bearer <CRON_SECRET>, once.", _CHALLENGE)
        if not hmac.compare_digest(self._cron, hashlib.sha256(shown.encode("utf-8", "surrogateescape")).digest()):
            self._count_wrong(address, now)
            raise _unauthorised("This secret is not the one.", f'{_CHALLENGE}, error="invalid_token"')
        return Operator("cron", Role.OPERATOR)

    def _count_wrong(self, address: str, now: float) -> None:
        if not self._wrong.take(address, now=now):
            wait_s = math.ceil(self._wrong.wait_s(address, now=now))
            raise busy("Too many wrong tokens from this address.", retry_after_s=wait_s)
        log.warning("a wrong token was shown to the API")

    def find(self, token: str) -> Operator | None:
        """Whose token this is."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found: Operator | None = None
        for admin in self._admins:
            if hmac.compare_digest(admin.digest, digest):
                found = Operator(admin.name, admin.role)
        return found

    @property
    def is_open(self) -> bool:
        """Whether any token is configured."""
        return bool(self._admins)

    def proof(self, token: str, *, secret: bytes) -> bytes | None:
        """What a session keeps of a token: useless without `secret`, which only the browser has. None for a wrong token."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        return None if self.find(token) is None else token_proof(digest, secret)

    def proven(self, proof: bytes, *, secret: bytes) -> Operator | None:
        """Whose token the proof was made of, if that token is still configured."""
        found: Operator | None = None
        for admin in self._admins:
            if hmac.compare_digest(token_proof(admin.digest, secret), proof):
                found = Operator(admin.name, admin.role)
        return found

    def again(self, proof: bytes, *, old: bytes, new: bytes) -> bytes | None:
        """The proof of the same token under another secret."""
        for admin in self._admins:
            if hmac.compare_digest(token_proof(admin.digest, old), proof):
                return token_proof(admin.digest, new)
        return None


def token_proof(digest: bytes, secret: bytes) -> bytes:
    """The HMAC of a token's digest under a session's or a link's secret."""
    return hmac.digest(secret, digest, "sha256")


def _bearer(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, token = values[0].decode("utf-8", "surrogateescape").strip().partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None


def _unauthorised(detail: str, challenge: str) -> Problem:
    return Problem(401, "unauthorised", "Who is asking?", detail, headers={"www-authenticate": challenge})
