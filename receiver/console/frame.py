"""The console's routes: who asks, may they, what do they get. Every page and act goes through here, and every failure becomes a page.

    cookie ─▶ session ─▶ role ─▶ GET:  read ─▶ template
       │                   └──▶ POST: own origin ─▶ form not sent before ─▶ do, with its audit row ─▶ 303
       └─ none: to the sign-in page, and back afterwards

Owns no page: those are in receiver/console/pages, listed in site.py.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from outbox import db
from outbox.errors import DatabaseUnavailable, NotNow
from outbox.log import get_logger
from outbox.store import sessions
from receiver.config import ReceiverSettings, Role
from receiver.console import words
from receiver.console.asked import Query
from receiver.console.asking import desk_of, form_id, is_dense, not_ours, read_form, see, theme_of, zone_of
from receiver.console.assets import PLACE, Assets
from receiver.console.attention import Attention
from receiver.console.kept import keep
from receiver.console.light_door import LightDoor
from receiver.console.live import Live
from receiver.console.live_door import LiveDoor
from receiver.console.origin import foreign
from receiver.console.page import Act, Done, Download, Form, Look, Page, Pages, Panel, Refused, Tab, Visit, no_such
from receiver.console.render import HEADERS, Renderer
from receiver.console.sign_in_door import SignInDoor
from receiver.console.signin import Session, SignIn
from receiver.console.topics import TOPICS
from receiver.errors import Problem, origin
from receiver.limits import Disconnected

log = get_logger(__name__)

AWAY_AFTER_S = 3.0
HEARD = "x-postroom-live"  # a page that fetches its own parts anew: no person did that


class Console:
    """The console of one receiver. `site` are its pages, `tabs` its navigation."""

    def __init__(self, settings: ReceiverSettings, site: tuple[Pages, ...], tabs: tuple[Tab, ...]) -> None:
        self._site, self._tabs = site, tabs
        self._name = settings.installation
        self._public_url = str(settings.public_url).rstrip("/") if settings.public_url else None
        self._assets = Assets()
        self._render = Renderer(self._assets)
        self.sign_in = SignIn(str(settings.public_url) if settings.public_url else None)
        self._door = SignInDoor(self.sign_in, self._render, self._bare)
        self._light = LightDoor(self._render, settings.embed_origins, name=settings.installation)
        self.live = Live(TOPICS)
        self._away_since: datetime | None = None
        self._attention = Attention()

    def routes(self) -> list[BaseRoute]:
        """All of them; the last takes every other path below /console."""
        live = LiveDoor(self.live, self.sign_in)
        made: list[BaseRoute] = [
            Route("/console", self._to_overview),
            Route(PLACE + "{file}", self._static),
            Route("/console/light", self._guarded(self._light.show)),
            Route("/console/live", self._guarded(live.stream)),
            Route("/console/live/check", self._guarded(live.check)),
            Route("/console/sign-in", self._guarded(self._door.by_token), methods=["GET", "POST"]),
            Route("/console/sign-in/{link}", self._guarded(self._door.by_link), methods=["GET", "POST"]),
        ]
        site = [
            Pages(acts=(Act("/console/sign-out", self._sign_out, Role.VIEWER), Act("/console/dismiss", _dismiss, Role.VIEWER))),
            *self._site,
        ]
        made += [Route(act.path, self._guarded(self._acting(act)), methods=["POST"]) for part in site for act in part.acts]
        made += [Route(page.path, self._guarded(self._reading(page))) for part in site for page in part.pages]
        made += [Route(one.path, self._guarded(self._downloading(one))) for part in site for one in part.downloads]
        made += [Route(one.path, self._guarded(self._looking(one)), methods=["GET", "POST"]) for part in site for one in part.looks]
        made.sort(key=lambda route: route.path.count("{") if isinstance(route, Route) else 0)
        return [*made, Route("/console/{rest:path}", self._guarded(self._nowhere))]

    # ─────────────────────────────────────────────────────────────────────────────────────────── pages and acts

    def _reading(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def get(request: Request) -> Response:
            visit = await self._visit(request)
            if visit is None:
                return self._to_sign_in(request)
            if not visit.who.role.includes(page.role):
                await self._refuse_viewer(visit)
            context, attention = await asyncio.gather(page.read(visit), self._needs(visit))
            return self._render.page(page.template, {**self._frame(visit, attention, tab=page.tab), **context})

        return get

    def _downloading(self, file: Download) -> Callable[[Request], Awaitable[Response]]:
        async def get(request: Request) -> Response:
            visit = await self._visit(request)
            if visit is None:
                return self._to_sign_in(request)
            if not visit.who.role.includes(file.role):
                await self._refuse_viewer(visit)
            name, body = await file.read(visit)
            return Response(
                body, headers={**HEADERS, "content-disposition": f'attachment; filename="{name}"'}, media_type=file.content_type
            )

        return get

    def _acting(self, act: Act) -> Callable[[Request], Awaitable[Response]]:
        async def post(request: Request) -> Response:
            visit = await self._visit(request)
            form = await read_form(request)
            if visit is None:
                return self._to_sign_in_with(request, form)
            await self._admit(request, visit, act.role)
            done = await self._once(visit, act, form)
            self._attention.forget()
            return see(done.to)

        return post

    def _looking(self, look: Look) -> Callable[[Request], Awaitable[Response]]:
        async def post(request: Request) -> Response:
            above = request.scope["path"].rpartition("/")[0]
            if request.method != "POST":
                return see(above)
            visit = await self._visit(request)
            form = await read_form(request)
            if visit is None:
                return self._to_sign_in(request, back=above)
            await self._admit(request, visit, look.role)
            if not await sessions.send_form(visit.pool, form_id(form)):
                return see(above)
            context, attention = await asyncio.gather(look.read(visit), self._needs(visit))
            return self._render.page(look.template, {**self._frame(visit, attention, tab=look.tab), **context})

        return post

    async def _admit(self, request: Request, visit: Visit, role: Role) -> None:
        """Lets a form pass that came from our own pages, sent by somebody with the role. Raises Refused, noted in the audit."""
        strange = foreign(request.headers, public_host=self.sign_in.public_host)
        if strange is not None:
            await visit.actor.note(visit.pool, "refused", target=visit.path, reason="the form came from another place", header=strange)
            raise not_ours(strange)
        if not visit.who.role.includes(role):
            await self._refuse_viewer(visit)

    async def _once(self, visit: Visit, act: Act, form: Form) -> Done:
        """Does it, unless this very form did it before. What is refused may be sent again."""
        sent = form_id(form)
        if not await sessions.send_form(visit.pool, sent):
            return Done("", to=form.back("/console/"))  # the notice of the first time stands
        try:
            done = await act.do(visit, form)
        except NotNow as problem:
            done = Done(f"{problem} Nothing was changed.", to=form.back("/console/"), good=False)
        except Exception:
            await sessions.unsend_form(visit.pool, sent)
            raise
        if done.said:
            await sessions.tell(visit.pool, visit.session, done.notice())
        return done

    async def _refuse_viewer(self, visit: Visit) -> None:
        await visit.actor.note(visit.pool, "refused", target=visit.path, reason="needs the role operator")
        raise Refused(403, "Not with this token", "This needs the operator role; you are signed in as a viewer. Nothing was changed.")

    # ─────────────────────────────────────────────────────────────────────────────────────────── signing in and out

    def _to_sign_in(self, request: Request, *, back: str | None = None) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        asked = back or request.scope["path"] + (f"?{query}" if query else "")
        return see("/console/sign-in" if asked == "/console/" else f"/console/sign-in?back={quote(asked, safe='')}")

    def _to_sign_in_with(self, request: Request, form: Form) -> Response:
        """What was typed is asked for again after signing in. Only what our own pages sent: a stranger's form is not handed to a person."""
        strange = foreign(request.headers, public_host=self.sign_in.public_host)
        if strange is not None:
            raise not_ours(strange)
        kept, back = keep(request.scope["path"], form), form.back("/console/")
        return self._to_sign_in(request, back=back) if kept is None else self._door.page(request, back=back, kept=kept)

    async def _sign_out(self, visit: Visit, form: Form) -> Done:
        async with db.transaction(visit.pool) as connection:
            await sessions.end(connection, visit.session)
            await visit.actor.note(connection, "sign out")
        return Done("", to="/console/sign-in")

    # ─────────────────────────────────────────────────────────────────────────────────────────── what surrounds them

    async def _visit(self, request: Request) -> Visit | None:
        """Who asks, or None. Raises DatabaseUnavailable within 3 s."""
        desk = desk_of(request)
        try:
            async with asyncio.timeout(AWAY_AFTER_S):
                slides = HEARD not in request.headers
                session: Session | None = await self.sign_in.find(request, desk.gate, desk.console, slides=slides)
        except TimeoutError:
            raise DatabaseUnavailable("Postgres did not answer in time") from None
        if session is None:
            return None
        self._away_since = None
        visit = Visit(
            desk=desk,
            attention=self._attention,
            who=session.who,
            session=session.digest,
            path=request.scope["path"],
            parts=request.path_params,
            query=Query(request.scope["query_string"].decode("latin-1"), zone_of(request)),
            zone=zone_of(request),
            theme=theme_of(request),
            dense=is_dense(request),
            now=session.now,
            base_url=self._public_url or f"{request.scope['scheme']}://{request.headers.get('host', '')}",
            notice=None if session.notice is None else json.loads(session.notice),
        )
        request.state.visit = replace(visit, notice=None, query=Query("", zone_of(request)))
        return visit

    async def _needs(self, visit: Visit) -> Mapping[str, int]:
        """What the badges count; nothing, when it cannot be read."""
        panel: Panel[Mapping[str, int]] = await visit.panel("what needs you", self._attention.now(visit.pool))
        return panel.value or {}

    def _frame(self, visit: Visit, attention: Mapping[str, int], *, tab: str | None) -> dict[str, Any]:
        needs = {count: attention.get(count, 0) for tab in self._tabs for count in tab.badges}
        return {
            "installation": self._name,
            "visit": visit,
            "zone": visit.zone,
            "now": visit.now,
            "theme": visit.theme,
            "dense": visit.dense,
            "tabs": self._tabs,
            "tab": tab,
            "needs": needs,
            "needed": sum(needs.values()),
        }

    def _bare(self, request: Request) -> dict[str, Any]:
        """For pages that nobody has to be signed in for."""
        return {
            "installation": self._name,
            "visit": None,
            "zone": zone_of(request),
            "now": None,
            "theme": theme_of(request),
            "dense": is_dense(request),
            "tabs": (),
            "tab": None,
            "needs": {},
            "needed": 0,
        }

    def _guarded(self, inner: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Every failure becomes a page; what nobody foresaw is in the log, without a value of the request."""

        async def answer(request: Request) -> Response:
            try:
                response = await inner(request)
            except Refused as refused:
                response = await self._say(request, refused.status, refused.title, refused.detail)
            except DatabaseUnavailable:
                response = self._away(request)
            except Problem as problem:
                response = await self._say(request, problem.status, problem.title, problem.detail or "")
            except Disconnected:
                response = Response(status_code=400)
            except Exception as problem:  # noqa: BLE001 -- a page instead of a broken connection
                log.error("a page failed", path=request.scope["path"], problem=origin(problem))
                response = await self._say(request, 500, "Something went wrong here", "It is in the log of the receiver.")
            return response

        return answer

    async def _say(self, request: Request, status: int, title: str, detail: str) -> Response:
        """In the frame of whoever is signed in: from a page that is not there, the way leads on."""
        visit: Visit | None = getattr(request.state, "visit", None)
        around = self._bare(request) if visit is None else self._frame(visit, await self._needs(visit), tab=None)
        return self._render.page("refused.html", {**around, "title": title, "detail": detail}, status=status)

    def _away(self, request: Request) -> Response:
        """Nothing of it needs the database; the browser asks again every 5 s."""
        self._away_since = self._away_since or datetime.now(UTC)
        since = words.clock(self._away_since, zone_of(request))
        is_asked = request.method == "GET"
        headers = {"retry-after": "5"} | ({"refresh": "5"} if is_asked else {})
        return self._render.page("away.html", {**self._bare(request), "since": since, "is_asked": is_asked}, status=503, headers=headers)

    async def _nowhere(self, request: Request) -> Response:
        visit = await self._visit(request)
        if visit is None:
            return self._to_sign_in(request, back="/console/")
        raise no_such("No page of the console is here.")

    async def _to_overview(self, request: Request) -> Response:
        return RedirectResponse("/console/", 308)

    async def _static(self, request: Request) -> Response:
        asset = self._assets.find(request.path_params["file"])
        if asset is None:
            return Response(status_code=404)
        headers = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
        return Response(asset.body, headers=headers, media_type=asset.content_type)


async def _dismiss(visit: Visit, form: Form) -> Done:
    await sessions.tell(visit.pool, visit.session, None)
    return Done("", to=form.back("/console/"))
