"""`postroom migrate`: the release step."""

import asyncio

from rich.console import Console

from cli.database import database, direct, migrated
from cli.options import Json
from cli.output import count, emit
from outbox.config import DatabaseSettings


def command(as_json: Json = False) -> None:
    """Bring the database to this version's schema. Safe to run again, and by two at once.

    Changes nothing when there is nothing to do, and refuses a newer database that this program cannot work with.
    Without DATABASE_URL it makes the embedded database in POSTROOM_DATA_DIR.

    Examples:

        postroom migrate

        DATABASE_URL=postgresql://app@db.example.com/postroom postroom migrate
    """
    settings = DatabaseSettings.read()
    with database(settings, create=True) as dsn:
        applied = asyncio.run(migrated(direct(settings, dsn)))

    def human(console: Console) -> None:
        for name in applied:
            console.print(f"applied {name}")
        console.print(f"The database is up to date ({count(len(applied), 'migration')} applied).")

    emit({"applied": applied}, as_json=as_json, human=human)
