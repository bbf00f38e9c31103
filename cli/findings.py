"""What `postroom doctor` looks at: each check returns findings and never raises; what goes wrong in a check is itself a finding.

    fine   works            off     not set up, and what that switches off
    warn   works, but look  wrong   does not work: says what to do
"""

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import httpx
from pydantic import SecretStr

from cli import kept
from cli.database import opened
from cli.deliver import client
from cli.destinations import standings
from cli.errors import explain
from cli.output import count
from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_errors import classify_ghl
from dispatcher.clients.http import Classify, Http, Timeouts, Unlimited
from dispatcher.clients.notion import VERSION
from dispatcher.clients.notion_errors import classify_notion
from dispatcher.config import DispatcherSettings
from dispatcher.errors import Unavailable
from outbox import db
from outbox.config import DatabaseSettings
from outbox.db import Pool
from outbox.errors import ConfigError
from outbox.store import dead, events, handshakes, workers
from outbox.store.dead import Filter
from receiver.config import ReceiverSettings
from receiver.sources.base import Description

OLDEST_POSTGRES = 15
CLOCKS_APART_S = 30
PATIENCE = Timeouts(connect_s=5, read_s=8, write_s=5, pool_s=5, total_s=10)


class Standing(StrEnum):
    FINE = "fine"
    OFF = "off"
    WARN = "warn"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. `do` says what to do about it; None: nothing."""

    area: str
    standing: Standing
    says: str
    do: str | None = None

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AllSettings:
    database: DatabaseSettings
    receiver: ReceiverSettings
    dispatcher: DispatcherSettings


def fine(area: str, says: str) -> Finding:
    return Finding(area, Standing.FINE, says)


def off(area: str, says: str, do: str | None = None) -> Finding:
    return Finding(area, Standing.OFF, says, do)


def warn(area: str, says: str, do: str) -> Finding:
    return Finding(area, Standing.WARN, says, do)


def wrong(area: str, says: str, do: str | None = None) -> Finding:
    return Finding(area, Standing.WRONG, says, do)


def failed(area: str, problem: BaseException) -> Finding:
    """What stopped a check."""
    return wrong(area, explain(problem)[0])


def read_settings() -> tuple[AllSettings | None, list[Finding]]:
    """The environment, with a finding for each variable that cannot be used."""
    read: list[Any] = []
    found: list[Finding] = []
    for kind in (DatabaseSettings, ReceiverSettings, DispatcherSettings):
        try:
            read.append(kind.read())
        except ConfigError as problem:
            found += [wrong("settings", line.strip(), "Correct or unset the variable.") for line in str(problem).splitlines()[1:]]
    if found:
        return None, found
    return AllSettings(*read), [fine("settings", "every variable that is set can be used")]


def keys(settings: AllSettings) -> list[Finding]:
    """What protects secrets and the operators' API."""
    found = []
    try:
        ready = kept.sealer(settings.database).ready
        found.append(
            fine("encryption", "secrets at rest can be sealed")
            if ready
            else off(
                "encryption",
                "POSTROOM_ENCRYPTION_KEYS is not set: verification tokens that Notion sends cannot be kept",
                "Set it to what `postroom doctor --new-key` prints.",
            )
        )
    except Exception as problem:  # noqa: BLE001 -- becomes a finding
        found.append(failed("encryption", problem))
    admins = settings.receiver.admins()
    if admins:
        found.append(fine("operators", f"{count(len(admins), 'token')}: " + ", ".join(f"{one.name} ({one.role})" for one in admins)))
    else:
        found.append(off("operators", "POSTROOM_ADMIN_TOKENS is not set: the operators' API is closed", "Set name:role:token for each person."))
    return found


