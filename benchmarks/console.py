"""`python -m benchmarks.console [--events 1000000] [--dead 10000] [--folder DIR]`: how long each page of the console takes.

Fills a scratch Postgres (kept in DIR, and not filled again, if one is named), signs in, and asks for every page some times over the ASGI
app. Prints p50 and the worst in milliseconds, and the CPU that an answer costs us and Postgres, which is what p50 comes to where nothing
else runs; with the share of the 200 ms that a page may take. It is no test.
"""

import argparse
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.console_load import fill
from benchmarks.server import OPTIONS
from outbox import db
from outbox.embedded import Embedded, find_binaries, temporary_folder
from outbox.migrate import migrate
from outbox.seal import Sealer
from receiver.app import create_app
from receiver.config import ReceiverSettings
from receiver.console.site import PAGES

LIMIT_MS = 200.0
DATABASE = "console"
TOKEN = "operator-token-for-benchmarks-only"
OWN = {"sec-fetch-site": "same-origin"}
# What stands for the parts of a path, as statements on the filled database.
PARTS = {
    "/console/events/{id}": ("select event_id::text from outbox.dead order by 1 desc limit 1", "select max(id)::text from outbox.events"),
    "/console/dead/{group}": ("select fingerprint from outbox.dead limit 1",),
    "/console/retries/{id}": ("select max(id)::text from outbox.plans",),
    "/console/syncs/{name}": ("select 'ghl-contacts'",),
    "/console/syncs/{name}/schedules/{type}": ("select 'ghl-contacts/schedules/incremental'",),
    "/console/syncs/{name}/runs/{id}": ("select 'ghl-contacts/runs/' || max(id) from outbox.runs where sync = 'ghl-contacts'",),
    "/console/audits/{id}": ("select max(id)::text from crm.audits",),
    "/console/lanes/one": (),  # among those with what people ask
}
# Pages with what people ask of them; each other page is asked for as it stands.
ASKED = (
    "/console/events?state=done",
    "/console/events?state=pending",
    "/console/events?state=dead",
    "/console/events?state=skipped&since=all",
    "/console/events?kind=appointment.confirmed",
    "/console/events?source=notion&since=all",
    "/console/events?lane=ghl%3Acontact%3Ac77&since=all",
    "/console/events?key=key-400000&since=all",
    "/console/events?q=ada999999%40example.com",
    "/console/events?sort=oldest",
    "/console/events?since=all&n=200",
    "/console/lanes?show=all",
    "/console/lanes/one?lane=ghl%3Acontact%3Ac77",
    "/console/events/found?lane=ghl%3Acontact%3Ac77&lane=contact%3Ac77",
    "/console/audit?who=ana",
)


@asynccontextmanager
async def filled(folder: Path, *, events: int, dead: int, tell: Console) -> AsyncIterator[tuple[str, int]]:
    """The connection string of a database with all of it, and its server's process."""
    with Embedded(folder / "postgres", binaries=find_binaries(None), options=OPTIONS) as running:
        admin = await db.connect(running.dsn("postgres"), name="bench:admin", timeout_s=120)
        if not await db.fetchval(admin, "select exists (select from pg_database where datname = $1)", DATABASE):
            await admin.execute(f"create database {DATABASE}")
            connection = await db.connect(running.dsn(DATABASE), name="bench:fill", timeout_s=120)
            await migrate(connection)
            await fill(connection, events=events, dead=dead, tell=lambda text: tell.print(f"  {text}", highlight=False))
            await connection.close()
        await admin.close()
        assert running.pid is not None
        yield running.dsn(DATABASE), running.pid


@asynccontextmanager
async def signed_in(dsn: str) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody at the console of a receiver on this database."""
    app = create_app(dsn, ReceiverSettings.read(admin_tokens=f"ana:operator:{TOKEN}"), sealer=Sealer(()))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver.example", timeout=60) as client:
            page = await client.get("/console/sign-in")
            form = page.text.partition('name="form" value="')[2].partition('"')[0]
            answer = await client.post("/console/sign-in", data={"token": TOKEN, "form": form}, headers=OWN)
            assert answer.status_code == 303, answer.text
            yield client


async def paths(dsn: str) -> list[str]:
    """Every page there is, with something in the place of its parts, and the pages that people ask for with filters.

    Raises LookupError for a page that nobody has said an example of.
    """
    connection = await db.connect(dsn, name="bench:paths")
    found: list[str] = []
    for path in (page.path for part in PAGES for page in part.pages):
        if "{" not in path and path not in PARTS:
            found.append(path)
        elif path not in PARTS:
            raise LookupError(f"benchmarks.console knows no example of {path}: add one to PARTS")
        for statement in PARTS.get(path, ()):
            value = await db.fetchval(connection, statement)
            found += [path[: path.index("{")] + value] if value is not None else []
    await connection.close()
    return [*found, *ASKED]


@dataclass(frozen=True, slots=True)
class Measured:
    """A page's milliseconds, sorted. `problem`: what it did not show; its figures then say nothing."""

    took: Sequence[float]
    cpu: float  # of one answer, ours and Postgres's: what a page costs, whatever else the machine does
    problem: str | None


def cpu_ms(postmaster: int) -> float:
    """Milliseconds of this process and of Postgres so far."""
    processes = [psutil.Process(), *psutil.Process(postmaster).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes) * 1000


async def measure(client: httpx.AsyncClient, path: str, *, rounds: int, postmaster: int) -> Measured:
    """Asks so often; the first time, which warms up, is left out."""
    took, problem, cpu = [], None, 0.0
    for asked in range(rounds + 1):
        if asked == 1:
            cpu = cpu_ms(postmaster)
        began = time.perf_counter()
        answer = await client.get(path)
        took.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200 or 'class="problem"' in answer.text:
            problem = f"answered {answer.status_code}, or a part could not be read"
    return Measured(sorted(took[1:]), (cpu_ms(postmaster) - cpu) / rounds, problem)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--dead", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="keeps the filled database here")
    return parser.parse_args()


async def main() -> int:
    asked, console = options(), Console(width=None if sys.stdout.isatty() else 120)
    table = Table("page", title=f"{asked.events:,} events, {asked.dead:,} of them dead; {psutil.cpu_count()} cores")
    for name in ("p50 ms", "worst ms", "CPU ms", "p50 / 200", "CPU / 200"):
        table.add_column(name, justify="right")
    table.add_column("problem")
    slow = failed = 0
    with nullcontext(asked.folder) if asked.folder else temporary_folder() as folder:
        async with filled(folder, events=asked.events, dead=asked.dead, tell=console) as (dsn, postmaster), signed_in(dsn) as client:
            for path in await paths(dsn):
                page = await measure(client, path, rounds=asked.rounds, postmaster=postmaster)
                p50, worst = statistics.median(page.took), page.took[-1]
                slow, failed = slow + (min(p50, page.cpu) > LIMIT_MS), failed + (page.problem is not None)
                table.add_row(
                    path,
                    f"{p50:.0f}",
                    f"{worst:.0f}",
                    f"{page.cpu:.0f}",
                    f"{p50 / LIMIT_MS:.2f}",
                    f"{page.cpu / LIMIT_MS:.2f}",
                    page.problem or "",
                )
    console.print(table)
    console.print(f"{slow} pages cost over {LIMIT_MS:.0f} ms, {failed} with a problem.", highlight=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
