"""The simulated Notion: one Starlette app, its state, its faults and effects, and the checks every call passes.

    gate (log, faults) ─▶ token ─▶ version ─▶ budget ─▶ body ─▶ endpoint ─▶ request id

Each instance is a world of its own, in memory. Webhooks go out at once, one per change; Notion would aggregate them.
"""

import math
import random
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

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
from simulators.notion_blocks import ShortBlock
from simulators.notion_endpoints import RULES, Endpoint, NotionCall
from simulators.notion_rules import SAID_WITH, Code, Refusal, check_token, check_version, invalid, rate_limited
from simulators.notion_store import NotionStore, PageChange
from simulators.request_log import RequestLog
from simulators.shapes import Clock, JsonObject, compact, dashed, new_rng, parsed, utc_now, uuid_id
from simulators.webhooks import WebhookSender


@dataclass(frozen=True, slots=True)
class NotionSettings:
    """`echo`: changes made through the API raise webhooks too, authored by the bot. `limit_rows`: what one query can reach."""

    token: str = samples.DEMO_NOTION_TOKEN
    requests_per_minute: int = 180
    limit_rows: int = 10_000
    echo: bool = False
    latency_s: float = 0.0


class PageSpec(BaseModel):
    """Body of POST /_sim/pages: the arguments of `put_page`; `removed` means gone for good."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    values: dict[str, Any] = Field(default_factory=dict)
    content: list[str | dict[str, Any]] | None = None
    in_trash: bool | None = None
    is_shared: bool | None = None
    removed: bool = False


class NotionSimulator:
    """`app` is served; `effects`, `faults`, `requests` and `store` are for tests; `put_page` and its kin are a person in Notion."""

    def __init__(
        self,
        settings: NotionSettings | None = None,
        *,
        webhooks: WebhookSender | None = None,
        clock: Clock = utc_now,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings or NotionSettings()
        self.webhooks = webhooks
        self._clock = clock
        self._rng = rng or new_rng()
        self.effects = Effects(clock=clock)
        self.faults = Faults(rng=self._rng)
        self.requests = RequestLog()
        self.tokens = {self.settings.token}
        self._budget = Budget(self.settings.requests_per_minute, 60.0)
        self.store = NotionStore(clock, self._rng)
        self.app = self._build_app()

    def put_page(
        self,
        page_id: str | None = None,
        *,
        values: dict[str, object] | None = None,
        content: Sequence[ShortBlock] | None = None,
        in_trash: bool | None = None,
        is_shared: bool | None = None,
    ) -> JsonObject:
        """Create or change a row of the client list as a person would: no effect is counted, webhooks go out.

        `values` are plain Python by property name. Sharing and un-sharing raise no event, as at Notion. ValueError says what is wrong.
        """
        try:
            change = self.store.put_page(_checked_page_id(page_id), values=values or {}, content=content, in_trash=in_trash)
        except KeyError as unknown:
            raise ValueError(f"no such property or key: {unknown}") from None
        except Refusal as refusal:
            raise ValueError(str(refusal)) from None
        if is_shared is not None:
            (self.store.hidden.discard if is_shared else self.store.hidden.add)(change.page["id"])
        self._raise(change, by_bot=False)
        return deepcopy(change.page)

    def remove_page(self, page_id: str) -> None:
        """Remove for good; only a 404 tells."""
        self.store.remove_page(page_id)

    def state(self) -> JsonObject:
        """A copy of everything stored."""
        store = self.store
        return deepcopy(
            {
                "pages": store.pages,
                "blocks": store.blocks,
                "hidden": sorted(store.hidden),
                "data_sources": store.data_sources,
                "databases": store.databases,
            }
        )

    def reset(self) -> None:
        """Back to a new instance with the same settings. What hangs is let go."""
        self.store = NotionStore(self._clock, self._rng)
        self.effects.clear()
        self.faults.clear()
        self.requests.clear()
        self._budget.clear()

    def _build_app(self) -> Starlette:
        app = Starlette(
            routes=[
                *control_routes(self, extra=[put_route("/_sim/pages", self._put_page_door)]),
                *(Route(path, self._endpoint(endpoint), methods=[method]) for method, path, endpoint in RULES),
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
            request_id = uuid_id(self._rng)
            try:
                token = check_token(self.tokens, request.headers.get("authorization", ""))
                version = check_version(request.headers.get("notion-version"))
                self._spend(token)
                answer = endpoint(
                    NotionCall(
                        store=self.store,
                        effects=self.effects,
                        changed=self._echo,
                        path=request.path_params,
                        query=request.query_params,
                        body=await _body(request),
                        version=version,
                        limit_rows=self.settings.limit_rows,
                    )
                )
            except Refusal as refusal:
                return _refused(refusal, request_id)
            return JSONResponse({**answer, "request_id": request_id}, headers={"x-notion-request-id": request_id})

        return handle

    def _spend(self, token: str) -> None:
        now = self._clock()
        if not self._budget.take(token, now):
            raise rate_limited(max(1, math.ceil(self._budget.resets_in_s(token, now))))

    def _said_with(self, status: int) -> Answer:
        """What Notion says with a status that a fault asked for."""
        code, message = SAID_WITH.get(status, (Code.INTERNAL, "Unexpected error occurred."))
        refusal = (
            rate_limited(1) if status == 429 else Refusal(status, code, message, headers={"retry-after": "1"} if status == 529 else {})
        )
        request_id = uuid_id(self._rng)
        headers = {"content-type": "application/json", "x-notion-request-id": request_id, **refusal.headers}
        return Answer(status, tuple(headers.items()), compact({**refusal.body, "request_id": request_id}))

    async def _unknown_path(self, _: Request, __: Exception) -> Response:
        return _refused(Refusal(400, Code.INVALID_URL, "Invalid request URL."), uuid_id(self._rng))

    def _echo(self, change: PageChange) -> None:
        if self.settings.echo:
            self._raise(change, by_bot=True)

    def _raise(self, change: PageChange, *, by_bot: bool) -> None:
        """The events that follow from a change; none about what the integration cannot see."""
        if self.webhooks is None or change.page["id"] in self.store.hidden:
            return
        kinds = {
            "page.created": change.is_new,
            "page.properties_updated": bool(change.properties) and not change.is_new,
            "page.content_updated": change.has_new_content and not change.is_new,
            "page.deleted": change.trash is True,
            "page.undeleted": change.trash is False,
        }
        for kind in (kind for kind, is_raised in kinds.items() if is_raised):
            event_id = uuid_id(self._rng)
            self.webhooks.send(
                samples.notion_page_event(
                    kind, change.page, event_id=event_id, at=self._clock(), updated_properties=change.properties, by_bot=by_bot
                )
            )

    def _put_page_door(self, document: JsonObject) -> JsonObject:
        spec = PageSpec.model_validate(document)
        if spec.removed:
            self.remove_page(_checked_page_id(spec.id) or "")
            return {"id": spec.id, "removed": True}
        return self.put_page(spec.id, values=spec.values, content=spec.content, in_trash=spec.in_trash, is_shared=spec.is_shared)


def _checked_page_id(page_id: str | None) -> str | None:
    known = dashed(page_id) if page_id is not None else None
    if page_id is not None and known is None:
        raise ValueError(f"not a page id: {page_id}")
    return known


def _refused(refusal: Refusal, request_id: str) -> Response:
    headers = {"x-notion-request-id": request_id, **refusal.headers}
    return JSONResponse({**refusal.body, "request_id": request_id}, refusal.status, headers=headers)


async def _body(request: Request) -> JsonObject:
    raw = await request.body()
    if not raw.strip():
        return {}
    try:
        document = parsed(raw)
    except ValueError:
        raise Refusal(400, Code.INVALID_JSON, "Error parsing JSON body.") from None
    if not isinstance(document, dict):
        raise invalid("body failed validation: body should be an object.")
    return document
