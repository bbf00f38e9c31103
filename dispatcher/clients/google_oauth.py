"""Google's consent page and token endpoint: a link with a state and a PKCE challenge, a code for a pair, a refresh for an access token.

A refresh token stays the same until the consent is over, so nothing is lost by asking twice, and nobody asks ahead of time.
Stores nothing: that is oauth.Tokens and google_accounts.py.
"""

import base64
import hashlib
import secrets
from typing import Annotated, Final
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from dispatcher.clients.answer import read_as
from dispatcher.clients.http import Http, Unlimited
from dispatcher.clients.oauth import CALL_S, LIFE_UNTOLD_S, Account, Pair, life_s
from dispatcher.errors import ConsentLost, Refused

SCOPE: Final = "https://www.googleapis.com/auth/contacts.readonly"
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


def new_verifier() -> str:
    """PKCE: what proves at the exchange that it was us who sent the person out."""
    return secrets.token_urlsafe(48)


def consent_link(base_url: str, *, client_id: str, redirect_uri: str, state: str, verifier: str) -> str:
    """Where a person consents. Asked every time (`prompt`), because only then a refresh token comes for certain."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": SCOPE,
        "access_type": "offline",
        "prompt": "consent",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "state": state,
    }
    return f"{base_url.rstrip('/')}/o/oauth2/v2/auth?{urlencode(asked)}"


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