async def in_database(dsn: str, settings: AllSettings) -> AsyncIterator[Finding]:
    """Server, schema, queue, workers, destinations, sources with what was promoted."""
    where = "DATABASE_URL" if settings.database.database_url is not None else f"the embedded Postgres in {settings.database.data_dir}"
    try:
        connection = await db.connect(dsn, name="postroom:doctor", timeout_s=10)
        try:
            version = connection.get_server_version()
        finally:
            connection.terminate()
        if version.major < OLDEST_POSTGRES:
            yield wrong("database", f"{where} is Postgres {version.major}", f"Use Postgres {OLDEST_POSTGRES} or newer.")
            return
        async with opened(dsn) as pool:
            yield fine("database", f"{where}: Postgres {version.major}.{version.minor}, schema up to date")
            for check in (_clock, _queue, _dead_letters, _destinations):
                for finding in await check(pool):
                    yield finding
            for finding in await _notion_source(pool, settings):
                yield finding
    except Exception as problem:  # noqa: BLE001 -- becomes a finding
        yield failed("database", problem)


async def _clock(pool: Pool) -> list[Finding]:
    apart_s = abs((await events.clock(pool) - datetime.now(UTC)).total_seconds())
    if apart_s > CLOCKS_APART_S:
        return [warn("clock", f"this machine's clock and the database's are {apart_s:.0f} s apart", "Let both follow a time server.")]
    return []


async def _queue(pool: Pool) -> list[Finding]:
    totals = await events.totals(pool)
    told = ", ".join(f"{totals[state]} {state}" for state in ("pending", "done", "skipped", "dead"))
    found = [fine("outbox", f"{count(totals['accepted'], 'event')}: {told}")]
    if totals["accepted"] != sum(totals[state] for state in ("pending", "done", "skipped", "dead")):
        found.append(wrong("outbox", "the states do not add up to the events accepted", "This is a bug: please report it."))
    alive = await workers.alive(pool)
    if alive:
        found.append(fine("dispatchers", ", ".join(f"{row['name']} ({row['running']} at work)" for row in alive)))
    elif totals["pending"]:
        found.append(wrong("dispatchers", f"none runs, and {count(totals['pending'], 'event')} wait", "Start `postroom worker`."))
    else:
        found.append(off("dispatchers", "none runs", "Start `postroom worker`."))
    return found


async def _dead_letters(pool: Pool) -> list[Finding]:
    number = int((await dead.count(pool, Filter()))["dead"])
    if number == 0:
        return []
    return [warn("dead letters", f"{count(number, 'event')} wait for a person", "Look: `postroom dead groups`. Then retry or discard.")]


async def _destinations(pool: Pool) -> list[Finding]:
    found = []
    for entry in await standings(pool):
        name, waiting = entry["name"], count(entry["waiting"], "event")
        match entry["state"]:
            case "flowing" if entry["waiting"]:
                found.append(warn(f"to {name}", f"{waiting} wait for it", "Set its credentials for the dispatchers, if they are missing."))
            case "flowing":
                pass
            case "paused":
                found.append(warn(f"to {name}", f"paused by {entry['by']}; {waiting} wait", f"`postroom destinations resume {name}`."))
            case "unauthorised":
                found.append(wrong(f"to {name}", f"it does not take our token: {entry['why']}; {waiting} wait", "Replace the token."))
            case _:
                found.append(warn(f"to {name}", f"it fails: {entry['why']}; {waiting} wait", "It is tried again by itself."))
    return found


async def _notion_source(pool: Pool, settings: AllSettings) -> list[Finding]:
    """With the tokens that were promoted, which count like configured ones."""
    found = []
    try:
        sealer = kept.sealer(settings.database)
        promoted: tuple[SecretStr, ...] = tuple(sealer.open(sealed) for sealed in await handshakes.promoted(pool, "notion"))
    except ConfigError as problem:
        return [failed("from notion", problem)]
    found.append(source(settings.receiver.notion_source(promoted).describe()))
    candidates = [row for row in await handshakes.every(pool, "notion") if row["promoted_at"] is None]
    if candidates:
        found.append(warn("from notion", f"{count(len(candidates), 'verification token')} to be looked at", "`postroom handshake`."))
    return found


