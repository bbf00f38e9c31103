"""`postroom connect`: accounts at providers, by the consent of a person of theirs."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.console import Console

from cli import kept
from cli.database import ask
from cli.errors import Failed
from cli.options import Json
from cli.output import emit, facts, table
from cli.who import note, operator
from dispatcher.clients.google_accounts import GOOGLE, user_name
from dispatcher.config import DispatcherSettings
from outbox import google_consent
from outbox.config import DatabaseSettings
from outbox.db import Pool
from outbox.seal import Sealer
from outbox.store import connections, consents
from outbox.timeline import iso
from receiver.config import ReceiverSettings

LASTING_S = 3600.0
PORTAL = "https://marketplace.gohighlevel.com"
WHITE_LABEL = "https://marketplace.leadconnectorhq.com"
# What the handlers and syncs call; an app without one of them gets a 401 that names it, for those events only.
SCOPES = (
    "contacts.readonly",
    "contacts.write",
    "locations/customFields.readonly",
    "calendars.readonly",
    "calendars/events.readonly",
    "calendars/events.write",
    "opportunities.readonly",
)
AGENCY_SCOPES = ("oauth.readonly", "oauth.write")

app = typer.Typer(invoke_without_command=True)


@app.callback()
def list_connections(context: typer.Context, as_json: Json = False) -> None:
    """List the accounts that are connected, or were; make a link with which another one is.

    active: in use. inactive: its events wait for a consent. uninstalled: its events are skipped.

    Examples:

        postroom connect

        postroom connect ghl

        postroom connect google --user 42
    """
    if context.invoked_subcommand is not None:
        return

    async def find(pool: Pool) -> list[dict[str, Any]]:
        return [
            {
                "name": row["destination"],
                "state": row["state"],
                "label": row["label"],
                "agency": row["company_id"],
                "refreshed": iso(row["refreshed_at"]),
                "until": iso(row["expires_at"]),
                "why": row["why"],
            }
            for row in await connections.every(pool)
        ]

    found = ask(find)

    def human(console: Console) -> None:
        if not found:
            console.print(
                "Nothing is connected. `postroom connect ghl` makes a link for a GHL location, `postroom connect google` for a user."
            )
            return
        columns = ("name", "state", "label", "agency", "refreshed", "until", "why")
        console.print(table("", columns, [[entry[name] for name in columns] for entry in found], narrow=frozenset({"name", "state"})))

    emit({"connections": found}, as_json=as_json, human=human)


@app.command("ghl")
def ghl(
    label: Annotated[str | None, typer.Option(help="What the location is called in lists.")] = None,
    agency: Annotated[bool, typer.Option("--agency", help="For a whole agency: all its locations that have the app.")] = False,
    white_label: Annotated[bool, typer.Option("--white-label", help="The app is listed as white-label.")] = False,
    version_id: Annotated[str | None, typer.Option(help="Version of a private app, as the portal's own link has it.")] = None,
    neutral: Annotated[
        bool, typer.Option("--neutral", help="Come back to /api/oauth/crm/callback, where the portal refuses an address with ghl in it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a link on which a person of a GHL location connects it. The link works once, within an hour.

    Before: an app in GHL's marketplace portal with this receiver's callback address (the link's redirect_uri), GHL_CLIENT_ID,
    GHL_CLIENT_SECRET, POSTROOM_PUBLIC_URL and POSTROOM_ENCRYPTION_KEYS. A receiver and a dispatcher have to run.

    Examples:

        postroom connect ghl --label "Shop in Cork"

        postroom connect ghl --agency
    """
    own = DispatcherSettings.read()
    _, base = _ready({"GHL_CLIENT_ID": own.ghl_client_id, "GHL_CLIENT_SECRET": own.ghl_client_secret}, "a location")
    redirect_uri = f"{base}/api/oauth/{'crm' if neutral else 'ghl'}/callback"

    async def begin(pool: Pool) -> str:
        state = await consents.begin(pool, "ghl", redirect_uri=redirect_uri, made_by=operator(), lasting_s=LASTING_S, label=label)
        await note(pool, "begin consent", target="ghl", label=label)
        return state

    asked = {
        "response_type": "code",
        "client_id": str(own.ghl_client_id),
        "redirect_uri": redirect_uri,
        "scope": " ".join((*SCOPES, *(AGENCY_SCOPES if agency else ()))),
        **({"version_id": version_id} if version_id else {}),
        "state": ask(begin),
    }
    link = f"{WHITE_LABEL if white_label else PORTAL}/v2/oauth/chooselocation?{urlencode(asked)}"

    _show(link, redirect_uri, whom="a person of the location", known_to="The portal", as_json=as_json)


@app.command("google")
def google(
    user: Annotated[str, typer.Option(help="Your app's own id of the user: letters, digits, dashes, underscores.")],
    as_json: Json = False,
) -> None:
    """Make a link on which a user lets Postroom read their Google contacts. The link works once, within an hour.

    Before: an OAuth client of the type "Web application" in Google's console with this receiver's callback address (the link's
    redirect_uri), the People API switched on, GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET, POSTROOM_PUBLIC_URL and
    POSTROOM_ENCRYPTION_KEYS. A receiver and a dispatcher have to run.

    Examples:

        postroom connect google --user 42
    """
    own = DispatcherSettings.read()
    if user_name(user) == GOOGLE:
        raise Failed("A user's id has 1 to 64 letters, digits, dashes or underscores.")
    sealer, _ = _ready({"GOOGLE_CLIENT_ID": own.google_client_id, "GOOGLE_CLIENT_SECRET": own.google_client_secret}, "a user's contacts")
    asking = google_consent.Asking.of(own, public_url=ReceiverSettings.read().public_url, sealer=sealer)

    async def begin(pool: Pool) -> str:
        link = await google_consent.begin(pool, user, asking, by=operator())
        await note(pool, "begin consent", target=user_name(user))
        return link

    _show(ask(begin), asking.redirect_uri, whom="the user", known_to="Google's console", as_json=as_json)


def _ready(credentials: Mapping[str, object], what: str) -> tuple[Sealer, str]:
    """What seals, and the receiver's public address without a slash at its end. Raises Failed, naming everything that is missing."""
    sealer, public = kept.sealer(DatabaseSettings.read()), ReceiverSettings.read().public_url
    needed = {**credentials, "POSTROOM_PUBLIC_URL": public, "POSTROOM_ENCRYPTION_KEYS": sealer.ready}
    missing = [name for name, is_there in needed.items() if not is_there]
    if missing:
        raise Failed(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set; {what} cannot be connected without.")
    return sealer, str(public).rstrip("/")


def _show(link: str, redirect_uri: str, *, whom: str, known_to: str, as_json: bool) -> None:
    def human(console: Console) -> None:
        console.print(f"Have {whom} open this within an hour; it works once:\n")
        console.print(link, soft_wrap=True)
        console.print(f"\nThen `postroom connect` lists it as active. {known_to} must know this address:\n")
        console.print(facts({"redirect_uri": redirect_uri}))

    emit({"link": link, "redirect_uri": redirect_uri, "lasting_s": LASTING_S}, as_json=as_json, human=human)
