"""The pages of signing in: by token, by a link that is used once, and with a form in hand whose session had ended.

Owns no check: whose token it is and how often one may guess is signin.py's, which forms are ours is origin.py's.
"""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from outbox import db
from outbox.log import get_logger
from receiver.console.asking import desk_of, not_ours, read_form, see
from receiver.console.kept import Kept, carried
from receiver.console.origin import foreign, own_path
from receiver.console.render import Renderer
from receiver.console.signin import SignIn

log = get_logger(__name__)


class SignInDoor:
    """Two routes. `bare` is the frame of a page that nobody has to be signed in for."""

    def __init__(self, sign_in: SignIn, render: Renderer, bare: Callable[[Request], dict[str, Any]]) -> None:
        self._sign_in, self._render, self._bare = sign_in, render, bare

    async def by_token(self, request: Request) -> Response:
        """Asks for a token, and lets in with it: to the page asked for, or to the form that was sent too late."""
        desk = desk_of(request)
        if request.method != "POST":
            return self.page(request, back=own_path(request.query_params.get("back")))
        form = await read_form(request)
        self._admit(request)
        back, kept = form.back("/console/"), carried(form)
        async with db.transaction(desk.console) as connection:
            cookie = await self._sign_in.by_token(request, desk.gate, connection, form.text("token", most=4000) or "")
        if cookie is None:
            wait_s = self._sign_in.wait_s(request)
            log.warning("a wrong token was shown to the console")
            problem = f"Wait {wait_s} s" if wait_s else "This token is not known"
            return self.page(request, back=back, kept=kept, problem=problem, status=429 if wait_s else 401)
        if kept is None:
            return self._let_in(request, cookie, see(back))
        again = self._render.page("kept.html", {**self._bare(request), "kept": kept, "back": kept.form.back("/console/")})
        return self._let_in(request, cookie, again)

    async def by_link(self, request: Request) -> Response:
        """Asks first: a program that looks at links before a person does must not use it up."""
        desk = desk_of(request)
        if request.method != "POST":
            return self._render.page("sign_in_link.html", {**self._bare(request), "path": request.scope["path"]})
        self._admit(request)
        async with db.transaction(desk.console) as connection:
            cookie = await self._sign_in.by_link(request, desk.gate, connection, request.path_params["link"])
        if cookie is None:
            problem = "This link was used already, or its two minutes are over. Sign in with the token."
            return self.page(request, problem=problem, status=401)
        return self._let_in(request, cookie, see("/console/"))

    def page(
        self, request: Request, *, back: str | None = None, kept: Kept | None = None, problem: str | None = None, status: int = 200
    ) -> Response:
        """The page that asks for a token. `kept` goes through it."""
        said = {"back": back, "kept": kept, "problem": problem, "is_open": desk_of(request).gate.is_open}
        return self._render.page("sign_in.html", {**self._bare(request), **said}, status=status)

    def _admit(self, request: Request) -> None:
        strange = foreign(request.headers, public_host=self._sign_in.public_host)
        if strange is not None:
            raise not_ours(strange)

    def _let_in(self, request: Request, cookie: str, answer: Response) -> Response:
        answer.set_cookie(value=cookie, **self._sign_in.cookie(request))
        return answer
