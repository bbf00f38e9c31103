"""Where a person comes back to from a provider's consent page: the state is checked, the code sealed and staged, and no more.

A state counts once and within its time, so a code that nobody here asked for is not taken: it would connect a stranger's account.
A dispatcher calls the provider. Refuses to show anything that came with the request.
"""

import html
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, StringConstraints

from outbox.db import Record
from outbox.errors import ConfigError
from outbox.event import Event
from outbox.staging import stage
from outbox.store import consents
from receiver.api.operation import Answer, Asked, Call, NoBody, Operation, Table
from receiver.errors import bad_request, unavailable

HEADERS: Final = {"referrer-policy": "no-referrer", "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem}}</style>
<h1>{title}</h1><p>{text}</p></html>
"""


class Provider(StrEnum):
    """Whose consents come back here, each as an event <provider>.oauth.code."""

    GHL = "ghl"
    GOOGLE = "google"

    @property
    def again(self) -> str:
        """What to do when there was no consent."""
        option = " --user …" if self is Provider.GOOGLE else ""
        return f"Ask whoever gave you the link for a new one (postroom connect {self}{option})."


Code = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class Back(Asked):
    """What comes back; providers add what they like."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    code: Code | None = Field(None, description="What the provider gives for a consent.")
    state: Code | None = Field(None, description="As it went out with the link.")
    error: str | None = Field(None, description="In place of a code: there was no consent.")


async def came_back(call: Call[Back, NoBody], provider: Provider) -> Answer:
    """A person came back from a provider's page."""
    code, state = call.query.code, call.query.state
    if call.query.error is not None and code is None:
        return _page(400, "Not connected", f"There was no consent, so nothing was changed. {provider.again}")
    if code is None or state is None:
        began_there = "; an installation that began at GHL has no state" if provider is Provider.GHL else ""
        raise bad_request(f"code and state are missing: begin with `postroom connect {provider}`{began_there}.")
    try:
        sealed = call.desk.sealer.seal(code)
    except ConfigError as problem:
        raise unavailable(str(problem), retry_after_s=60) from None
    async with call.desk.pool.acquire() as connection, connection.transaction():
        consent = await consents.end(connection, provider, state)
        if consent is None:
            return _page(400, "Not connected", f"This link was used before, or is too old. {provider.again}")
        await stage(connection, Event(f"{provider}.oauth.code", _payload(sealed, consent), source="postroom"))
    return _page(200, "Connected", "Thank you. Postroom has what it needs; you can close this page.")


def _payload(sealed: bytes, consent: Record) -> dict[str, str]:
    """What a dispatcher needs to end the consent; no secret in it is readable."""
    verifier = consent["verifier"]
    told = {
        "sealed": sealed.decode("ascii"),
        "redirect_uri": consent["redirect_uri"],
        "label": consent["label"],
        "account": consent["account"],
        "verifier": None if verifier is None else bytes(verifier).decode("ascii"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _page(status: int, title: str, text: str) -> Answer:
    page = PAGE.format(title=html.escape(title), text=html.escape(text))
    return Answer(page.encode(), status, content_type="text/html; charset=utf-8", headers=HEADERS)


def _callback(path: str, summary: str, provider: Provider) -> Operation[Any, Any]:
    async def handle(call: Call[Back, NoBody]) -> Answer:
        return await came_back(call, provider)

    return Operation("GET", path, summary, None, handle, Back, NoBody)


OPERATIONS: Table = (
    _callback("/api/oauth/ghl/callback", "Where GHL sends a person who consented", Provider.GHL),
    # GHL's portal does not take an address that names it: the same, under a name that it takes.
    _callback("/api/oauth/crm/callback", "The same, under a neutral name", Provider.GHL),
    _callback("/api/oauth/google/callback", "Where Google sends a person who consented", Provider.GOOGLE),
)
