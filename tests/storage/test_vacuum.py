"""How tables are vacuumed: as the schema says, in every database however it came to its version; and oversized tables are cut again."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from outbox import db, migrate
from outbox.embedded import Embedded
from outbox.store import days, storage
from outbox.testing import Postroom
from tests.outbox.conftest import new_database
from tests.outbox.engine import check_invariants, put, worker
from tests.storage.held import snapshot

SWINGS = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "20000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_vacuum_insert_threshold": "-1",
}
GROWS = {"autovacuum_vacuum_insert_threshold": "-1", "autovacuum_freeze_min_age": "0"}
WANTED = {
    "pending": {**SWINGS, "vacuum_truncate": "off"},
    "busy": {**SWINGS, "vacuum_truncate": "off", "fillfactor": "70"},
    "delayed": {**SWINGS, "autovacuum_vacuum_threshold": "5000"},
    "keys": GROWS,
}


async def options(on: Postroom | db.Connection) -> dict[str, dict[str, str]]:
    """What each table was told, by its name."""
    query = """select c.relname, o.option_name, o.option_value from pg_class c cross join pg_options_to_table(c.reloptions) o
               where c.relnamespace = 'outbox'::regnamespace and c.relkind = 'r'"""
    found: dict[str, dict[str, str]] = {}
    for row in await (on.pool if isinstance(on, Postroom) else on).fetch(query):
        found.setdefault(row["relname"], {})[row["option_name"]] = row["option_value"]
    return found


def check(found: dict[str, dict[str, str]]) -> None:
    today = datetime.now(UTC).date()
    parts = {f"{table}_{today + timedelta(days=ahead):%Y%m%d}" for table in days.PARTITIONED for ahead in range(3)}
    assert found == WANTED | dict.fromkeys(parts, GROWS)


async def test_tables_are_vacuumed_as_the_schema_says(strained: Postroom) -> None:
    check(await options(strained))


async def test_days_that_were_made_before_the_schema_said_so_are_vacuumed_alike(
    strained_server: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with new_database(strained_server) as dsn:
        connection = await db.connect(dsn, name="postroom:test", timeout_s=60)
        known = migrate.migrations()
        with monkeypatch.context() as earlier:
            earlier.setattr(migrate, "migrations", lambda: known[:1])
            await migrate.migrate(connection)
        assert "keys" not in await options(connection)
        await migrate.migrate(connection)
        check(await options(connection))
        await connection.close()


async def blow_up(strained: Postroom) -> int:
    """Fills pending with dead rows, which a vacuum clears away without giving the space back. Its size."""
    await strained.pool.execute("insert into outbox.pending (urgency, lane, event_id) select 0, n, n from generate_series(1, 30000) n")
    await strained.pool.execute("delete from outbox.pending")
    await strained.pool.execute("vacuum outbox.pending")
    return int(await strained.value("select pg_relation_size('outbox.pending')"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte is large."""
    monkeypatch.setattr(storage, "OVERSIZE_BYTES", 1024 * 1024)


async def shrink(strained: Postroom) -> list[str]:
    async with strained.pool.acquire() as connection:
        return await storage.shrink(connection)


@pytest.mark.usefixtures("small")
async def test_a_table_that_was_blown_up_is_cut_once_its_dead_rows_are_gone(strained: Postroom) -> None:
    before = await blow_up(strained)
    assert before > storage.OVERSIZE_BYTES, "vacuum by itself leaves it as it is"
    assert await shrink(strained) == ["pending"]
    assert await strained.value("select pg_relation_size('outbox.pending')") == 0
    assert await shrink(strained) == []


@pytest.mark.usefixtures("small")
async def test_a_table_is_not_cut_while_dead_rows_fill_it_nor_while_live_ones_do(strained: Postroom) -> None:
    async with snapshot(strained.dsn):
        await blow_up(strained)
        assert await shrink(strained) == [], "nothing is to be had"
    await strained.pool.execute("vacuum outbox.pending")
    await strained.pool.execute("insert into outbox.pending (urgency, lane, event_id) select 0, n, n from generate_series(1, 20000) n")
    await strained.pool.execute("vacuum analyze outbox.pending")
    assert await shrink(strained) == []


@pytest.mark.usefixtures("small")
async def test_events_that_wait_in_a_table_that_is_cut_stay(strained: Postroom) -> None:
    (first,) = await put(strained, "chair:1")
    await blow_up_beside(strained)
    (last,) = await put(strained, "chair:2")
    await strained.pool.execute("vacuum outbox.pending")
    assert await shrink(strained) == ["pending"]
    async with worker(strained) as me:
        assert sorted(event.id for event in await me.claim()) == [first, last]
    await check_invariants(strained)


async def blow_up_beside(strained: Postroom) -> None:
    await strained.pool.execute("insert into outbox.pending (urgency, lane, event_id) select 1, n, n from generate_series(1, 30000) n")
    await strained.pool.execute("delete from outbox.pending where urgency = 1")
    await strained.pool.execute("vacuum outbox.pending")


@pytest.mark.usefixtures("small")
async def test_nobody_waits_for_the_cut_and_it_waits_for_nobody(strained: Postroom) -> None:
    """Somebody has the table: the vacuum gives up its cut, and stagers pass meanwhile."""
    before = await blow_up(strained)
    async with strained.pool.acquire() as reader, reader.transaction():
        await reader.execute("select from outbox.pending")
        async with asyncio.timeout(20):
            cutting = asyncio.create_task(shrink(strained))
            while not cutting.done():
                await put(strained, "chair:1")
            assert await cutting == ["pending"]
    assert await strained.value("select pg_relation_size('outbox.pending')") >= before
