"""What `postroom doctor` says about storage: who, since when, how bad, and what to do. One finding a cause, none where all is well."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli import findings_storage
from outbox import db
from outbox.store import horizon
from outbox.testing import Postroom
from tests.cli.conftest import called
from tests.outbox.test_days import past_event
from tests.storage.held import snapshot, staging
from tests.storage.test_horizon import burn

Finding = dict[str, Any]
Doctor = Callable[..., Awaitable[list[Finding]]]
STORAGE = ("horizon", "storage", "days", "durability", "wraparound")
FAST_SERVER = ["fsync is off: a power cut may destroy the database", "full_page_writes is off: a power cut may destroy the database"]


@pytest.fixture
def doctor(strained: Postroom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """`await doctor()`: its findings about storage. What has held the horizon for a moment counts as long."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(horizon, "LONG_S", 0.0)

    async def look(*areas: str, code: int = 0) -> list[Finding]:
        await strained.pool.expire_connections()  # what this test did stands in the statistics once its session has ended
        for connection in [await strained.pool.acquire() for _ in range(4)]:
            await strained.pool.release(connection)
        ended = await asyncio.to_thread(called, "doctor", "--no-calls", "--json", DATABASE_URL=strained.dsn)
        assert ended.code == code, ended.out
        found = ended.json()["findings"]
        for one in found:
            assert set(one) == {"area", "standing", "says", "do"}
            assert one["standing"] in ("fine", "off") or one["do"], one
        return [
            one
            for one in found
            if one["area"] in (areas or STORAGE) and one["says"] not in FAST_SERVER and "postroom:test" not in one["says"]
        ]

    return look


def says(found: list[Finding]) -> str:
    [one] = found
    return f"{one['standing']}: {one['says']} → {one['do']}"


async def test_a_healthy_database_has_one_line_about_storage(doctor: Doctor) -> None:
    [one] = await doctor()
    assert (one["area"], one["standing"], one["do"]) == ("storage", "fine", None)
    assert one["says"].startswith("nothing keeps dead rows; busy ")
    assert " days of events " in one["says"]


async def test_the_process_that_pins_the_horizon_is_named_and_what_it_ran_is_not(strained: Postroom, doctor: Doctor) -> None:
    async with snapshot(strained.dsn, name="nightly report") as holder:
        await holder.fetchval("select 'maeve@example.com, +353 1 555 0100'")
        said = says(await doctor())
        pid = holder.get_server_pid()
        since = (await holder.fetchval("select now()")).astimezone(UTC)
    assert said.startswith(
        f"warn: process {pid} called nightly report of role postgres, idle in transaction, since {since:%Y-%m-%d %H:%M:%S} UTC (0 min"
    )
    assert "keeps dead rows" in said
    assert f"select pg_terminate_backend({pid}); set idle_in_transaction_session_timeout for postgres" in said
    assert "maeve" not in said


async def test_a_name_that_would_write_on_the_terminal_does_not(strained: Postroom, doctor: Doctor) -> None:
    async with snapshot(strained.dsn, name="evil\x1b[2J\nname"):
        said = says(await doctor("horizon"))
    assert "\x1b" not in said
    assert "\n" not in said


async def test_a_staging_transaction_that_is_not_committed_is_named(strained: Postroom, doctor: Doctor) -> None:
    async with staging(strained.dsn, name="booking app"):
        assert "called booking app" in says(await doctor("horizon"))


async def test_a_prepared_transaction_is_named_with_the_two_ways_out(strained: Postroom, doctor: Doctor) -> None:
    connection = await db.connect(strained.dsn, name="coordinator")
    await connection.execute(
        "create table public.orders (); begin; insert into public.orders default values; prepare transaction 'order-17''s payment'"
    )
    await connection.close()
    try:
        said = says(await doctor("horizon"))
    finally:
        await strained.pool.execute("rollback prepared 'order-17''s payment'")
    assert said.startswith("warn: prepared transaction 'order-17's payment' of role postgres, since ")
    assert "rollback prepared 'order-17''s payment'" in said


async def test_a_slot_that_nobody_reads_is_named_with_what_it_keeps(strained: Postroom, doctor: Doctor) -> None:
    await strained.pool.execute("select pg_create_logical_replication_slot('warehouse', 'pgoutput')")
    try:
        said = says(await doctor("horizon"))
    finally:
        await strained.pool.execute("select pg_drop_replication_slot('warehouse')")
    assert said.startswith("warn: replication slot warehouse (inactive) keeps dead rows of the system's own tables and ")
    assert "of the write-ahead log" in said
    assert "select pg_drop_replication_slot('warehouse')" in said


async def test_a_table_full_of_dead_rows_is_told_with_the_cause_above_it(
    strained: Postroom, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings_storage, "MANY_DEAD", 500)
    await strained.pool.execute("alter table outbox.pending set (autovacuum_enabled = off)")
    async with snapshot(strained.dsn, name="report"):
        await strained.pool.execute("insert into outbox.pending (urgency, lane, event_id) select 0, n, n from generate_series(1, 1000) n")
        await strained.pool.execute("delete from outbox.pending")
        pinned, swollen, switched_off = await doctor()
        assert "called report" in pinned["says"]
        assert swollen["says"].startswith("outbox.pending has 1,000 dead rows for 0 alive, ")
        assert swollen["says"].endswith("; never vacuumed")
        assert "above" in swollen["do"]
        assert switched_off["says"] == "autovacuum is switched off for outbox.pending"
    swollen, _ = await doctor()
    assert swollen["do"] == "Autovacuum does not keep up. Now: vacuum outbox.pending."
    await strained.pool.execute(swollen["do"].split(": ")[1].rstrip("."))
    await strained.pool.execute("alter table outbox.pending reset (autovacuum_enabled)")
    assert says(await doctor()).startswith("fine: nothing keeps dead rows")


