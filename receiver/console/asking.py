"""What a request of the console says before anybody knows who asks: its form, its zone, its theme, its density."""

from contextlib import suppress
from urllib.parse import unquote
from uuid import UUID
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from receiver.console.page import Form, Refused
from receiver.desk import Desk
from receiver.limits import read_body

FORM_LIMIT_BYTES = 262_144


def not_ours(header: str) -> Refused:
    """A form that came from another place, with the header that said so."""
    said = (
        f"It came with {header}. If this is your own console behind a proxy, set POSTROOM_PUBLIC_URL to its address. Nothing was changed."
    )
    return Refused(403, "This form came from another place", said)


def see(path: str) -> Response:
    """Go there, and look."""
    return RedirectResponse(path, 303, headers={"cache-control": "no-store", "referrer-policy": "same-origin"})


def desk_of(request: Request) -> Desk:
    """What the receiver has at hand."""
    desk = request.app.desk
    assert isinstance(desk, Desk)
    return desk


async def read_form(request: Request) -> Form:
    """What was sent. Raises Refused (415) for what is no form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused(415, "This is no form", "Acts of the console are forms; programs use the API, /openapi.json.")
    return Form(await read_body(request.scope, request.receive, limit_bytes=FORM_LIMIT_BYTES))


def form_id(form: Form) -> UUID:
    """The one-use id of the form. Raises Refused (422)."""
    with suppress(ValueError):
        return UUID(form.text("form") or "")
    raise Refused(422, "The form has no id", "Load the page again and repeat it. Nothing was changed.")


def zone_of(request: Request) -> ZoneInfo:
    """The viewer's zone, as the script found it; UTC without it."""
    name = unquote(request.cookies.get("postroom-zone", ""))
    if name and len(name) < 60 and not name.startswith("/") and ".." not in name:
        with suppress(Exception):  # whatever is wrong with a name that a browser made up
            return ZoneInfo(name)
    return ZoneInfo("UTC")


def theme_of(request: Request) -> str | None:
    """Light or dark, as the viewer switched it; None: as the system has it."""
    theme = request.cookies.get("postroom-theme")
    return theme if theme in ("light", "dark") else None


def is_dense(request: Request) -> bool:
    """Whether the viewer wants rows closer together."""
    return request.cookies.get("postroom-density") == "compact"
