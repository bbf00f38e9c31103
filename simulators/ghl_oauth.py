"""OAuth of the simulated GHL: consents, codes, token pairs, agencies and the locations that have the app.

A refresh token counts once; the same question within the time of grace has the same answer; a suspended location keeps its
token. Tokens are held to what the facts say; the words for wrong client credentials are not published and plausible only.
"""

import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from simulators.ghl_rules import Grant, Refusal
from simulators.samples import DEMO_COMPANY_ID
from simulators.shapes import Clock, JsonObject, iso_ms

GRACE_S = 30.0
_LETTERS = string.ascii_letters + string.digits


@dataclass(slots=True)
class Location:
    """A sub-account. `is_active` False: paused by its agency, or it does not pay."""

    id: str
    name: str
    company_id: str
    is_active: bool = True
    has_app: bool = False
    installed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Party:
    """Whose token it is: a location's, or an agency's with the locations that it approved."""

    company_id: str
    location_id: str | None
    approved: tuple[str, ...] = ()


@dataclass(slots=True)
class _Refresh:
    party: _Party
    used_at: datetime | None = None
    answered: JsonObject = field(default_factory=dict)


class GhlOAuthDesk:
    """One for each simulator. `refreshed` counts the pairs that were changed, not the questions."""

    def __init__(self, *, clock: Clock, rng: random.Random, token_life_s: float, client_id: str, client_secret: str) -> None:
        self._clock, self._rng, self._life_s = clock, rng, token_life_s
        self._client_id, self._client_secret = client_id, client_secret
        self.locations: dict[str, Location] = {}
        self.refreshed = 0
        self._codes: dict[str, tuple[_Party, str]] = {}
        self._refresh: dict[str, _Refresh] = {}
        self._access: dict[str, tuple[_Party, datetime]] = {}

    def add_location(self, location_id: str, name: str = "Example Salon", *, company_id: str = DEMO_COMPANY_ID) -> Location:
        """A sub-account, without the app."""
        self.locations[location_id] = Location(location_id, name, company_id)
        return self.locations[location_id]

    def consent(self, location_id: str, *, redirect_uri: str) -> str:
        """A person of the location consents; the app is installed. Returns the code."""
        location = self.locations[location_id]
        self.install(location_id)
        return self._code(_Party(location.company_id, location_id), redirect_uri)

    def consent_agency(self, company_id: str, *, redirect_uri: str, approved: tuple[str, ...] = ()) -> str:
        """A person of an agency consents, for these of its locations."""
        for location_id in approved:
            self.install(location_id)
        return self._code(_Party(company_id, None, approved), redirect_uri)

    def install(self, location_id: str) -> None:
        location = self.locations[location_id]
        location.has_app, location.installed_at = True, self._clock()

    def uninstall(self, location_id: str) -> None:
        """Its tokens end."""
        self.locations[location_id].has_app = False
        self._refresh = {token: one for token, one in self._refresh.items() if one.party.location_id != location_id}
        self._access = {token: one for token, one in self._access.items() if one[0].location_id != location_id}

    def expire(self, location_id: str | None = None) -> None:
        """Ends the access tokens of a location, or all."""
        self._access = {token: one for token, one in self._access.items() if location_id is not None and one[0].location_id != location_id}

    def granted(self, authorization: str) -> Grant | None:
        """What a token of ours may do; None when it is none, or ended."""
        party, until = self._access.get(authorization.partition(" ")[2], (None, None))
        if party is None or until is None or self._clock() >= until:
            return None
        return Grant(frozenset({party.location_id or party.company_id}), is_agency=party.location_id is None)

    def token(self, form: Mapping[str, str]) -> JsonObject:
        """POST /oauth/token."""
        grant_type = form.get("grant_type", "")
        for needed in ("client_id", "client_secret", "grant_type"):
            if not form.get(needed):
                raise Refusal(400, f"Missing parameter: {needed}")
        match grant_type:
            case "authorization_code":
                return self._exchange(form)
            case "refresh_token":
                return self._renewed(form)
        raise Refusal(400, "Invalid parameter: grant_type")

    def location_token(self, authorization: str, form: Mapping[str, str]) -> JsonObject:
        """POST /oauth/locationToken: an agency's token for one of its locations."""
        party = self._agency(authorization)
        location = self.locations.get(form.get("locationId", ""))
        if form.get("companyId") != party.company_id or location is None or location.company_id != party.company_id:
            raise Refusal(400, "Location not found")
        if not location.has_app:
            raise Refusal(400, "The app is not installed on this location")
        return self._pair(_Party(party.company_id, location.id))

    def installed_locations(self, authorization: str, query: Mapping[str, str]) -> JsonObject:
        """GET /oauth/installedLocations."""
        party = self._agency(authorization)
        if query.get("companyId") != party.company_id or query.get("appId") != self._client_id.partition("-")[0]:
            raise Refusal(400, "Company or app not found")
        found = [one for one in self.locations.values() if one.company_id == party.company_id and one.has_app]
        skip, limit = int(query.get("skip", "0")), int(query.get("limit", "20"))
        listed = [
            {"_id": one.id, "name": one.name, "address": "", "isInstalled": True, "installedAt": iso_ms(one.installed_at or self._clock())}
            for one in found[skip : skip + limit]
        ]
        return {"locations": listed, "count": len(found), "installToFutureLocations": True}

    def _exchange(self, form: Mapping[str, str]) -> JsonObject:
        # The code is looked at before the client's secret.
        party, redirect_uri = self._codes.pop(form.get("code", ""), (None, ""))
        if party is None or form.get("redirect_uri", redirect_uri) != redirect_uri:
            raise _unauthorised("Authorization code not found")
        self._check_client(form)
        return self._pair(party)

    def _renewed(self, form: Mapping[str, str]) -> JsonObject:
        self._check_client(form)
        known = self._refresh.get(form.get("refresh_token", ""))
        now = self._clock()
        if known is None or (known.used_at is not None and now - known.used_at > timedelta(seconds=GRACE_S)):
            raise Refusal(400, "Invalid grant: refresh token is invalid")
        location = self.locations.get(known.party.location_id or "")
        if location is not None and not location.is_active:
            raise Refusal(400, "Location is not active")
        if known.used_at is None:
            self.refreshed += 1
            known.used_at, known.answered = now, self._pair(known.party)
        return dict(known.answered)

    def _agency(self, authorization: str) -> _Party:
        if self.granted(authorization) is None:
            raise Refusal(401, "Invalid token: access token is invalid")
        party, _ = self._access[authorization.partition(" ")[2]]
        if party.location_id is not None:
            raise Refusal(401, "Token's user type mismatch!")
        return party

    def _check_client(self, form: Mapping[str, str]) -> None:
        if (form["client_id"], form["client_secret"]) != (self._client_id, self._client_secret):
            raise _unauthorised("Invalid client credentials!")

    def _code(self, party: _Party, redirect_uri: str) -> str:
        code = self._secret("code")
        self._codes[code] = (party, redirect_uri)
        return code

    def _pair(self, party: _Party) -> JsonObject:
        access, refresh = self._secret("eyJ"), self._secret("refresh")
        self._access[access] = (party, self._clock() + timedelta(seconds=self._life_s))
        self._refresh[refresh] = _Refresh(party)
        answer: JsonObject = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": int(self._life_s),
            "refresh_token": refresh,
            "scope": "contacts.readonly contacts.write",
            "userType": "Location" if party.location_id else "Company",
            "companyId": party.company_id,
            "userId": "DemoUser000000000001",
        }
        if party.location_id:
            return answer | {"locationId": party.location_id}
        return answer | {"approvedLocations": list(party.approved), "isBulkInstallation": True}

    def _secret(self, word: str) -> str:
        return f"{word}-{''.join(self._rng.choices(_LETTERS, k=40))}"


