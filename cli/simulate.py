"""`postroom simulate`: GHL, Notion, Google and Phorest as local servers, with a few invented people, pages and appointments in them."""

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from cli import running
from cli.errors import Failed
from cli.options import Json, StopWithParent
from cli.output import facts, out
from outbox.config import DatabaseSettings
from simulators import samples, seeds
from simulators.ghl import GhlSimulator
from simulators.google import GoogleSimulator
from simulators.notion import NotionSimulator
from simulators.phorest import PhorestSimulator
from simulators.serving import serve
from simulators.signing import GhlSigner
from simulators.webhooks import WebhookSender

PORT_HELP = "0 takes a free one."


def command(
    ghl_port: Annotated[int, typer.Option(min=0, max=65535, help=f"Port of the GHL simulator. {PORT_HELP}")] = 0,
    notion_port: Annotated[int, typer.Option(min=0, max=65535, help=f"Port of the Notion simulator. {PORT_HELP}")] = 0,
    google_port: Annotated[int, typer.Option(min=0, max=65535, help=f"Port of the Google simulator. {PORT_HELP}")] = 0,
    phorest_port: Annotated[int, typer.Option(min=0, max=65535, help=f"Port of the Phorest simulator. {PORT_HELP}")] = 0,
    webhooks_to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A receiver that gets signed webhooks of what changes here, e.g. http://127.0.0.1:8000."),
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Begin without the invented contacts, pages and appointments.")] = False,
    as_json: Json = False,
    stop_with_parent: StopWithParent = False,
) -> None:
    """Run the simulators of GHL, Notion, Google and Phorest until Ctrl-C: they answer, limit, refuse and sign like the real ones.

    Arrange, misbehave and count through their doors: GET /_sim/effects, POST /_sim/contacts, POST /_sim/pages,
    POST /_sim/clients, POST /_sim/faults.

    Examples:

        postroom simulate --webhooks-to http://127.0.0.1:8000

        curl -X POST GHL_ADDRESS/_sim/faults -d '{"kind": "answer", "status": 503, "times": 3}'
    """
    running.configure_log(DatabaseSettings.read(), quiet=True)
    base = webhooks_to.rstrip("/") if webhooks_to else None
    ports = {"ghl": ghl_port, "notion": notion_port, "google": google_port, "phorest": phorest_port}
    simulation = _simulate(ports, base, is_seeded=not empty, as_json=as_json or stop_with_parent)
    running.run(simulation, stop_with_parent=stop_with_parent)


async def _simulate(ports: Mapping[str, int], base: str | None, *, is_seeded: bool, as_json: bool) -> None:
    stop = asyncio.Event()
    running.on_signals(stop.set)
    ghl, notion, google, phorest = GhlSimulator(), NotionSimulator(), GoogleSimulator(), PhorestSimulator()
    if is_seeded:
        seeds.office(ghl, notion)
        seeds.address_book(google)
        seeds.salon(phorest, ghl)
    async with AsyncExitStack() as stack:
        if base is not None:  # only now: what is there from the beginning is no news
            to_ghl = WebhookSender.ghl(f"{base}/api/webhooks/ghl", GhlSigner.for_demo())
            to_notion = WebhookSender.notion(f"{base}/api/webhooks/notion", samples.DEMO_VERIFICATION_TOKEN)
            ghl.webhooks, notion.webhooks = await stack.enter_async_context(to_ghl), await stack.enter_async_context(to_notion)
        try:
            apps = {"ghl": ghl.app, "notion": notion.app, "google": google.app, "phorest": phorest.app}
            at = {name: await stack.enter_async_context(serve(app, port=ports[name])) for name, app in apps.items()}
        except OSError as problem:
            said = problem.strerror or problem
            raise Failed(
                f"A simulator cannot listen: {said}. Choose another port: --ghl-port, --notion-port, --google-port, --phorest-port."
            ) from None
        _say({name: running.base_url for name, running in at.items()}, as_json=as_json)
        await stop.wait()


def _say(addresses: Mapping[str, str], *, as_json: bool) -> None:
    told = {
        **addresses,
        "ghl_api_key": samples.DEMO_GHL_TOKEN,
        "ghl_location_id": samples.DEMO_LOCATION_ID,
        "notion_api_key": samples.DEMO_NOTION_TOKEN,
        "google_client_id": samples.DEMO_GOOGLE_CLIENT_ID,
        "google_client_secret": samples.DEMO_GOOGLE_CLIENT_SECRET,
        "phorest_username": samples.DEMO_PHOREST_USERNAME,
        "phorest_password": samples.DEMO_PHOREST_PASSWORD,
        "phorest_business_id": samples.DEMO_BUSINESS_ID,
        "phorest_branches": f"{samples.DEMO_BRANCH_ID}={samples.DEMO_ZONE}",
        "phorest_calendars": f"{samples.DEMO_BRANCH_ID}={samples.DEMO_CALENDAR_ID}",
    }
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        return
    console = out()
    console.print("The simulators run until Ctrl-C. Settings for a worker that uses them:\n")
    names = {"ghl": "GHL_API_BASE_URL", "notion": "NOTION_API_BASE_URL", "phorest": "PHOREST_API_BASE_URL"}
    more = dict.fromkeys(("GOOGLE_API_BASE_URL", "GOOGLE_TOKEN_BASE_URL", "GOOGLE_CONSENT_BASE_URL"), told.pop("google"))
    console.print(facts({**{names.get(name, name.upper()): value for name, value in told.items()}, **more}))
