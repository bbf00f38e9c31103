"""`postroom up`: the whole system on this machine until Ctrl-C."""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import coming_over, deliver, own_modules, running, scenes
from cli.children import Children
from cli.coming_over import CameOver
from cli.database import database, direct, migrated, opened
from cli.errors import Failed
from cli.ledger import Became, Ledger, rows
from cli.listening import LARGEST_PORT, listen
from cli.options import Json
from cli.output import Say, emit, err, facts, silent
from cli.system import GHL, GOOGLE, NOTION, PHOREST, Plan, System, started
from dispatcher.config import DispatcherSettings
from outbox.config import DatabaseSettings
from outbox.seal import Sealer
from receiver.config import ReceiverSettings
from receiver.console.signin import offer_link

HOST = "127.0.0.1"
PORTS_TRIED = 20
SETTLE_TIMEOUT_S = 30.0
COMING_OVER_S = 20.0


def command(
    port: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_PORT, help="Port of the receiver. Absent: PORT, else 8000 or the next free one.")
    ] = None,
    samples: Annotated[
        bool | None, typer.Option("--samples/--no-samples", help="Send sample webhooks and changes. Absent: unless DATABASE_URL is set.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run everything on this machine until Ctrl-C: database, receiver, dispatcher, and simulators of what has no credentials.

    Without DATABASE_URL an embedded Postgres runs in POSTROOM_DATA_DIR (.postroom). GHL is simulated unless GHL_API_KEY is set,
    Notion unless NOTION_API_KEY is; beside a simulated GHL also Phorest (unless PHOREST_USERNAME is set) and Google (unless
    GOOGLE_CLIENT_ID is), with a salon and a user whose contacts are brought over. Sends a few signed webhooks and appointment
    changes and shows what became of each.
    A process that dies is started again. With --json the document is printed once everything runs; it goes on serving.

    Examples:

        postroom up

        PORT=9000 POSTROOM_DATA_DIR=/tmp/try postroom up

        GHL_API_KEY=pit-… GHL_LOCATION_ID=… postroom up
    """
    settings, receiver, dispatcher = DatabaseSettings.read(), ReceiverSettings.read(), DispatcherSettings.read()
    running.configure_log(settings, quiet=True)
    Sealer(settings.encryption_keys)  # a bad key is said here and not by a child
    own_modules.loaded(dispatcher)  # and so is a module
    say: Say = silent if as_json else err().print
    listening = _listen(receiver, port, say)
    with listening, database(settings, create=True, keep=True) as dsn:
        plan = Plan(
            data_dir=settings.data_dir.absolute(),
            listening=listening,
            simulated=_simulated(dispatcher),
            env=os.environ,
            webhooks=True,
        )
        plan.data_dir.mkdir(parents=True, exist_ok=True)
        wanted = samples if samples is not None else settings.database_url is None
        asyncio.run(_until_stopped(plan, direct(settings, dsn), samples=wanted, as_json=as_json, say=say))
    say("Stopped.")


async def _until_stopped(plan: Plan, dsn: str, *, samples: bool, as_json: bool, say: Say) -> None:
    """The first Ctrl-C or SIGTERM stops all in order, the second kills."""
    children = Children(say=lambda line: err().print(line))
    serving = asyncio.create_task(_serve(plan, dsn, children, samples=samples, as_json=as_json, say=say), name="up")

    def stop() -> None:
        if serving.cancelling():
            children.kill()
            return
        say("Stopping …")
        serving.cancel()

    running.on_signals(stop)
    await asyncio.wait({serving})
    if not serving.cancelled():
        serving.result()


async def _serve(plan: Plan, dsn: str, children: Children, *, samples: bool, as_json: bool, say: Say) -> None:
    for name in await migrated(dsn):
        say(f"Database: applied {name}")
    async with children, contextlib.AsyncExitStack() as stack:
        say("Starting " + ("the simulators, " if plan.simulated else "") + "the dispatcher and the receiver …")
        system = await stack.enter_async_context(started(plan, children))
        ledger, found, over = Ledger(), dict[int, Became](), CameOver()
        if samples and plan.simulated:
            found = await _send_samples(plan, dsn, system, ledger)
            async with opened(dsn) as pool:
                over = await coming_over.bring(system, pool, timeout_s=COMING_OVER_S)
        document = _document(plan, system, ledger, found) | {"came_over": over.as_json()}
        way_in = f"{system.url}/console/" if as_json else await _way_in(dsn, system)
        emit(document, as_json=as_json, human=lambda console: _show(console, plan, system, ledger, found, over, way_in=way_in))
        await asyncio.get_running_loop().create_future()


async def _way_in(dsn: str, system: System) -> str:
    """Where the console is: signed in by a link that works once, for whoever sees this terminal."""
    if system.token is None:
        return f"{system.url}/console/"
    async with opened(dsn) as pool:
        return f"{system.url}{await offer_link(pool, system.token)}  (signs in once, within 2 minutes)"


async def _send_samples(plan: Plan, dsn: str, system: System, ledger: Ledger) -> dict[int, Became]:
    """To what is simulated only: nothing invented ever reaches a real account."""
    async with deliver.client(system.url) as to:
        if GHL in plan.simulated:
            await scenes.ghl_webhooks(to, ledger)
        if NOTION in plan.simulated:
            await scenes.notion_webhooks(to, ledger)
    if GHL in plan.simulated:
        await scenes.app_changes(dsn, ledger)
    async with opened(dsn) as pool:
        return await scenes.settled(pool, ledger, timeout_s=SETTLE_TIMEOUT_S)


def _simulated(own: DispatcherSettings) -> frozenset[str]:
    """What has no credentials. Invented people of Phorest and Google never come to stand beside real ones of GHL."""
    missing = {name for name, key in ((GHL, own.ghl_api_key), (NOTION, own.notion_api_key)) if key is None}
    if GHL in missing:
        missing |= {name for name, key in ((PHOREST, own.phorest_username), (GOOGLE, own.google_client_id)) if key is None}
    return frozenset(missing)


def _program() -> str:
    """How this program is called here: by its name, or by the path that was typed (make types one)."""
    typed = sys.argv[0]
    return typed if Path(typed).name == "postroom" and shutil.which("postroom") is None else "postroom"


def _listen(receiver: ReceiverSettings, port: int | None, say: Say) -> socket.socket:
    """A port that was asked for must be free; else the first free one from 8000 on."""
    if port is not None or "port" in receiver.model_fields_set:
        return listen(HOST, receiver.port if port is None else port)
    for candidate in range(receiver.port, receiver.port + PORTS_TRIED):
        try:
            listening = listen(HOST, candidate)
        except Failed:
            continue
        if candidate != receiver.port:
            say(f"Port {receiver.port} is taken, so the receiver listens on {candidate}. Set PORT to choose.")
        return listening
    return listen(HOST, 0)


def _where(system: System, name: str) -> str:
    if name in system.simulators:
        return f"{system.simulators[name]}  (simulated" + ("; what it was made to do: /_sim/effects)" if name == GHL else ")")
    return {
        GHL: "your account, by GHL_API_KEY",
        NOTION: "your workspace, by NOTION_API_KEY",
        PHOREST: "as PHOREST_… is set: see `postroom doctor`",
        GOOGLE: "as GOOGLE_… is set: see `postroom doctor`",
    }[name]


def _document(plan: Plan, system: System, ledger: Ledger, found: dict[int, Became]) -> dict[str, Any]:
    return {
        "receiver": system.url,
        "health": [
            f"{system.url}/healthz",
            f"{system.url}/readyz",
            *(f"{system.url}/api/webhooks/{name}/health" for name in (GHL, NOTION)),
        ],
        "openapi": f"{system.url}/openapi.json",
        "console": f"{system.url}/console/",
        "simulators": {name: system.simulators.get(name) for name in (GHL, NOTION, PHOREST, GOOGLE)},
        "data_dir": str(plan.data_dir),
        "admin_token": system.token,
        "pids": system.pids(),
        "counts": ledger.counts(),
        "events": rows(ledger, found),
    }


def _show(console: Console, plan: Plan, system: System, ledger: Ledger, found: dict[int, Became], over: CameOver, *, way_in: str) -> None:
    if ledger.all:
        console.print("")
        scenes.show(console, ledger, found)
    if told := over.facts():
        console.print("\nCame over", style="bold")
        console.print(facts(told))
    console.print("")
    console.print(
        facts(
            {
                "Receiver": system.url,
                "Health": f"{system.url}/readyz  {system.url}/api/webhooks/ghl/health",
                "API": f"{system.url}/openapi.json",
                **{name.upper() if name == GHL else name.title(): _where(system, name) for name in (GHL, NOTION, PHOREST, GOOGLE)},
                "Data": str(plan.data_dir),
            }
        )
    )
    console.print("\nLook at the console:", style="bold")
    console.print(f"  {way_in}", soft_wrap=True)
    token = system.token or "$TOKEN"
    console.print("\nTry, in another terminal:", style="bold")
    lines = [f"curl -H 'Authorization: Bearer {token}' '{system.url}/api/events?limit=5'"]
    if GHL in plan.simulated:
        where = "" if system.url.endswith(":8000") else f" --url {system.url}"
        lines += [f"{_program()} send ghl ContactUpdate{where}", f"{_program()} send ghl ContactUpdate{where} --print-curl"]
    lines += [f"{_program()} events", f"{_program()} doctor"]
    for line in lines:
        console.print(f"  {line}", soft_wrap=True)
    console.print("\nIt runs until Ctrl-C.")
    sys.stdout.flush()