def _unauthorised(description: str) -> Refusal:
    refusal = Refusal(401, description)
    refusal.body = {"error": "UnAuthorized!", "error_description": description}
    return refusal


def oauth_routes(desk: Callable[[], GhlOAuthDesk], *, consents_for: str) -> list[Route]:
    """The token endpoints, and the page on which a person consents (here at once, for the location `consents_for`)."""

    async def token(request: Request) -> Response:
        return await _answered(request, desk().token)

    async def location_token(request: Request) -> Response:
        return await _answered(request, partial(desk().location_token, request.headers.get("authorization", "")))

    async def installed(request: Request) -> Response:
        found = partial(desk().installed_locations, request.headers.get("authorization", ""), request.query_params)
        return await _answered(request, lambda _: found())

    async def choose(request: Request) -> Response:
        asked = request.query_params
        code = desk().consent(consents_for, redirect_uri=asked["redirect_uri"])
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked.get('state', '')})}", 302)

    return [
        Route("/oauth/token", token, methods=["POST"]),
        Route("/oauth/locationToken", location_token, methods=["POST"]),
        Route("/oauth/installedLocations", installed, methods=["GET"]),
        Route("/v2/oauth/chooselocation", choose, methods=["GET"]),
    ]


async def _answered(request: Request, answer: Callable[[Mapping[str, str]], JsonObject]) -> Response:
    form = dict(parse_qsl((await request.body()).decode("latin-1")))
    try:
        return JSONResponse(answer(form))
    except Refusal as refusal:
        return JSONResponse(refusal.body, refusal.status)
