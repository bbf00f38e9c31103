"""`postroom doctor`: what is configured, what is reachable, what is wrong, and what to do."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from cli import findings, findings_database, findings_modules, findings_outside
from cli.database import database
from cli.errors import Code
from cli.findings import AllSettings, Finding, Standing
from cli.options import Json
from cli.output import emit, print_line, table
from outbox.errors import PostroomError
from outbox.seal import new_key


def command(
    fresh_key: Annotated[
        bool, typer.Option("--new-key", help="Print a fresh key for POSTROOM_ENCRYPTION_KEYS, and do nothing else.")
    ] = False,
    no_calls: Annotated[bool, typer.Option("--no-calls", help="Do not call GHL, Notion, Phorest or the receiver.")] = False,
    as_json: Json = False,
) -> None:
    """Look at settings, database, queue, senders and destinations, and say what to do. Exits 1 when something is wrong.

    Changes nothing. Calls GHL, Notion and Phorest once each, with the tokens that are set.

    Examples:

        postroom doctor

        POSTROOM_ENCRYPTION_KEYS=$(postroom doctor --new-key) postroom web
    """
    if fresh_key:
        key = new_key()
        emit({"key": key}, as_json=as_json, human=lambda _: print_line(key))
        return
    settings, found = findings.read_settings()
    if settings is not None:
        found += [*findings.keys(settings), findings.alerts(settings), *findings.sources(settings), *findings_modules.modules(settings)]
        found += _database(settings) + asyncio.run(_outside(settings, calls=not no_calls))
    is_well = all(finding.standing is not Standing.WRONG for finding in found)
    emit({"ok": is_well, "findings": [one.as_json() for one in found]}, as_json=as_json, human=lambda console: _show(console, found))
    if not is_well:
        raise typer.Exit(Code.FAILED)


def _database(settings: AllSettings) -> list[Finding]:
    async def look(dsn: str) -> list[Finding]:
        return [finding async for finding in findings_database.in_database(dsn, settings)]

    try:
        with database(settings.database) as dsn:
            return asyncio.run(look(dsn))
    except PostroomError as problem:
        return [findings.failed("database", problem)]


async def _outside(settings: AllSettings, *, calls: bool) -> list[Finding]:
    found = await findings_outside.destinations(settings, calls=calls)
    return [*found, await findings_outside.receiver(settings)] if calls else found


def _show(console: Console, found: list[Finding]) -> None:
    marks = {Standing.FINE: "fine", Standing.OFF: "off", Standing.WARN: "look", Standing.WRONG: "WRONG"}
    rows = [(marks[one.standing], one.area, one.says + (f"  → {one.do}" if one.do else "")) for one in found]
    console.print(table("", ("is", "what", "says"), rows, narrow=frozenset({"is", "what"})))
    wrong = sum(one.standing is Standing.WRONG for one in found)
    console.print(f"\n{'Nothing is wrong.' if wrong == 0 else f'{wrong} of {len(found)} findings are wrong.'}")