def sources(settings: AllSettings) -> list[Finding]:
    """Who may send; all but Notion, whose tokens may lie in the database."""
    return [source(one.describe()) for one in settings.receiver.fixed_sources().values()]


def source(about: Description) -> Finding:
    """One sender."""
    area = f"from {about.source}"
    notes = f" ({'; '.join(about.switched_off)})" if about.switched_off else ""
    if about.configured:
        return fine(area, f"{about.scheme}, {count(len(about.keys), 'key')}{notes}")
    return off(area, "; ".join(about.switched_off) or "not set up")


async def receiver(settings: AllSettings) -> Finding:
    """Whether one answers where this environment says that it listens."""
    base = f"http://{'127.0.0.1' if settings.receiver.host in ('0.0.0.0', '::') else settings.receiver.host}:{settings.receiver.port}"  # noqa: S104
    try:
        async with client(base) as to:
            answer = await to.get("/readyz", timeout=5)
    except httpx.HTTPError:
        return off("receiver", f"none answers at {base}", "Start `postroom web`, or set PORT as it has it.")
    if answer.status_code == httpx.codes.OK:
        return fine("receiver", f"ready at {base}")
    return wrong("receiver", f"{base}/readyz answers {answer.status_code}", "Look at its log.")


async def destinations(settings: AllSettings, *, calls: bool) -> list[Finding]:
    """Whether GHL and Notion can be called with what is set."""
    own, found = settings.dispatcher, []
    match own.ghl_api_key, own.ghl_location_id:
        case None, None:
            found.append(off("to ghl", "GHL_API_KEY and GHL_LOCATION_ID are not set: events for GHL wait"))
        case SecretStr() as key, str(location):
            found.append(await _ghl(own, key, location) if calls else off("to ghl", "set; not called"))
        case _, None:
            found.append(wrong("to ghl", "GHL_API_KEY is set, GHL_LOCATION_ID is not: events for GHL wait", "Set both."))
        case _:
            found.append(wrong("to ghl", "GHL_LOCATION_ID is set, GHL_API_KEY is not: events for GHL wait", "Set both."))
    if own.notion_api_key is None:
        found.append(off("to notion", "NOTION_API_KEY is not set: Notion events wait"))
    else:
        found.append(await _notion(own, own.notion_api_key) if calls else off("to notion", "set; not called"))
    return found


async def _ghl(own: DispatcherSettings, key: SecretStr, location: str) -> Finding:
    async with _http("ghl", str(own.ghl_api_base_url), key, classify_ghl) as http:
        try:
            fields = await GhlClient(http, location).custom_fields()
        except Exception as problem:  # noqa: BLE001 -- becomes a finding
            return _not_callable("to ghl", problem)
    return fine("to ghl", f"{own.ghl_api_base_url} takes the token for location {location}; {count(len(fields), 'custom field')}")


async def _notion(own: DispatcherSettings, key: SecretStr) -> Finding:
    async with _http("notion", str(own.notion_api_base_url), key, classify_notion) as http:
        try:
            await http.call("GET", http.path("v1", "users", "me"), headers={"notion-version": VERSION})
        except Exception as problem:  # noqa: BLE001 -- becomes a finding
            return _not_callable("to notion", problem)
    return fine("to notion", f"{own.notion_api_base_url} takes the token")


def _http(name: str, base_url: str, key: SecretStr, classify: Classify) -> Http:
    return Http(name, base_url, token=key, classify=classify, budget=Unlimited(), timeouts=PATIENCE)


def _not_callable(area: str, problem: BaseException) -> Finding:
    if isinstance(problem, Unavailable):
        return wrong(area, str(problem), "Check the base address and the network; events wait meanwhile.")
    return failed(area, problem)
