"""`python -m benchmarks.repair [--asking 500]`: how soon a client that GHL has not is there, while many appointments ask for it.

The whole product as `postroom up` runs it, with the rates of the real systems: the salon's appointments come by their sync, all of one
client that is not here. Prints one JSON document; the seconds count from the one repair's staging.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvloop

from cli.database import database
from outbox import db
from outbox.config import DatabaseSettings
from outbox.embedded import temporary_folder

PROGRAM = Path(__file__).resolve().parent.parent / "postroom.py"
CLIENT = "BenchClient0000000001A"
FIGURES = """
with about as (select * from outbox.events where lane = 'phorest:client:' || $1),
     repair as (select * from about where kind = 'phorest.client.import' order by id limit 1)
select (select count(*)::int from about where kind = 'phorest.client.import') repairs,
       (select extract(epoch from min(a.started_at) - r.staged_at)::float8 from outbox.attempts a where a.event_id = r.id) begins_after_s,
       extract(epoch from l.created_at - r.staged_at)::float8 linked_after_s,
       (select count(distinct w.event_id)::int from outbox.attempts w where w.outcome = 'z') waited,
       (select count(*)::int from outbox.attempts w where w.outcome in ('r', 'x')) burned
from repair r join crm.links l on l.kind = 'phorest-client' and l.ours = $1
"""


@asynccontextmanager
async def product(folder: Path) -> AsyncIterator[dict[str, Any]]:
    """What `postroom up --json` says of itself."""
    env = {**os.environ, "PORT": "0", "POSTROOM_DATA_DIR": str(folder)}
    command = (sys.executable, str(PROGRAM), "up", "--json", "--no-samples")
    running = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    assert running.stdout is not None
    try:
        said = ""
        while not said.endswith("\n}\n"):
            said += (await running.stdout.readline()).decode()
        yield json.loads(said)
    finally:
        running.send_signal(signal.SIGTERM)
        await running.wait()


async def measure(asking: int) -> dict[str, Any]:
    """Arranges it, and waits until all of them have been looked at and the client is there."""
    with temporary_folder() as folder:
        async with product(folder / "data") as told, httpx.AsyncClient(trust_env=False, timeout=60) as to:
            phorest = told["simulators"]["phorest"]
            for known in ("DemoVisit000000000001A", "DemoVisit000000000002A", "DemoVisit000000000003A", "DemoVisit000000000004A"):
                await put(to, f"{phorest}/_sim/appointments", {"id": known, "removed": True})
            await put(to, f"{phorest}/_sim/clients", {"id": CLIENT, "fields": {"email": "bench@example.com"}})
            on = (datetime.now(UTC).date() + timedelta(days=1)).isoformat()
            for _ in range(asking):
                await put(to, f"{phorest}/_sim/appointments", {"fields": {"clientId": CLIENT, "appointmentDate": on}})
            operator = {"authorization": f"Bearer {told['admin_token']}"}
            await put(to, f"{told['receiver']}/api/syncs/phorest-appointments/runs", {"type": "incremental"}, headers=operator)
            settings = DatabaseSettings.read(data_dir=folder / "data")
            with database(settings) as dsn:
                connection = await db.connect(dsn, name="bench", timeout_s=30)
                try:
                    row = await found(connection)
                finally:
                    connection.terminate()
    return {"asking": asking, **{name: round(value, 3) if isinstance(value, float) else value for name, value in dict(row).items()}}


async def found(connection: db.Connection) -> db.Record:
    """The figures, once the client is linked."""
    until = time.monotonic() + 300
    while (row := await db.fetchrow(connection, FIGURES, CLIENT)) is None:
        assert time.monotonic() < until, "the client did not come"
        await asyncio.sleep(0.05)
    return row


async def put(to: httpx.AsyncClient, url: str, said: dict[str, Any], *, headers: dict[str, str] | None = None) -> None:
    (await to.post(url, json=said, headers=headers)).raise_for_status()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repair", description=__doc__)
    parser.add_argument("--asking", type=int, default=500)
    print(json.dumps(uvloop.run(measure(parser.parse_args().asking)), indent=2))
