"""The simulated Google: one Starlette app for its consent page, its token endpoint and the People API.

    gate (log, faults) ─▶ token ─▶ scope ─▶ parameters ─▶ quotas ─▶ connections.list
                      └▶ /o/oauth2/v2/auth, /token: see google_oauth

Each instance is a world of its own, in memory, with an address book for each account. Nothing of it can be written through the API,
so that its effects stay empty: whoever syncs only reads. The order of the checks is not documented by Google; it is ours.
"""

import random
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulators.control import control_routes, put_route
from simulators.effects import Effects
from simulators.faults import Faults
from simulators.gate import Answer, Gate
from simulators.google_oauth import GoogleOAuthDesk, Grant, oauth_routes
from simulators.google_rules import (
    Refusal,
    bound_to,
    check_words,
    fields_of,
    page_size_of,
    refusal,
    too_many_full_syncs,
    too_many_reads,
)
from simulators.google_store import GoogleStore
from simulators.limits import Budget
from simulators.request_log import RequestLog
from simulators.samples import DEMO_GOOGLE_ACCOUNT, DEMO_GOOGLE_CLIENT_ID, DEMO_GOOGLE_CLIENT_SECRET
from simulators.shapes import Clock, JsonObject, compact, new_rng, utc_now


@dataclass(frozen=True, slots=True)
class GoogleSettings:
    """Quotas count per account and minute. `is_testing`: the app is not published, so that each consent ends after 7 days."""

    client_id: str = DEMO_GOOGLE_CLIENT_ID
    client_secret: str = DEMO_GOOGLE_CLIENT_SECRET
    token_life_s: float = 3_599.0
    is_testing: bool = False
    reads_per_minute: int = 90
    full_syncs_per_minute: int = 10
    latency_s: float = 0.0


class GoogleSimulator:
    """`app` is served; `effects`, `faults`, `requests`, `store`, `oauth` are for tests; `put_contact` and its kin are an account owner."""

    def __init__(self, settings: GoogleSettings | None = None, *, clock: Clock = utc_now, rng: random.Random | None = None) -> None:
        self.settings = settings or GoogleSettings()
        self._clock = clock
        self._rng = rng or new_rng()
        self.effects = Effects(clock=clock)
        self.faults = Faults(rng=self._rng)
        self.requests = RequestLog()
        self._reads = Budget(self.settings.reads_per_minute, 60.0)
        self._full_syncs = Budget(self.settings.full_syncs_per_minute, 60.0)
        self.store = GoogleStore(clock=clock, rng=self._rng)
        self.oauth = self._empty_desk()
        self.app = self._build_app()

    def put_contact(self, account: str = DEMO_GOOGLE_ACCOUNT, resource_name: str | None = None, **values: Any) -> JsonObject:
        """Create or change a contact as the account's owner would. `values`: those of google_person.Values."""
        return deepcopy(self.store.put(account, resource_name, values))

    def remove_contact(self, account: str, resource_name: str) -> None:
        self.store.remove(account, resource_name)

    def rename_contact(self, account: str, resource_name: str) -> str:
        """Google gives the contact another name. Returns it."""
        return self.store.rename(account, resource_name)

    def state(self) -> JsonObject:
        """A copy of every contact, by account."""
        books = self.store.books
        return deepcopy({account: [person.document for person in book.people.values()] for account, book in books.items()})

    def reset(self) -> None:
        """Back to a new instance with the same settings. What hangs is let go."""
        self.store = GoogleStore(clock=self._clock, rng=self._rng)
        self.oauth = self._empty_desk()
        self.effects.clear()
        self.faults.clear()
        self.requests.clear()
        self._reads.clear()
        self._full_syncs.clear()

    def _empty_desk(self) -> GoogleOAuthDesk:
        settings = self.settings
        return GoogleOAuthDesk(
            clock=self._clock,
            rng=self._rng,
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            token_life_s=settings.token_life_s,
            is_testing=settings.is_testing,
        )

    def _build_app(self) -> Starlette:
        app = Starlette(
            routes=[
                *control_routes(self, extra=[put_route("/_sim/contacts", self._put_contact_door)]),
                *oauth_routes(lambda: self.oauth, consents_as=DEMO_GOOGLE_ACCOUNT),
                Route("/v1/people/me/connections", self._connections, methods=["GET"]),
            ],
            middleware=[
                Middleware(
                    Gate,
                    faults=self.faults,
                    requests=self.requests,
                    said_with=_said_with,
                    latency_s=self.settings.latency_s,
                    clock=self._clock,
                )
            ],
            exception_handlers={HTTPException: _unknown_path},
        )
        app.router.redirect_slashes = False
        return app

    async def _connections(self, request: Request) -> Response:
        try:
            grant = self._granted(request)
            return JSONResponse(self._list(grant.account, request))
        except Refusal as refused:
            return JSONResponse(refused.body, refused.status)

    def _granted(self, request: Request) -> Grant:
        grant = self.oauth.granted(request.headers.get("authorization", ""))
        if grant is None:
            raise refusal(401)
        if not grant.may_read_contacts:
            raise refusal(403)
        return grant

    def _list(self, account: str, request: Request) -> JsonObject:
        query = request.query_params
        fields, page_size = fields_of(query), page_size_of(query)
        check_words(query)
        page_token, sync_token = query.get("pageToken") or None, query.get("syncToken") or None
        now = self._clock()
        if not self._reads.take(account, now):
            raise too_many_reads()
        if page_token is None and sync_token is None and not self._full_syncs.take(account, now):
            raise too_many_full_syncs()
        found = self.store.list(account, bound_to(query), page_size=page_size, page_token=page_token, sync_token=sync_token)
        shown = {"resourceName", "etag", *fields}
        if "connections" in found:
            found["connections"] = [{name: value for name, value in person.items() if name in shown} for person in found["connections"]]
        return found

    def _put_contact_door(self, document: JsonObject) -> JsonObject:
        """`{"account"?, "resourceName"?, …values}`; with `"deleted": true` it is removed, with `"renamed": true` it gets another name."""
        account = document.pop("account", DEMO_GOOGLE_ACCOUNT)
        name = document.pop("resourceName", None)
        deleted, renamed = document.pop("deleted", False), document.pop("renamed", False)
        if (deleted or renamed) and name not in self.store.book(account).people:
            raise ValueError(f"no such contact: {name}")
        if deleted:
            self.remove_contact(account, name)
            return {"resourceName": name, "deleted": True}
        if renamed:
            return {"resourceName": self.rename_contact(account, name)}
        return self.put_contact(account, name, **document)


def _said_with(status: int) -> Answer:
    """What Google says with a status that a fault asked for."""
    return Answer(status, (("content-type", "application/json; charset=UTF-8"),), compact(refusal(status).body))


async def _unknown_path(_: Request, __: Exception) -> Response:
    refused = refusal(404)
    return JSONResponse(refused.body, 404)
