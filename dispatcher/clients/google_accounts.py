"""Which client speaks for which user's Google contacts: each by the token of their own consent, as destination `google:<user>`.

The breaker, the pause and the budget of one user's contacts are theirs alone. Without Google's app nobody is connected.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from pydantic import SecretStr

from dispatcher.clients.google_oauth import GoogleOAuth, Granted
from dispatcher.clients.google_people import GooglePeople
from dispatcher.clients.http import Budget, Http
from dispatcher.clients.oauth import Tokens
from outbox.db import Connection
from outbox.event import Claimed
from outbox.seal import Sealer
from outbox.store import connections

GOOGLE: Final = "google"
CONSENTS: Final = "google-oauth"  # a destination of its own, as GHL's: a user who waits for a consent does not stop one

_USER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def user_name(user_id: str) -> str:
    """The destination of a user's contacts; that of all Google when this is no user's id."""
    return f"{GOOGLE}:{user_id}" if _USER.fullmatch(user_id) else GOOGLE


def user_of(event: Claimed) -> str:
    """The user whose contacts an event is about; empty: it names none."""
    try:
        payload = event.json()
    except ValueError:
        return ""
    named = payload.get("account") if isinstance(payload, dict) else None
    return named if isinstance(named, str) else ""


class GoogleAccounts:
    """One for each process. `http` is the People API's, `budget(destination)` a user's share of it."""

    def __init__(self, http: Http, oauth: GoogleOAuth, tokens: Tokens, sealer: Sealer, *, budget: Callable[[str], Budget]) -> None:
        self._http, self._oauth, self._tokens, self._sealer, self._budget = http, oauth, tokens, sealer, budget

    def client(self, user_id: str) -> GooglePeople:
        """A user's contacts. Its calls raise NotConnected when they never consented, ConsentLost when they have to do it again."""
        name = user_name(user_id)

        async def current() -> SecretStr:
            return await self._tokens.current(name)

        async def renew(refused: SecretStr) -> bool:
            return await self._tokens.renew(name, refused)

        return GooglePeople(self._http.for_account(name, token=current, budget=self._budget(name), renew=renew))

    async def exchange(self, sealed_code: bytes, sealed_verifier: bytes, *, redirect_uri: str) -> Granted:
        """A sealed code for its pair, which keep() stores. Refused: Google does not take the code (any more)."""
        code, verifier = self._sealer.open(sealed_code), self._sealer.open(sealed_verifier)
        return await self._oauth.exchange(code, verifier=verifier, redirect_uri=redirect_uri, at=CONSENTS)

    async def keep(self, connection: Connection, user_id: str, granted: Granted, *, at: datetime) -> str:
        """In the caller's transaction: stores the pair of a user's consent of time `at`. Returns the connection's name."""
        name, pair = user_name(user_id), granted.pair()
        sealed = pair.seal(self._sealer)
        await connections.connect(connection, name, provider=GOOGLE, account=user_id, sealed=sealed, expires_in_s=pair.expires_in_s, at=at)
        return name
