"""`postroom simulate`: GHL and Notion as local servers, with a few invented contacts and pages in them."""

import asyncio
import json
import sys
from typing import Annotated

import httpx
import typer

from cli import running
from cli.errors import Failed
from cli.options import Json, StopWithParent
from cli.output import facts, out
from outbox.config import DatabaseSettings
from simulators import samples
from simulators.standalone import Addresses, run
from simulators.webhooks import RETRY_DELAYS_S

PORT_HELP = "0 takes a free one."
CONTACT_IDS = ("DemoContact000000001", "DemoContact000000002", "DemoContact000000003")
PAGE_IDS = ("00000000-9a9e-4000-8000-000000000001", "00000000-9a9e-4000-8000-000000000002")


def command(
    ghl_port: Annotated[int, typer.Option(min=0, max=65535, help=f"Port of the GHL simulator. {PORT_HELP}")] = 0,
    notion_port: Annotated[int, typer.Option(min=0, max=65535, help=f"Port of the Notion simulator. {PORT_HELP}")] = 0,
    webhooks_to: Annotated[
        str | None, typer.Option(metavar="URL", help="A receiver that gets signed webhooks of what changes here, e.g. http://127.0.0.1:8000.")
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Begin without the invented contacts and pages.")] = False,
    as_json: Json = False,
    stop_with_parent: StopWithParent = False,
) -> None:
    """Run the simulators of GHL and Notion until Ctrl-C: they answer, limit, refuse and sign like the real ones.

    Arrange, misbehave and count through their doors: GET /_sim/effects, POST /_sim/contacts, POST /_sim/pages, POST /_sim/faults.

    Examples:

        postroom simulate --webhooks-to http://127.0.0.1:8000

        curl -X POST GHL_ADDRESS/_sim/faults -d '{"kind": "answer", "status": 503, "times": 3}'
    """
    running.configure_log(DatabaseSettings.read())
    base = webhooks_to.rstrip("/") if webhooks_to else None
    simulation = _simulate(ghl_port, notion_port, base, seeds=not empty, as_json=as_json or stop_with_parent)
    running.run(simulation, stop_with_parent=stop_with_parent)


async def _simulate(ghl_port: int, notion_port: int, base: str | None, *, seeds: bool, as_json: bool) -> None:
    up: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    running.on_signals(stop.set)
    serving = asyncio.create_task(
        run(
            ghl_port,
            notion_port,
            ghl_webhooks_to=f"{base}/api/webhooks/ghl" if base else None,
            notion_webhooks_to=f"{base}/api/webhooks/notion" if base else None,
            ready=up.set_result,
        ),
        name="simulators",
    )
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({serving, up}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        addresses = up.result()
        if seeds:
            await seed(addresses)
        _say(addresses, as_json=as_json)
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    except OSError as problem:
        raise Failed(f"A simulator cannot listen: {problem.strerror or problem}. Choose another --ghl-port or --notion-port.") from None
    finally:
        serving.cancel()
        stopping.cancel()
        await asyncio.wait({serving, stopping}, timeout=sum(RETRY_DELAYS_S))


def _say(addresses: Addresses, *, as_json: bool) -> None:
    told = {
        "ghl": addresses.ghl,
        "notion": addresses.notion,
        "ghl_api_key": samples.DEMO_GHL_TOKEN,
        "ghl_location_id": samples.DEMO_LOCATION_ID,
        "notion_api_key": samples.DEMO_NOTION_TOKEN,
    }
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        return
    console = out()
    console.print("The simulators run until Ctrl-C. Settings for a worker that uses them:\n")
    names = {"ghl": "GHL_API_BASE_URL", "notion": "NOTION_API_BASE_URL"}
    console.print(facts({names.get(name, name.upper()): value for name, value in told.items()}))


async def seed(addresses: Addresses) -> None:
    """The invented contacts and pages, as if people over there had just made them."""
    contacts = [
        {"id": CONTACT_IDS[0], "firstName": "Ada", "lastName": "Example", "email": "ada@example.com", "phone": "+35315550100"},
        {"id": CONTACT_IDS[1], "firstName": "Brendan", "lastName": "Sample", "email": "brendan@example.com", "phone": "+35315550101"},
        {"id": CONTACT_IDS[2], "firstName": "Ciara", "lastName": "Invented", "email": "ciara@example.com", "phone": "+35315550102"},
    ]
    pages = [
        {"id": PAGE_IDS[0], "values": {"Name": "Example Salon", "Slug": "example-salon"}, "content": ["Opens at nine."]},
        {"id": PAGE_IDS[1], "values": {"Name": "Sample Barbers", "Slug": "sample-barbers"}, "content": ["Closed on Mondays."]},
    ]
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        for contact in contacts:
            (await client.post(f"{addresses.ghl}/_sim/contacts", json=contact)).raise_for_status()
        for page in pages:
            (await client.post(f"{addresses.notion}/_sim/pages", json=page)).raise_for_status()