async def set_server(on: Postroom, name: str, value: str | None) -> None:
    await on.pool.execute(f"alter system {f'set {name} = {value}' if value else f'reset {name}'}")
    await on.pool.execute("select pg_reload_conf()")
    wanted = value or "on"
    async with asyncio.timeout(20):
        while await on.value(f"select current_setting('{name}')") != wanted:  # noqa: ASYNC110 -- told by a signal
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("name", "says_so"),
    [
        ("synchronous_commit", "synchronous_commit is off (by configuration file)"),
        ("autovacuum", "autovacuum is off: nothing clears dead rows away"),
        ("track_counts", "track_counts is off: nothing clears dead rows away"),
    ],
)
async def test_a_server_setting_that_endangers_events_is_told(strained: Postroom, doctor: Doctor, name: str, says_so: str) -> None:
    await set_server(strained, name, "off")
    try:
        found = [one["says"] for one in await doctor() if one["standing"] == "warn"]
    finally:
        await set_server(strained, name, None)
    assert [one for one in found if one.startswith(says_so)] == found
    assert len(found) == 1


async def test_commits_that_are_not_durable_for_this_database_or_a_role_are_told(strained: Postroom, doctor: Doctor) -> None:
    database = strained.dsn.split("@/")[1].split("?")[0]
    await strained.pool.execute(f"create role app_of_{database}")
    await strained.pool.execute(f"alter role app_of_{database} in database {database} set synchronous_commit = off")
    try:
        assert says(await doctor("durability")).startswith(f"warn: synchronous_commit is off for app_of_{database}")
        await strained.pool.execute(f"alter database {database} set synchronous_commit = off")
        assert says(await doctor("durability")).startswith("warn: synchronous_commit is off (by database)")
        await strained.pool.execute(f"alter database {database} reset synchronous_commit")
    finally:
        await strained.pool.execute(f"drop owned by app_of_{database}; alter role app_of_{database} in database {database} reset all")
        await strained.pool.execute(f"drop role app_of_{database}")
    assert await doctor("durability") == []


async def test_a_server_without_fsync_is_told(strained: Postroom, tmp_path: Path) -> None:
    ended = await asyncio.to_thread(called, "doctor", "--no-calls", "--json", DATABASE_URL=strained.dsn)
    assert [one["says"] for one in ended.json()["findings"] if one["area"] == "durability"] == FAST_SERVER


async def test_a_day_that_nobody_made_is_told_before_it_comes(strained: Postroom, doctor: Doctor) -> None:
    today = datetime.now(UTC).date()
    for ahead in (1, 2):
        for table in ("events", "attempts", "steps"):
            await strained.pool.execute(f"drop table outbox.{table}_{today + timedelta(days=ahead):%Y%m%d}")
    assert says(await doctor("days")).startswith(f"warn: partitions are made up to {today}, and events are counted as of {today}")


async def test_no_day_at_all_is_wrong(strained: Postroom, doctor: Doctor) -> None:
    for row in await strained.rows("select inhrelid::regclass::text part from pg_inherits where inhparent = 'outbox.steps'::regclass"):
        await strained.pool.execute(f"drop table {row['part']}")
    assert says(await doctor("days", code=1)).startswith("wrong: there is no partition for any day")


async def test_the_event_that_keeps_an_old_day_is_told(strained: Postroom, doctor: Doctor) -> None:
    await past_event(strained, 100, settle=True)
    day, event_id = await past_event(strained, 120, settle=False)
    [one] = await doctor("days")
    assert one["says"] == f"{day} is past retention, but is kept whole by event {event_id} (pending)"
    assert f"postroom events show {event_id}" in one["do"]


async def test_rows_that_name_no_event_are_wrong(strained: Postroom, doctor: Doctor) -> None:
    await strained.pool.execute(
        """insert into outbox.busy (lane, event_id, urgency, due_at, why)
           select n, n, 0, 'infinity', 'held for ghl' from unnest(array[-7, -3]) n"""
    )
    assert says(await doctor("days", code=1)).startswith("wrong: 2 rows of outbox.busy name no event (such as -7)")


async def test_a_database_that_does_not_freeze_is_told_before_it_stops(
    strained: Postroom, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server freezes by force from 100,000 transactions on, but somebody holds a snapshot older than that."""
    async with snapshot(strained.dsn):
        await burn(strained, 210_000)
        said = says(await doctor("wraparound"))
        assert "vacuum freezes by force from 100,000" in said
        assert said.startswith("warn: the oldest row is 2")
        monkeypatch.setattr(findings_storage, "NEARLY_WRAPPED", 200_000)
        assert says(await doctor("wraparound", code=1)).startswith("wrong: the oldest row is 2")
    await strained.pool.execute("vacuum (freeze)")
    assert await doctor("wraparound") == []
