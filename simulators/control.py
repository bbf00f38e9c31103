"""The doors under `/_sim/` through which another process arranges and inspects a simulator.

Not part of any provider's API: no token, loopback only. The same things are attributes in-process.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from simulators.effects import Effects
from simulators.faults import FaultKind, Faults
from simulators.request_log import RequestLog
from simulators.shapes import JsonObject, parsed


class Controlled(Protocol):
    """What a simulator offers to its control doors."""

    effects: Effects
    faults: Faults
    requests: RequestLog

    def state(self) -> JsonObject: ...
    def reset(self) -> None: ...


class FaultSpec(BaseModel):
    """Body of POST /_sim/faults: the arguments of `Faults.add`."""

    model_config = ConfigDict(extra="forbid")

    kind: FaultKind
    path: str = "**"
    method: str = "*"
    times: int | None = 1
    probability: float = 1.0
    status: int = 503
    headers: dict[str, str] = Field(default_factory=dict)
    body: dict[str, Any] | str | None = None
    delay_s: float = 0.0
    after_work: bool = False


async def body_object(request: Request) -> JsonObject:
    """The JSON object of a control request; an empty body is an empty object. ValueError when it is something else."""
    raw = await request.body()
    document = parsed(raw) if raw.strip() else {}
    if not isinstance(document, dict):
        raise ValueError("the body must be a JSON object")
    return document


def refused(problem: ValueError) -> JSONResponse:
    if isinstance(problem, ValidationError):
        return JSONResponse({"error": problem.errors(include_url=False, include_context=False, include_input=False)}, 400)
    return JSONResponse({"error": str(problem)}, 400)


def control_routes(simulator: Controlled, *, extra: Sequence[Route] = ()) -> list[Route]:
    """Routes of everything that all simulators share, and the simulator's own."""

    async def effects(_: Request) -> JSONResponse:
        return JSONResponse(simulator.effects.totals())

    async def requests(request: Request) -> JSONResponse:
        seen = simulator.requests.list(request.query_params.get("method", "*"), request.query_params.get("path", "**"))
        return JSONResponse({"total": simulator.requests.total, "requests": [one.as_json() for one in seen]})

    async def add_fault(request: Request) -> JSONResponse:
        try:
            spec = FaultSpec.model_validate(await body_object(request))
            fault_id = simulator.faults.add(**dict(spec))
        except ValueError as problem:
            return refused(problem)
        return JSONResponse({"id": fault_id}, 201)

    async def list_faults(request: Request) -> JSONResponse:
        """`?hanging=N&timeout_s=S` answers as soon as N requests hang, at the latest after S seconds (5)."""
        try:
            wanted = int(request.query_params.get("hanging", "0"))
            timeout_s = float(request.query_params.get("timeout_s", "5"))
        except ValueError as problem:
            return refused(problem)
        with suppress(TimeoutError):
            await asyncio.wait_for(simulator.faults.wait_hanging(wanted), timeout_s)
        return JSONResponse({"faults": simulator.faults.as_json(), "hanging": simulator.faults.hanging})

    async def clear_faults(request: Request) -> JSONResponse:
        return JSONResponse({"cleared": simulator.faults.clear(request.path_params.get("fault_id"))})

    async def release(request: Request) -> JSONResponse:
        try:
            document = await body_object(request)
        except ValueError as problem:
            return refused(problem)
        return JSONResponse({"released": simulator.faults.release(document.get("id"))})

    async def state(_: Request) -> JSONResponse:
        return JSONResponse(simulator.state())

    async def reset(_: Request) -> JSONResponse:
        simulator.reset()
        return JSONResponse({"reset": True})

    return [
        Route("/_sim/effects", effects, methods=["GET"]),
        Route("/_sim/requests", requests, methods=["GET"]),
        Route("/_sim/faults", list_faults, methods=["GET"]),
        Route("/_sim/faults", add_fault, methods=["POST"]),
        Route("/_sim/faults", clear_faults, methods=["DELETE"]),
        Route("/_sim/faults/{fault_id}", clear_faults, methods=["DELETE"]),
        Route("/_sim/release", release, methods=["POST"]),
        Route("/_sim/state", state, methods=["GET"]),
        Route("/_sim/reset", reset, methods=["POST"]),
        *extra,
    ]


def put_route(path: str, put: Callable[[JsonObject], JsonObject]) -> Route:
    """A door through which a test creates or changes one object; `put` raises ValueError for what it cannot understand."""

    async def handle(request: Request) -> JSONResponse:
        try:
            return JSONResponse(put(await body_object(request)))
        except ValueError as problem:
            return refused(problem)

    return Route(path, handle, methods=["POST"])
