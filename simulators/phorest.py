"""The simulated Phorest: one Starlette app that only reads, its state, its faults, and the checks every call passes.

    gate (log, faults) ─▶ Basic ─▶ business ─▶ rate ─▶ endpoint

As at the real one: names of a query that it does not know are ignored, what is archived, deleted or cancelled is left out unless a flag
asks for it, an empty page has no `_embedded`, a 401 has no body and a 429 no Retry-After. Sends no webhooks, for Phorest has none.
"""

import base64
import random
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulators import samples
from simulators.control import control_routes, put_route
from simulators.effects import Effects
from simulators.faults import Faults
from simulators.gate import Answer, Gate
from simulators.limits import Budget
from simulators.phorest_store import SHAPES, PhorestStore
from simulators.request_log import RequestLog
from simulators.shapes import Clock, JsonObject, compact, new_rng, parse_instant, utc_now

BASE = "/third-party-api-server/api/business/{business}"
_TOO_MANY = "Request rate limit exceeded. Current limit set to {} rps"
_LONGEST_WINDOW = timedelta(days=31)


class PhorestRefusal(Exception):
    """An answer that is not the wanted one."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True, slots=True)
class PhorestSettings:
    """The one credential there is, and what it may do a second."""

    username: str = samples.DEMO_PHOREST_USERNAME
    password: str = samples.DEMO_PHOREST_PASSWORD
    business_id: str = samples.DEMO_BUSINESS_ID
    requests_per_second: int = 100
    latency_s: float = 0.0


class PhorestSpec(BaseModel):
    """Body of POST /_sim/{clients,appointments,staff,products}: an id, and members as Phorest names them; `removed` means gone for good."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    removed: bool = False


Endpoint: TypeAlias = Callable[[Request], JsonObject]


