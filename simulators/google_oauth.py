"""OAuth of the simulated Google: the consent page, codes bound to their PKCE challenge, access tokens, refresh tokens that stay.

A refresh token counts until it is revoked, runs out (an app in "Testing": 7 days) or is the oldest of more than a hundred of its
account. A refresh gives no new one.
"""

import base64
import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from simulators.google_rules import CONTACTS_READONLY_SCOPE, CONTACTS_SCOPE, Refusal, granted_wrong
from simulators.shapes import Clock, JsonObject

LIVE_TOKENS_OF_AN_ACCOUNT = 100
TESTING_LIFE_S = 604_799


@dataclass(frozen=True, slots=True)
class _Code:
    account: str
    redirect_uri: str
    challenge: str | None
    scope: str
    is_offline: bool


@dataclass(frozen=True, slots=True)
class _Refresh:
    account: str
    scope: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Grant:
    """What an access token may do."""

    account: str
    scope: str

    @property
    def may_read_contacts(self) -> bool:
        return bool({CONTACTS_SCOPE, CONTACTS_READONLY_SCOPE} & set(self.scope.split()))


class GoogleOAuthDesk:
    """One for each simulator. `grants_scope` None: people grant what is asked; they may untick it. `is_testing`: consents end in 7 days."""

    def __init__(
        self, *, clock: Clock, rng: random.Random, client_id: str, client_secret: str, token_life_s: float, is_testing: bool = False
    ) -> None:
        self._clock, self._rng, self._life_s, self._is_testing = clock, rng, token_life_s, is_testing
        self._client_id, self._client_secret = client_id, client_secret
        self.grants_scope: str | None = None
        self._codes: dict[str, _Code] = {}
        self._refresh: dict[str, _Refresh] = {}
        self._access: dict[str, tuple[Grant, datetime]] = {}

    def consent(
        self, account: str, *, redirect_uri: str, scope: str = CONTACTS_READONLY_SCOPE, challenge: str | None = None, offline: bool = True
    ) -> str:
        """A person consents. Returns the code. `challenge`: S256 of the verifier."""
        code = self._secret("4/0A")
        granted = self.grants_scope if self.grants_scope is not None else scope
        self._codes[code] = _Code(account, redirect_uri, challenge, granted, offline)
        return code

    def revoke(self, account: str) -> None:
        """The person took the consent back: all tokens of the account end."""
        self._refresh = {token: one for token, one in self._refresh.items() if one.account != account}
        self.expire(account)

    def expire(self, account: str) -> None:
        """Ends the access tokens of an account."""
        self._access = {token: one for token, one in self._access.items() if one[0].account != account}

    def granted(self, authorization: str) -> Grant | None:
        """What a token of ours may do; None when it is none, or ended."""
        scheme, _, token = authorization.partition(" ")
        grant, until = self._access.get(token, (None, None))
        return grant if scheme.lower() == "bearer" and until is not None and self._clock() < until else None

    def page(self, query: Mapping[str, str], *, account: str) -> str | Refusal:
        """GET /o/oauth2/v2/auth: where the person is sent back to, having consented at once; a Refusal is a page of Google's own."""
        if query.get("client_id") != self._client_id:
            return granted_wrong("invalid_client", "The OAuth client was not found.", 401)
        if query.get("response_type") != "code" or not query.get("redirect_uri") or not query.get("scope"):
            return granted_wrong("invalid_request", "Required parameter is missing: response_type, redirect_uri or scope")
        if query.get("code_challenge_method", "S256") != "S256":
            return granted_wrong("invalid_request", "Invalid code_challenge_method")
        code = self.consent(
            account,
            redirect_uri=query["redirect_uri"],
            scope=query["scope"],
            challenge=query.get("code_challenge"),
            offline=query.get("access_type") == "offline",
        )
        back = {"state": query.get("state", ""), "code": code, "scope": self._codes[code].scope}
        return f"{query['redirect_uri']}?{urlencode(back)}"

    def token(self, form: Mapping[str, str]) -> JsonObject:
        """POST /token."""
        if form.get("client_id") != self._client_id:
            raise granted_wrong("invalid_client", "The OAuth client was not found.", 401)
        if form.get("client_secret") != self._client_secret:
            raise granted_wrong("invalid_client", "Unauthorized", 401)
        match form.get("grant_type"):
            case "authorization_code":
                return self._exchange(form)
            case "refresh_token":
                return self._renewed(form)
        raise granted_wrong("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")

    def _exchange(self, form: Mapping[str, str]) -> JsonObject:
        code = self._codes.pop(form.get("code", ""), None)
        if code is None:
            raise granted_wrong("invalid_grant", "Malformed auth code.")
        if form.get("redirect_uri") != code.redirect_uri:
            raise granted_wrong("redirect_uri_mismatch", "Bad Request")
        if code.challenge is not None and _s256(form.get("code_verifier", "")) != code.challenge:
            raise granted_wrong("invalid_grant", "Invalid code verifier.")
        answer = self._access_token(code.account, code.scope)
        if code.is_offline:
            answer["refresh_token"] = self._refresh_token(code)
            if self._is_testing:
                answer["refresh_token_expires_in"] = TESTING_LIFE_S
        return answer

    def _renewed(self, form: Mapping[str, str]) -> JsonObject:
        known = self._refresh.get(form.get("refresh_token", ""))
        if known is None or (known.until is not None and self._clock() >= known.until):
            raise granted_wrong("invalid_grant", "Token has been expired or revoked.")
        return self._access_token(known.account, known.scope)

    def _access_token(self, account: str, scope: str) -> JsonObject:
        token = self._secret("ya29.")
        self._access[token] = (Grant(account, scope), self._clock() + timedelta(seconds=self._life_s))
        return {"access_token": token, "expires_in": int(self._life_s), "scope": scope, "token_type": "Bearer"}

    def _refresh_token(self, code: _Code) -> str:
        token = self._secret("1//0")
        until = self._clock() + timedelta(seconds=TESTING_LIFE_S) if self._is_testing else None
        self._refresh[token] = _Refresh(code.account, code.scope, until)
        for oldest in [name for name, one in self._refresh.items() if one.account == code.account][:-LIVE_TOKENS_OF_AN_ACCOUNT]:
            del self._refresh[oldest]
        return token

    def _secret(self, word: str) -> str:
        return f"{word}demo-{self._rng.getrandbits(160):040x}"


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def oauth_routes(desk: Callable[[], GoogleOAuthDesk], *, consents_as: str) -> list[Route]:
    """The consent page, on which the person of `login_hint`, or else `consents_as`, consents at once, and the token endpoint."""

    async def page(request: Request) -> Response:
        to = desk().page(request.query_params, account=request.query_params.get("login_hint", consents_as))
        return RedirectResponse(to, 302) if isinstance(to, str) else PlainTextResponse(f"Error: {to.body['error']}", to.status)

    async def token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("latin-1")))
        try:
            return JSONResponse(desk().token(form))
        except Refusal as refused:
            return JSONResponse(refused.body, refused.status)

    return [Route("/o/oauth2/v2/auth", page, methods=["GET"]), Route("/token", token, methods=["POST"])]
