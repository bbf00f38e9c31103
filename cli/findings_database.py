"""What `postroom doctor` finds in the database: server, schema, queue, dispatchers, destinations that stand, storage, promoted tokens."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from pydantic import SecretStr

from cli import kept
from cli.database import direct, opened
from cli.destinations import standings
from cli.findings import AllSettings, Finding, failed, fine, off, source, warn, wrong
from cli.findings_connections import connected
from cli.findings_storage import in_storage
from cli.output import count
from outbox import db
from outbox.db import Pool
from outbox.errors import ConfigError
from outbox.store import connections, dead, events, handshakes, workers
from outbox.store.dead import Filter

OLDEST_POSTGRES = 15
CLOCKS_APART_S = 30


async def in_database(dsn: str, settings: AllSettings) -> AsyncIterator[Finding]:
    """Server, schema, queue, workers, destinations, sources with what was promoted."""
    where = "DATABASE_URL" if settings.database.database_url is not None else f"the embedded Postgres in {settings.database.data_dir}"
    try:
        connection = await db.connect(dsn, name="postroom:doctor", timeout_s=10)
        try:
            version, is_pooled = connection.get_server_version(), db.is_pooled(connection)
        finally:
            connection.terminate()
        if version.major < OLDEST_POSTGRES:
            yield wrong("database", f"{where} is Postgres {version.major}", f"Use Postgres {OLDEST_POSTGRES} or newer.")
            return
        async with opened(dsn) as pool:
            yield fine("database", f"{where}: Postgres {version.major}.{version.micro}, schema up to date")
            for finding in await _road(dsn, settings, is_pooled=is_pooled):
                yield finding
            for check in (_clock, _queue, _dead_letters, _destinations):
                for finding in await check(pool):
                    yield finding
            for finding in [*await in_storage(pool, settings), *await connected(pool, settings), *await _notion_source(pool, settings)]:
                yield finding
    except Exception as problem:  # noqa: BLE001 -- becomes a finding
        yield failed("database", problem)


async def _road(dsn: str, settings: AllSettings, *, is_pooled: bool) -> list[Finding]:
    """Whether a transaction pooler is in between, and the way past it."""
    past = direct(settings.database, dsn)
    if past == dsn:
        says = "a transaction pooler is in between: dispatchers hear no NOTIFY and look every 0.5 s instead"
        return [off("pooler", says, "Set DATABASE_DIRECT_URL to Postgres's own address.")] if is_pooled else []
    try:
        connection = await db.connect(past, name="postroom:doctor", timeout_s=10)
    except Exception as problem:  # noqa: BLE001 -- becomes a finding
        said = str(problem.__cause__ or problem) or type(problem).__name__
        return [wrong("pooler", f"DATABASE_DIRECT_URL leads nowhere: {said}", "Correct it, or unset it.")]
    connection.terminate()
    if db.is_pooled(connection):
        return [warn("pooler", "DATABASE_DIRECT_URL leads through a pooler, too", "Let it name Postgres itself, or unset it.")]
    return [fine("pooler", "DATABASE_DIRECT_URL leads past it")] if is_pooled else []


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
    """One that waits for a consent is told among the connections."""
    found, lost = [], {row["destination"] for row in await connections.every(pool, users=False) if row["state"] == "inactive"}
    for entry in await standings(pool):
        name, waiting = entry["name"], count(entry["waiting"], "event")
        match entry["state"]:
            case "flowing" if entry["waiting"]:
                found.append(warn(f"to {name}", f"{waiting} wait for it", "Set its credentials for the dispatchers, if they are missing."))
            case "flowing":
                pass
            case "paused":
                found.append(warn(f"to {name}", f"paused by {entry['by']}; {waiting} wait", f"`postroom destinations resume {name}`."))
            case "unauthorised" if name in lost:
                pass
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