class PhorestSimulator:
    """`app` is served; `faults`, `requests` and `store` are for tests; `put` is what people in a salon do."""

    def __init__(self, settings: PhorestSettings | None = None, *, clock: Clock = utc_now, rng: random.Random | None = None) -> None:
        self.settings = settings or PhorestSettings()
        self._clock, self._rng = clock, rng or new_rng()
        self.effects, self.faults, self.requests = Effects(clock=clock), Faults(rng=self._rng), RequestLog()
        self.password = self.settings.password
        self._budget = Budget(self.settings.requests_per_second, 1.0)
        self.store = PhorestStore(clock, self._rng)
        self.app = self._build_app()

    def put(self, collection: str, document_id: str | None = None, **fields: object) -> JsonObject:
        """Create or change a document of `clients`, `appointments`, `staffs` or `products`. ValueError says what is wrong."""
        return deepcopy(self.store.put(collection, document_id, fields))

    def put_client(self, client_id: str | None = None, **fields: object) -> JsonObject:
        return self.put("clients", client_id, **fields)

    def put_appointment(self, appointment_id: str | None = None, **fields: object) -> JsonObject:
        return self.put("appointments", appointment_id, **fields)

    def merge_client(self, loser: str, winner: str) -> None:
        """As Phorest does: the loser is archived and points to the winner."""
        self.put("clients", loser, archived=True, mergedToClientId=winner)

    def remove(self, collection: str, document_id: str) -> None:
        """Gone for good: only a 404 tells."""
        self.store.documents[collection].pop(document_id, None)

    def state(self) -> JsonObject:
        """A copy of everything stored."""
        return deepcopy({"branches": self.store.branches, **self.store.documents})

    def reset(self) -> None:
        """Back to a new instance with the same settings. What hangs is let go."""
        self.store = PhorestStore(self._clock, self._rng)
        self.password = self.settings.password
        self.effects.clear()
        self.faults.clear()
        self.requests.clear()
        self._budget.clear()

    def _build_app(self) -> Starlette:
        doors = [put_route(f"/_sim/{name}", self._door(name)) for name in SHAPES]
        endpoints: dict[str, Endpoint] = {
            "/branch": self._branches,
            "/client": self._clients,
            "/client/{id}": self._one("clients"),
            "/branch/{branch}/appointment": self._appointments,
            "/branch/{branch}/appointment/{id}": self._one("appointments"),
            "/branch/{branch}/staff": self._staff,
            "/branch/{branch}/product": self._products,
        }
        app = Starlette(
            routes=[
                *control_routes(self, extra=doors),
                *(Route(BASE + path, self._endpoint(endpoint), methods=["GET"]) for path, endpoint in endpoints.items()),
            ],
            middleware=[
                Middleware(
                    Gate,
                    faults=self.faults,
                    requests=self.requests,
                    said_with=self._said_with,
                    latency_s=self.settings.latency_s,
                    clock=self._clock,
                )
            ],
            exception_handlers={HTTPException: self._unknown_path},
        )
        app.router.redirect_slashes = False
        return app

    def _endpoint(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            try:
                self._check(request)
                return JSONResponse(endpoint(request))
            except PhorestRefusal as refusal:
                return _response(refusal)

        return handle

    def _check(self, request: Request) -> None:
        sent = request.headers.get("authorization", "").removeprefix("Basic ")
        if sent != base64.b64encode(f"{self.settings.username}:{self.password}".encode()).decode():
            raise PhorestRefusal(401, "")
        if request.path_params["business"] != self.settings.business_id:
            raise PhorestRefusal(403, "Access denied")
        if "branch" in request.path_params and request.path_params["branch"] not in self.store.branches:
            raise PhorestRefusal(404, "Branch not found")
        if not self._budget.take("all", self._clock()):
            raise PhorestRefusal(429, _TOO_MANY.format(self.settings.requests_per_second))

    def _said_with(self, status: int) -> Answer:
        said = {401: "", 429: _TOO_MANY.format(self.settings.requests_per_second)}.get(status, "Something went wrong")
        answer = _response(PhorestRefusal(status, said))
        return Answer(status, tuple((name, value) for name, value in answer.headers.items()), bytes(answer.body))

    async def _unknown_path(self, _: Request, __: Exception) -> Response:
        return _response(PhorestRefusal(404, "Not found"))

    def _door(self, collection: str) -> Callable[[JsonObject], JsonObject]:
        def put(document: JsonObject) -> JsonObject:
            spec = PhorestSpec.model_validate(document)
            if spec.removed and spec.id:
                self.remove(collection, spec.id)
                return {"id": spec.id, "removed": True}
            return self.put(collection, spec.id, **spec.fields)

        return put

    # ── endpoints

    def _branches(self, request: Request) -> JsonObject:
        rows = [{"branchId": branch_id, "name": name} for branch_id, name in self.store.branches.items()]
        return _page(request, "branches", rows)

    def _one(self, collection: str) -> Endpoint:
        def endpoint(request: Request) -> JsonObject:
            found = self.store.documents[collection].get(request.path_params["id"])
            if found is None or found.get("branchId") != request.path_params.get("branch", found.get("branchId")):
                raise PhorestRefusal(404, "Not found")
            return found

        return endpoint

    def _clients(self, request: Request) -> JsonObject:
        hidden = {"archived": "includeArchived", "deleted": "includeDeleted"}
        rows = [row for row in self.store.rows("clients") if _is_shown(row, request, hidden)]
        return _page(request, "clients", _changed(rows, request, "updatedAfter", "updatedBefore"))

    def _appointments(self, request: Request) -> JsonObject:
        first, last = (parse_instant(request.query_params.get(name, "")) for name in ("from_date", "to_date"))
        if first is None or last is None or last - first > _LONGEST_WINDOW:
            raise PhorestRefusal(400, "from_date and to_date are required and span at most one month")
        days = first.date().isoformat(), last.date().isoformat()
        rows = [
            row
            for row in self.store.rows("appointments", request.path_params["branch"])
            if days[0] <= row["appointmentDate"] <= days[1]
            and _is_shown(row, request, {"deleted": "fetch_deleted"})
            and (row["activationState"] != "CANCELED" or request.query_params.get("fetch_canceled") == "true")
        ]
        return _page(request, "appointments", _changed(rows, request, "updated_from", "updated_to"))

    def _staff(self, request: Request) -> JsonObject:
        rows = [
            row
            for row in self.store.rows("staffs", request.path_params["branch"])
            if _is_shown(row, request, {"archived": "fetch_archived"})
        ]
        return _page(request, "staffs", rows)

    def _products(self, request: Request) -> JsonObject:
        return _page(request, "products", self.store.rows("products", request.path_params["branch"]))


def _is_shown(row: JsonObject, request: Request, hidden: dict[str, str]) -> bool:
    return all(not row[name] or request.query_params.get(flag) == "true" for name, flag in hidden.items())


def _changed(rows: list[JsonObject], request: Request, since: str, until: str) -> list[JsonObject]:
    first, last = (parse_instant(request.query_params.get(name, "")) for name in (since, until))
    at = {id(row): parse_instant(row["updatedAt"]) for row in rows}
    return [row for row in rows if (then := at[id(row)]) and (first is None or then >= first) and (last is None or then <= last)]


def _page(request: Request, plural: str, rows: list[JsonObject]) -> JsonObject:
    try:
        size, number = min(100, int(request.query_params.get("size", "20"))), int(request.query_params.get("page", "0"))
    except ValueError:
        raise PhorestRefusal(400, "page and size must be numbers") from None
    shown = rows[number * size : (number + 1) * size]
    counts = {"size": size, "totalElements": len(rows), "totalPages": -(-len(rows) // size), "number": number}
    return {"_embedded": {plural: shown}, "page": counts} if shown else {"page": counts}


def _response(refusal: PhorestRefusal) -> Response:
    if refusal.status in (401, 429):
        return Response(refusal.message, refusal.status, media_type="text/plain")
    return Response(compact({"message": refusal.message}), refusal.status, media_type="application/json")
