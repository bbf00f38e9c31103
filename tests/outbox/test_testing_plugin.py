"""The pytest plugin as an app gets it: in a run of its own, that leaves neither a server nor a folder behind."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from outbox.broom import EMPTY, Broom
from outbox.embedded import locks
from outbox.testing import Postroom
from tests.outbox.staging_page import EXAMPLES

APP_TEST = """
import pytest

from dispatcher.outcome import Done, Skipped
from dispatcher.routes import Route
from outbox import Event, stage


async def greet(event, ctx):
    return Done() if event.json()["name"] == "Ada" else Skipped(f"we do not greet {event.json()['name']}")


@pytest.mark.asyncio
@pytest.mark.parametrize(("name", "state", "why"), [("Ada", "done", None), ("Eve", "skipped", "we do not greet Eve")])
async def test_a_booking_is_greeted(postroom, staged, drain, name, state, why):
    assert await staged() == [], "a test finds the database empty"
    async with postroom.pool.acquire() as connection, connection.transaction():
        await stage(connection, Event("salon.booked", {"name": name}, lane="chair:1"))
        await stage(connection, Event("salon.moved", {}))
    totals = await drain({"salon.booked": Route(greet)})
    assert (totals["accepted"], totals["pending"], totals["dead"]) == (2, 0, 0)
    booked, moved = await staged()
    assert (booked["state"], booked["why"]) == (state, why)
    assert (moved["state"], moved["why"]) == ("skipped", "no route for salon.moved")
    assert [event["id"] for event in await staged("salon.booked")] == [booked["id"]]


@pytest.mark.asyncio
async def test_an_appointment_reaches_the_simulator(postroom, drain, simulated, ghl):
    simulator, _ = ghl
    simulator.put_contact("c1", firstName="Ada")
    appointment = {"id": 7, "status": "confirmed", "contact_id": "c1", "title": "Cut", "starts_at": "2027-01-05T10:00:00+00:00"}
    async with postroom.pool.acquire() as connection:
        await stage(connection, Event("appointment.confirmed", {"appointment": appointment}, lane="appointment:7"))
    assert (await drain(settings=simulated))["done"] == 1
    assert simulator.effects.totals()


@pytest.mark.asyncio
async def test_without_settings_nothing_is_sent_anywhere(postroom, drain):
    appointment = {"id": 7, "status": "confirmed", "contact_id": "c1"}
    async with postroom.pool.acquire() as connection:
        await stage(connection, Event("appointment.confirmed", {"appointment": appointment}))
    assert (await drain())["pending"] == 1
    (event,) = await postroom.staged()
    assert event["why"] == "held for ghl"


def test_requests_are_signed_as_the_providers_sign_them(signed):
    headers, body = signed.ghl({"type": "ContactCreate"})
    assert "x-ghl-signature" in {name.lower() for name in headers}
    assert body == b'{"type":"ContactCreate"}'
    headers, _ = signed.notion({"id": "1"}, token="t")
    assert "x-notion-signature" in {name.lower() for name in headers}
"""
FAILING = (
    APP_TEST
    + """

@pytest.mark.asyncio
async def test_what_fails(postroom):
    assert await postroom.value("select 1") == 2, "on purpose"
"""
)


def run(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """An app's test run in a process of its own. Its result, and how its server's folder was called."""
    hidden = ("PYTEST", "POSTROOM", "COV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    # An app's real keys, which a test must not use.
    environment |= {"GHL_API_KEY": "pit-00000000-0000-0000-0000-000000000000", "GHL_LOCATION_ID": "real"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        output, _ = process.communicate(timeout=180)
    return subprocess.CompletedProcess(command, process.returncode, output), f"postroom-test-{process.pid}-"


def left_behind(name: str) -> list[str]:
    """Processes that name the run's folder, or work in it, and the folder itself."""
    found = [str(path) for path in Path(tempfile.gettempdir()).glob(f"{name}*")]
    for process in psutil.process_iter(["cmdline", "cwd"]):
        told = " ".join([*(process.info["cmdline"] or ()), process.info["cwd"] or ""])
        if name in told:
            found.append(told)
    return found


