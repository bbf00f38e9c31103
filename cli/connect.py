"""`postroom connect`: accounts at providers, by the consent of a person of theirs."""

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
from dispatcher.config import DispatcherSettings
from outbox.config import DatabaseSettings
from outbox.db import Pool
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
            console.print("Nothing is connected. `postroom connect ghl` makes a link for a GHL location.")
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
    settings, own, public = DatabaseSettings.read(), DispatcherSettings.read(), ReceiverSettings.read().public_url
    missing = [
        name
        for name, is_there in {
            "GHL_CLIENT_ID": own.ghl_client_id,
            "GHL_CLIENT_SECRET": own.ghl_client_secret,
            "POSTROOM_PUBLIC_URL": public,
            "POSTROOM_ENCRYPTION_KEYS": kept.sealer(settings).ready,
        }.items()
        if not is_there
    ]
    if missing:
        raise Failed(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set; a location cannot be connected without.")
    redirect_uri = f"{str(public).rstrip('/')}/api/oauth/{'crm' if neutral else 'ghl'}/callback"

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

    def human(console: Console) -> None:
        console.print("Have a person of the location open this within an hour; it works once:\n")
        console.print(link, soft_wrap=True)
        console.print("\nThen `postroom connect` lists it as active. The portal must know this address:\n")
        console.print(facts({"redirect_uri": redirect_uri}))

    emit({"link": link, "redirect_uri": redirect_uri, "lasting_s": LASTING_S}, as_json=as_json, human=human)
