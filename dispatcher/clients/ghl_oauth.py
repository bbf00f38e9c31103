"""GHL's token endpoint: a code for a pair, a refresh token for the next pair, an agency's token for one of its locations.

A refresh token counts once; the same question within 30 seconds has the same answer. "Location is not active" ends nothing: the same
refresh token works when the location does. Stores nothing: that is oauth.Tokens and accounts.py.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr

from dispatcher.clients.answer import items, member, read_as, text
from dispatcher.clients.ghl_calls import OAUTH_VERSION
from dispatcher.clients.ghl_errors import classify_ghl_oauth
from dispatcher.clients.ghl_models import Read, Text, Texts
from dispatcher.clients.http import Http, Renew, Token, Unlimited
from dispatcher.clients.oauth import CALL_S, LIFE_UNTOLD_S, Account, NotConnected, Pair, Tokens, life_s
from dispatcher.errors import ConsentLost, Failed, Forbidden, Gone, Refused, RemoteError

PAGE: Final = 100
MAX_PAGES: Final = 100
EXCHANGE_S: Final = 30.0

_COMPANY: Final = "ghl:company:"


class Granted(Read):
    """What the token endpoint gives out. A company's (an agency's) token reads no location's data: it makes tokens that do."""

    access_token: SecretStr = Field(min_length=1, validation_alias="access_token")
    refresh_token: SecretStr | None = Field(default=None, validation_alias="refresh_token")
    expires_in_s: Annotated[float, BeforeValidator(life_s)] = Field(default=LIFE_UNTOLD_S, validation_alias="expires_in")
    user_type: Text = None
    location_id: Text = None
    company_id: Text = None
    approved_locations: Texts = ()

    def pair(self, *, otherwise: SecretStr | None = None) -> Pair:
        """The tokens alone; `otherwise` is the refresh token that goes on counting when no other came."""
        return Pair(self.access_token, self.refresh_token or otherwise, self.expires_in_s)


def location_name(location_id: str) -> str:
    """The destination of a connected location."""
    return f"ghl:{location_id}"


def company_name(company_id: str) -> str:
    """The connection of an agency; nothing is sent to it, so no event waits for it."""
    return _COMPANY + company_id


class GhlOAuth:
    """`at` of every method is the destination that its failures name. One call each, where nothing else is said."""

    name: Final = "ghl"
    ahead: Final = True

    def __init__(self, http: Http, *, client_id: str, client_secret: SecretStr) -> None:
        self._http, self._client_id, self._client_secret = http, client_id, client_secret
        self.tokens: Tokens | None = None  # set once they are there: an agency's location is refreshed with the agency's token

    @property
    def app_id(self) -> str:
        """A client id is "<app id>-<suffix>"."""
        return self._client_id.partition("-")[0]

    async def exchange(self, code: SecretStr, *, redirect_uri: str, at: str) -> Granted:
        """A code for its pair, once. Refused: it was used, ran out, or is none."""
        # Without a user_type: what comes back says whether a location or a whole agency consented.
        form = {"grant_type": "authorization_code", "code": code.get_secret_value(), "redirect_uri": redirect_uri}
        return await self._ask(at, form, total_s=EXCHANGE_S)  # with patience: a code counts once, and nobody repeats its answer

    async def refresh(self, account: Account) -> Pair:
        """See Provider. A location whose own refresh token is dead gets a new pair from its agency, if that one is connected."""
        dead = ConsentLost(account.destination, "its token ended, and it came without one to refresh with")
        user_type: Literal["Company", "Location"] = "Company" if account.destination.startswith(_COMPANY) else "Location"
        if account.refresh is not None:
            form = {"grant_type": "refresh_token", "refresh_token": account.refresh.get_secret_value(), "user_type": user_type}
            try:
                return (await self._ask(account.destination, form)).pair(otherwise=account.refresh)
            except ConsentLost as problem:
                dead = problem
        if account.company_id is None or user_type == "Company":
            raise dead
        try:
            return (await self.of_company(account.company_id, account.name, at=account.destination)).pair()
        except (NotConnected, ConsentLost):
            raise dead from None
        except (Refused, Forbidden, Gone) as problem:
            raise ConsentLost(account.destination, problem.message, status=problem.status) from None

    async def of_company(self, company_id: str, location_id: str, *, at: str) -> Granted:
        """A pair for one location of a connected agency; the agency's own token is refreshed where that is due."""
        form = {"companyId": company_id, "locationId": location_id}
        try:
            http = self._as_company(company_id, at)
            answer = await http.call("POST", http.path("oauth", "locationToken"), form=form, headers={"version": OAUTH_VERSION})
        except RemoteError as problem:
            problem.destination = at  # the agency's own troubles are this account's
            raise
        return read_as(Granted, answer, destination=at)

    async def installed_locations(self, company_id: str, *, at: str) -> tuple[str, ...]:
        """The locations of a connected agency that have our app. One call for a hundred of them."""
        found: list[str] = []
        http = self._as_company(company_id, at)
        for page in range(MAX_PAGES):
            asked = {"companyId": company_id, "appId": self.app_id, "isInstalled": "true", "skip": str(page * PAGE), "limit": str(PAGE)}
            try:
                answer = await http.call("GET", http.path("oauth", "installedLocations"), params=asked, headers={"version": OAUTH_VERSION})
            except RemoteError as problem:
                problem.destination = at
                raise
            listed = member(answer, "locations")
            if not isinstance(listed, list):
                raise Failed(at, "the answer has no list of locations")
            found += [
                location for one in items(listed) if (location := text(member(one, "_id"))) and member(one, "isInstalled") is not False
            ]
            if len(listed) < PAGE:
                break
        return tuple(location for location in found if location)

    def _as_company(self, company_id: str, at: str) -> Http:
        assert self.tokens is not None
        tokens, name = self.tokens, company_name(company_id)

        async def current() -> SecretStr:
            return await tokens.current(name)

        async def renew(refused: SecretStr) -> bool:
            return await tokens.renew(name, refused)

        return self._at(at, token=current, renew=renew)

    def _at(self, destination: str, *, token: Token | None, renew: Renew | None = None, total_s: float = CALL_S) -> Http:
        # The token endpoint has a limit of its own, not that of a location; a refresh must not wait behind its calls.
        budget = Unlimited()
        return self._http.for_account(destination, token=token, budget=budget, classify=classify_ghl_oauth, renew=renew, total_s=total_s)

    async def _ask(self, at: str, form: Mapping[str, str], *, total_s: float = CALL_S) -> Granted:
        http = self._at(at, token=None, total_s=total_s)
        whole = {"client_id": self._client_id, "client_secret": self._client_secret.get_secret_value(), **form}
        answer = await http.call("POST", http.path("oauth", "token"), form=whole, headers={"version": OAUTH_VERSION})
        return read_as(Granted, answer, destination=at)
