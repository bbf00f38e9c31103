"""A chat room's incoming hook, and a Standard Webhooks receiver: takes what alerts send, and misbehaves on request.

Answers as the real ones do: Slack `ok` as text, Discord 204 and nothing, a Standard Webhooks receiver 204. An unknown path is a hook that
was removed. Keeps what it took in `taken`.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


@dataclass(frozen=True, slots=True)
class Taken:
    """One message."""

    hook: str
    body: dict[str, Any]
    raw: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class HookSimulator:
    """`refusals`: the answers to give next, by hook, before it takes anything again: a status and its headers."""

    taken: list[Taken] = field(default_factory=list)
    refusals: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)

    @property
    def app(self) -> Starlette:
        """Its doors: /slack, /discord, /standard, each with anything behind it."""
        return Starlette(routes=[Route("/{hook:str}/{rest:path}", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        hook = request.path_params["hook"]
        if refused := self.refusals.get(hook):
            status, headers = refused.pop(0)
            return PlainTextResponse("no", status, headers)
        if hook not in ("slack", "discord", "standard"):
            return PlainTextResponse("no_service", 404)
        raw = await request.body()
        self.taken.append(Taken(hook, json.loads(raw), raw, dict(request.headers)))
        return PlainTextResponse("ok") if hook == "slack" else Response(status_code=204)