def write_app(folder: Path, tests: str, *, mode: str) -> None:
    """Its tests and settings."""
    (folder / "pytest.ini").write_text(
        f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    (folder / "test_app.py").write_text(tests)


def test_an_apps_tests_and_that_of_the_docs_pass_with_the_fixtures_in_two_processes_and_leave_no_postgres(tmp_path: Path) -> None:
    write_app(tmp_path, APP_TEST, mode="strict")
    (tmp_path / "test_bookings.py").write_text(EXAMPLES["test"])
    result, name = run(tmp_path, "-n2")
    assert result.returncode == 0, result.stdout
    assert "6 passed" in result.stdout
    assert left_behind(name) == []


@pytest.mark.long
def test_a_run_in_one_process_with_a_test_that_fails_leaves_no_postgres_either(tmp_path: Path) -> None:
    write_app(tmp_path, FAILING, mode="auto")
    result, name = run(tmp_path)
    assert result.returncode == 1, result.stdout
    assert "1 failed, 5 passed" in result.stdout
    assert left_behind(name) == []


KILLED = """
import os, signal


def test_that_is_killed_with_its_run(postroom_server):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_asks_for_no_database_starts_none_and_deletes_what_a_killed_one_left(tmp_path: Path) -> None:
    write_app(tmp_path, KILLED, mode="auto")
    killed, left = run(tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stdout
    [folder] = Path(tempfile.gettempdir()).glob(f"{left}*")
    began = time.monotonic()
    while not locks.is_free(folder / "postgres" / "guardian.lock"):  # the server ends by itself, a moment later
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    (tmp_path / "test_app.py").write_text("def test_sums():\n    assert 1 + 1 == 2\n")
    result, name = run(tmp_path, "--setup-show")
    assert result.returncode == 0, result.stdout
    assert "postroom_server" not in result.stdout
    assert left_behind(name) == left_behind(left) == []


@pytest.mark.parametrize("how", ["once", "again and again"])
async def test_every_table_is_emptied_whether_its_rows_are_few_or_many(postroom: Postroom, how: str) -> None:
    await postroom.pool.execute("select outbox.stage('a.kind', '{}', lane => 'a lane', key => 'a key')")
    await postroom.pool.execute("insert into outbox.keys select gen_random_uuid(), n from generate_series(1, 30000) n")
    await postroom.pool.execute("insert into outbox.delayed (due_at, event_id, lane, urgency) values (now(), 1, 1, 1)")
    if how == "once":
        await postroom.pool.execute(EMPTY)
    else:
        broom = Broom(postroom.dsn)
        for sweep in (broom.sweep, broom.sweep, broom.put_away):
            await asyncio.to_thread(sweep)
    tables = await postroom.pool.fetch(
        "select c.oid::regclass::text from pg_class c where relkind = 'r' and relname <> 'migrations'"
        " and relnamespace in ('outbox'::regnamespace, 'crm'::regnamespace)"
    )
    counted = {name: await postroom.value(f"select count(*) from {name}") for (name,) in tables}
    assert len(counted) > 20
    assert {name for name, count in counted.items() if count} == set()


async def test_a_table_that_came_later_is_emptied_and_one_that_is_gone_is_not_missed(postroom: Postroom) -> None:
    broom = Broom(postroom.dsn)
    try:
        await postroom.pool.execute("create table outbox.gone (n int)")
        await asyncio.to_thread(broom.sweep)
        await postroom.pool.execute("drop table outbox.gone")
        await postroom.pool.execute("create table outbox.later as select 1 n")
        await asyncio.to_thread(broom.sweep)
        assert await postroom.value("select count(*) from outbox.later") == 0
    finally:
        await postroom.pool.execute("drop table if exists outbox.gone, outbox.later")
        await asyncio.to_thread(broom.put_away)
