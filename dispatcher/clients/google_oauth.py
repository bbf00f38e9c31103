"""Google's token endpoint: a code for a pair, a refresh for an access token.

A refresh token stays the same until the consent is over, so nothing is lost by asking twice, and nobody asks ahead of time.
Stores nothing: that is oauth.Tokens and google_accounts.py. The link to the consent page is outbox.google_consent's.
"""

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from dispatcher.clients.answer import read_as
from dispatcher.clients.http import Http, Unlimited
from dispatcher.clients.oauth import CALL_S, LIFE_UNTOLD_S, Account, Pair, life_s
from dispatcher.errors import ConsentLost, Refused
from outbox.google_consent import SCOPE

_ENOUGH: Final = frozenset({SCOPE, "https://www.googleapis.com/auth/contacts"})
EXCHANGE_S: Final = 30.0


class Granted(BaseModel):
    """What the token endpoint gives out. A refresh token comes with a code only, and `scope` is what the person left ticked."""

    model_config = ConfigDict(frozen=True)

    access_token: SecretStr = Field(min_length=1)
    refresh_token: SecretStr | None = None
    expires_in: Annotated[float, BeforeValidator(life_s)] = LIFE_UNTOLD_S
    scope: str = ""

    @property
    def may_read_contacts(self) -> bool:
        """Whether the person left it ticked. One that says no scopes at all is believed."""
        return not self.scope or bool(_ENOUGH & set(self.scope.split()))

    def pair(self, *, otherwise: SecretStr | None = None) -> Pair:
        """The tokens alone; `otherwise` is the refresh token that goes on counting when no other came."""
        return Pair(self.access_token, self.refresh_token or otherwise, self.expires_in)


class GoogleOAuth:
    """`http` is the token endpoint's; the destination that failures name is the account's, or `at`."""

    name: Final = "google"
    ahead: Final = False

    def __init__(self, http: Http, *, client_id: str, client_secret: SecretStr) -> None:
        self._http, self._client_id, self._client_secret = http, client_id, client_secret

    async def exchange(self, code: SecretStr, *, verifier: SecretStr, redirect_uri: str, at: str) -> Granted:
        """A code for its pair, once. Refused: it was used, ran out, is none, or was given to somebody else's request."""
        form = {
            "grant_type": "authorization_code",
            "code": code.get_secret_value(),
            "code_verifier": verifier.get_secret_value(),
            "redirect_uri": redirect_uri,
        }
        try:
            return await self._ask(at, form, total_s=EXCHANGE_S)
        except ConsentLost as problem:  # the same word says of a code that it is none
            raise Refused(at, problem.message, status=problem.status, details=problem.details) from None

    async def refresh(self, account: Account) -> Pair:
        """See Provider."""
        if account.refresh is None:
            raise ConsentLost(account.destination, "its token ended, and it came without one to refresh with")
        form = {"grant_type": "refresh_token", "refresh_token": account.refresh.get_secret_value()}
        return (await self._ask(account.destination, form)).pair(otherwise=account.refresh)

    async def _ask(self, at: str, form: dict[str, str], *, total_s: float = CALL_S) -> Granted:
        http = self._http.for_account(at, token=None, budget=Unlimited(), total_s=total_s)
        whole = {"client_id": self._client_id, "client_secret": self._client_secret.get_secret_value(), **form}
        return read_as(Granted, await http.call("POST", http.path("token"), form=whole), destination=at)
