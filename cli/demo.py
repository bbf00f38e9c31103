"""`postroom demo`: as `postroom up`, with invented mishaps, ending by itself with a summary in which everything adds up, or does not."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.console import Console

from cli import checks, coming_over, deliver, scenes
from cli.checks import Seen
from cli.children import Children
from cli.coming_over import CameOver
from cli.database import database, migrated, opened
from cli.errors import Code, Failed
from cli.ledger import Ledger, rows, states
from cli.listening import listen
from cli.options import Json
from cli.output import Say, emit, err, facts, plain, silent, table
from cli.system import GHL, GOOGLE, NOTION, PHOREST, Plan, started, without_settings
from outbox.config import DatabaseSettings
from outbox.db import Pool
from outbox.embedded import FAST, temporary_folder
from outbox.event import State
from outbox.store import dead
from outbox.timeline import Entry, story
from simulators.seeds import CONTACT_IDS

KEPT = frozenset({"POSTROOM_PG_BIN", "POSTROOM_LOG_FORMAT"})
SETTLE_TIMEOUT_S = 40.0
COMING_OVER_S = 120.0
REFUSAL = {"statusCode": 400, "message": ["assignedTo is not a user of this location"], "error": "Bad Request"}


def command(as_json: Json = False) -> None:
    """Run the whole system for a few seconds, with mishaps, and account for every event. Exits 0 only if everything adds up.

    Uses simulators, free ports and a throw-away folder (or POSTROOM_DATA_DIR): no setting of the environment is used and nothing
    real is called. Shows: webhooks accepted, repeated, forged and unknown; an app's own changes; an answer that is lost after
    the work was done; an event that becomes a dead letter and is retried to success; a salon's clients and visits that come over
    from Phorest, one of them by a repair; a user's contacts from Google.

    Examples:

        postroom demo

        postroom demo --json | jq .ok
    """
    began = time.monotonic()
    say: Say = silent if as_json else err().print
    with _folder() as folder, listen("127.0.0.1", 0) as listening:
        # Made, not read: whatever else is set has no say here.
        settings = DatabaseSettings.model_construct(database_url=None, data_dir=folder, pg_bin=os.environ.get("POSTROOM_PG_BIN") or None)
        say("Starting Postgres, the simulators, the dispatcher and the receiver …")
        with database(settings, create=True, options=FAST) as dsn:
            plan = Plan(
                data_dir=folder,
                listening=listening,
                simulated=frozenset({GHL, NOTION, PHOREST, GOOGLE}),
                env=without_settings(os.environ, keep=KEPT),
                webhooks=False,
                logs=folder,
            )
            seen = asyncio.run(_interruptible(plan, dsn, say))
    took_s = round(time.monotonic() - began, 1)
    emit(_document(seen, took_s), as_json=as_json, human=lambda console: _show(console, seen, took_s))
    if not seen.is_well:
        raise typer.Exit(Code.FAILED)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """POSTROOM_DATA_DIR when it is set; else one that is gone afterwards."""
    if named := os.environ.get("POSTROOM_DATA_DIR"):
        folder = Path(named).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    else:
        with temporary_folder() as folder:
            yield folder


async def _interruptible(plan: Plan, dsn: str, say: Say) -> Seen:
    """SIGTERM unwinds like Ctrl-C: the children are stopped and the folder is removed."""
    playing = asyncio.create_task(_play(plan, dsn, say), name="demo")
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    await asyncio.wait({playing})
    if playing.cancelled():
        raise KeyboardInterrupt
    return playing.result()


async def _play(plan: Plan, dsn: str, say: Say) -> Seen:
    await migrated(dsn)
    async with opened(dsn) as pool:
        is_known = await coming_over.was_here(pool)
    async with Children(say=lambda line: err().print(line)) as children, started(plan, children) as system, opened(dsn) as pool:
        ledger, before = Ledger(), await checks.rejected_so_far(pool)
        over = CameOver()
        if not is_known:
            say("Waiting for a salon's clients and visits from Phorest, and a user's contacts from Google …")
            over = await coming_over.bring(system, pool, timeout_s=COMING_OVER_S)  # first: no mishap below is meant for it
        async with deliver.client(system.url) as to, deliver.client(system.simulators[GHL]) as ghl:
            say("Sending signed webhooks, and staging an app's changes …")
            await _fault(ghl, {"kind": "drop", "after_work": True}, contact=0, what="notes")
            refusing = await _fault(ghl, {"kind": "answer", "status": 400, "body": REFUSAL, "times": None}, contact=2, what="tasks")
            await scenes.ghl_webhooks(to, ledger)
            await scenes.notion_webhooks(to, ledger)
            rolled_back = await scenes.app_changes(dsn, ledger)
            first = await scenes.settled(pool, ledger, timeout_s=SETTLE_TIMEOUT_S)
            say("Retrying the dead letter …")
            letters = [one for one in first.values() if one.state == State.DEAD]
            (await ghl.delete(f"/_sim/faults/{refusing}")).raise_for_status()
            await dead.retry(pool, [letter.event_id for letter in letters], by="the demo")
            found = await scenes.settled(pool, ledger, timeout_s=SETTLE_TIMEOUT_S)
            seen = Seen(ledger, first, found, letters, rolled_back, over)
            stories = {event_id: await _story(pool, event_id) for event_id in ledger.ids}
            seen.stories = {letter.event_id: stories[letter.event_id] for letter in letters}
            seen.looked_up = [entry["step"] for told in stories.values() for entry in told["timeline"] if entry.get("entry") == "found"]
            await checks.run(seen, pool, ghl, rejected_before=before)
    return seen


async def _fault(ghl: httpx.AsyncClient, fault: dict[str, Any], *, contact: int, what: str) -> str:
    """Arms a fault for what is written to a contact. Returns its id."""
    spec = {"method": "POST", "path": f"/contacts/{CONTACT_IDS[contact]}/{what}", **fault}
    answer = await ghl.post("/_sim/faults", json=spec)
    if not answer.is_success:
        raise Failed(f"The GHL simulator does not take a fault: {answer.text[:300]}")
    return str(answer.json()["id"])


async def _story(pool: Pool, event_id: int) -> Entry:
    told = await story(pool, event_id)
    assert told is not None
    return told


def _document(seen: Seen, took_s: float) -> dict[str, Any]:
    return {
        "ok": seen.is_well,
        "took_s": took_s,
        "counts": seen.ledger.counts(),
        "states": states(seen.found.values()),
        "states_before_retry": states(seen.first.values()),
        "dead_letters": [
            {
                "id": one.event_id,
                "kind": one.kind,
                "reason": one.why,
                "became": seen.found[one.event_id].state,
                "story": seen.stories[one.event_id],
            }
            for one in seen.letters
        ],
        "effects": seen.effects,
        "came_over": seen.over.as_json(),
        "checks": [check.as_json() for check in seen.checks],
        "events": rows(seen.ledger, seen.found),
    }


def _show(console: Console, seen: Seen, took_s: float) -> None:
    scenes.show(console, seen.ledger, seen.found)
    for letter in seen.letters:
        console.print(f"\nDead letter {letter.event_id}, {letter.kind}:", style="bold")
        console.print(f"  it died of: {plain(letter.why)}", soft_wrap=True)
        console.print(f"  retried after GHL was mended, it is {seen.found[letter.event_id].state}. Its timeline:")
        for entry in seen.stories[letter.event_id]["timeline"]:
            console.print(f"    {entry['at'][11:23]}  {plain(entry['text'])}", soft_wrap=True)
    counts, now = seen.ledger.counts(), states(seen.found.values())
    sent = f"{counts['accepted']} accepted + {counts['duplicates']} duplicates + {counts['rejected']} rejected"
    accepted = f"{now['done']} done + {now['skipped']} skipped + {now['dead']} dead + {now['pending']} pending"
    console.print("\nAccounts", style="bold")
    added_up = {f"{counts['sent']} sent": f"= {sent}", f"{counts['accepted']} accepted": f"= {accepted}"}
    console.print(facts({**added_up, **seen.over.facts()}))
    lines = [
        ("ok" if check.is_well else "WRONG", check.what, check.found if check.is_well else f"{check.found}, expected {check.expected}")
        for check in seen.checks
    ]
    console.print("")
    console.print(table("", ("", "checked", "found"), lines))
    wrong = sum(not check.is_well for check in seen.checks)
    verdict = "Everything adds up." if wrong == 0 else f"{wrong} of {len(seen.checks)} checks differ."
    console.print(f"\n{verdict} It took {took_s} s.", style="bold green" if wrong == 0 else "bold red")
