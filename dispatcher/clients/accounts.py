"""Which client speaks for which GHL location: the default one with its own key, every other one with the token of its connection.

    none, or GHL_LOCATION_ID with GHL_API_KEY ──▶ the key's client, destination `ghl`
    any other location                        ──▶ outbox.connections, destination `ghl:<location>`: breaker, pause and budget of its own

The name follows from the event alone, so that every process says the same. Whether the location is connected is asked of the
database, at most every few seconds.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import SecretStr

from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_oauth import GhlOAuth, Granted, company_name, location_name
from dispatcher.clients.http import Budget, Http
from dispatcher.clients.oauth import NotConnected, Tokens
from dispatcher.errors import ConsentLost, Refused, Unauthorised
from outbox.db import Connection, Pool
from outbox.event import Claimed
from outbox.seal import Sealer
from outbox.store import connections

GHL: Final = "ghl"
CONSENTS: Final = "ghl-oauth"  # a destination of its own: its outage stops no location, and a stopped location does not stop a consent
LOOK_S: Final = 3.0

_LOCATION: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def location_of(event: Claimed) -> str | None:
    """The location that an event names; None: none, so it is the default one's.

    A workflow's webhook says what its author typed, and its secret is not bound to a location: what it names is not believed.
    """
    if event.source == "ghl-workflow":
        return None
    try:
        payload = event.json()
    except ValueError:
        return None
    if not isinstance(payload, dict):
        return None
    if event.source == "sync":
        account = payload.get("account")
        return account if isinstance(account, str) else None
    inner, appointment = payload.get("data"), payload.get("appointment")
    named = payload.get("locationId") or (inner.get("locationId") if isinstance(inner, dict) else None)
    named = named or (appointment.get("location_id") if isinstance(appointment, dict) else None)
    return str(named) if isinstance(named, str | int) and named != "" else None


@dataclass(slots=True)
class _Known:
    client: GhlClient
    looked_at: float


@dataclass(frozen=True, slots=True)
class App:
    """What it takes to speak for others: our app at GHL, the tokens that it was given, and the key under which they are kept."""

    oauth: GhlOAuth
    tokens: Tokens
    sealer: Sealer


class GhlAccounts:
    """One for each process. `default` is the key's client; None: there is no key. `app` None: no app is set up.

    `budget(destination, location)` is the budget of a location.
    """

    def __init__(
        self,
        pool: Pool,
        http: Http,
        *,
        default: GhlClient | None,
        default_location: str | None,
        budget: Callable[[str, str], Budget],
        app: App | None = None,
    ) -> None:
        self._pool, self._http, self._budget, self._app = pool, http, budget, app
        self.default, self._default_location = default, default_location
        self._known: dict[str, _Known] = {}

    @property
    def has_app(self) -> bool:
        """Whether a consent can be ended here."""
        return self._app is not None

    def destination_of(self, location_id: str | None) -> str:
        """Under which name calls for this location fail and wait."""
        location_id = location_id or self._default_location
        if location_id is None or not _LOCATION.fullmatch(location_id):
            return GHL
        if location_id == self._default_location and (self.default is not None or not self.has_app):
            return GHL
        return location_name(location_id)

    async def client(self, location_id: str | None) -> GhlClient:
        """The client of a location; None is the default one.

        Raises NotConnected, or Unauthorised for one that waits for a consent (its events wait with it).
        """
        name = self.destination_of(location_id)
        location_id = location_id or self._default_location
        if name == GHL and self.default is not None and location_id == self._default_location:
            return self.default
        if name == GHL or location_id is None:
            raise NotConnected(f"location {(location_id or 'of none')[:64]} is not connected")
        known = self._known.get(name)
        if known is None or time.monotonic() - known.looked_at > LOOK_S:
            await self._look(name, location_id)
            known = self._known[name] = known or _Known(self._make(name, location_id), 0.0)
            known.looked_at = time.monotonic()
        return known.client

    async def _look(self, name: str, location_id: str) -> None:
        row = await connections.one(self._pool, name)
        if row is None or row["state"] == "uninstalled":
            self._known.pop(name, None)
            if self._app is not None:
                self._app.tokens.forget(name)
            raise NotConnected(f"location {location_id} is not connected")
        if row["state"] == "inactive":
            self._known.pop(name, None)
            raise ConsentLost(name, row["why"] or "it waits for a consent")
        if self._app is None:
            self._known.pop(name, None)
            self._ready(name)

    def _make(self, name: str, location_id: str) -> GhlClient:
        tokens = self._ready(name).tokens

        async def current() -> SecretStr:
            return await tokens.current(name)

        async def renew(refused: SecretStr) -> bool:
            return await tokens.renew(name, refused)

        return GhlClient(self._http.for_account(name, token=current, budget=self._budget(name, location_id), renew=renew), location_id)

    async def exchange(self, sealed_code: bytes, *, redirect_uri: str) -> Granted:
        """A sealed code for its pair, which keep() stores. Refused: GHL does not take the code (any more)."""
        app = self._ready(CONSENTS)
        granted = await app.oauth.exchange(app.sealer.open(sealed_code), redirect_uri=redirect_uri, at=CONSENTS)
        if not granted.location_id and not granted.company_id:
            raise Refused(CONSENTS, "the token names neither a location nor an agency", happened=None)
        return granted

    async def of_company(self, company_id: str, location_id: str) -> Granted:
        """A pair for one location of a connected agency. Raises NotConnected when the agency is not."""
        granted = await self._ready(CONSENTS).oauth.of_company(company_id, location_id, at=CONSENTS)
        return granted.model_copy(update={"location_id": location_id, "company_id": company_id})

    async def installed_locations(self, company_id: str) -> tuple[str, ...]:
        """The locations of a connected agency that have our app. Raises NotConnected when the agency is not."""
        return await self._ready(CONSENTS).oauth.installed_locations(company_id, at=CONSENTS)

    async def keep(self, connection: Connection, granted: Granted, *, at: datetime, label: str | None = None) -> str:
        """In the caller's transaction: stores the pair of a consent of time `at`. Returns the connection's name."""
        sealer = self._ready(CONSENTS).sealer
        location, company = granted.location_id, granted.company_id
        name, account = (location_name(location), location) if location else (company_name(company or ""), company or "")
        pair = granted.pair()
        await connections.connect(
            connection,
            name,
            provider=GHL,
            account=account,
            company_id=company,
            label=label,
            sealed=pair.seal(sealer),
            expires_in_s=pair.expires_in_s,
            at=at,
        )
        return name

    def _ready(self, destination: str) -> App:
        if self._app is None:
            raise Unauthorised(destination, "GHL_CLIENT_ID, GHL_CLIENT_SECRET or POSTROOM_ENCRYPTION_KEYS is not set for this dispatcher")
        return self._app
