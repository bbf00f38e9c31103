"""Who pins the horizon: each kind of holder is real, found by name, and no longer found when it let go."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from outbox import db
from outbox.store import horizon
from outbox.store.horizon import Keeps, Pin, What
from outbox.testing import Postroom
from tests.outbox.waiting import until
from tests.storage.held import snapshot, staging, writing
from tests.storage.standby import standby


async def pins(on: Postroom, *, over_s: float = 0, over_xids: int = -1) -> list[Pin]:
    """All that pin it, however shortly, but for this test's own pool."""
    return [pin for pin in await horizon.pins(on.pool, over_s=over_s, over_xids=over_xids) if pin.application != "postroom:test"]


def socket_of(on: Postroom) -> str:
    """The server's socket, from a connection string."""
    query = parse_qs(urlsplit(on.dsn).query)
    return f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"


async def burn(on: Postroom, transactions: int) -> None:
    """So many transaction ids are used up."""
    await on.pool.execute("create table if not exists public.burnt (n int)")
    await on.pool.execute(
        f"""do $$ begin for n in 1..{transactions} loop
              begin insert into public.burnt values (n); exception when division_by_zero then null; end; end loop; end $$"""
    )


async def test_nobody_pins_the_horizon_of_a_quiet_database(strained: Postroom) -> None:
    assert await pins(strained) == []


async def test_an_idle_snapshot_is_found_with_its_process_its_name_and_its_age(strained: Postroom) -> None:
    async with snapshot(strained.dsn, name="nightly report") as holder:
        await burn(strained, 50)
        [pin] = await pins(strained)
        assert (pin.what, pin.name, pin.application) == (What.BACKEND, str(holder.get_server_pid()), "nightly report")
        assert (pin.state, pin.keeps) == ("idle in transaction", Keeps.ROWS)
        assert pin.since == await holder.fetchval("select now()")
        assert pin.age_s is not None
        assert 0 < pin.age_s < 60
        assert 50 <= pin.xids < 200
        assert await pins(strained, over_s=60) == [], "it is young"
    assert await pins(strained) == []


async def test_a_transaction_that_only_writes_is_found_too_and_the_oldest_comes_first(strained: Postroom) -> None:
    async with writing(strained.dsn, name="import"):
        await burn(strained, 5)
        async with staging(strained.dsn, name="app"):
            assert [pin.application for pin in await pins(strained)] == ["import", "app"]


async def test_a_transaction_that_holds_nothing_is_not_named(strained: Postroom) -> None:
    connection = await db.connect(strained.dsn, name="harmless")
    async with connection.transaction():
        await connection.execute("select 1")
        assert await pins(strained) == []
    await connection.close()


async def test_holders_of_another_database_are_not_ours(strained: Postroom) -> None:
    elsewhere = strained.dsn.replace(strained.dsn.split("@/")[1].split("?")[0], "postgres")
    async with snapshot(elsewhere):
        assert await pins(strained) == []


async def test_a_prepared_transaction_is_found_when_its_session_is_long_gone(strained: Postroom) -> None:
    connection = await db.connect(strained.dsn, name="coordinator")
    await connection.execute("create table public.orders (n int)")
    await connection.execute("begin")
    await connection.execute("insert into public.orders values (1)")
    await connection.execute("prepare transaction 'order-17''s payment'")
    await connection.close()
    [pin] = await pins(strained)
    assert (pin.what, pin.name, pin.state, pin.keeps) == (What.PREPARED, "order-17's payment", None, Keeps.ROWS)
    assert pin.since is not None
    await strained.pool.execute("rollback prepared 'order-17''s payment'")
    assert await pins(strained) == []


async def test_a_standby_that_feeds_back_is_found_while_it_is_connected(strained: Postroom) -> None:
    oldest = int(await strained.value("select pg_current_xact_id()::text::bigint"))
    async with standby(socket_of(strained), name="reports-standby") as far:
        await far.need(oldest)

        async def is_found() -> bool:
            return bool(await pins(strained))

        await until(is_found)
        [pin] = await pins(strained)
        assert (pin.what, pin.application, pin.keeps) == (What.STANDBY, "reports-standby", Keeps.ROWS)
        assert await pins(strained, over_xids=1000) == [], "a standby that keeps up is as it should be"

    async def is_gone() -> bool:
        return not await pins(strained)

    await until(is_gone)


async def test_a_slot_goes_on_holding_when_its_standby_is_gone(strained: Postroom) -> None:
    await strained.pool.execute("select pg_create_physical_replication_slot('reports', true)")
    try:
        assert await pins(strained) == [], "nobody has asked it for anything"
        oldest = int(await strained.value("select pg_current_xact_id()::text::bigint"))
        async with standby(socket_of(strained), slot="reports") as far:
            await far.need(oldest)

            async def is_found() -> bool:
                return any(pin.what is What.SLOT for pin in await pins(strained))

            await until(is_found)

        async def is_inactive() -> bool:
            return [(pin.what, pin.state) for pin in await pins(strained)] == [(What.SLOT, "inactive")]

        await until(is_inactive)
        await burn(strained, 20)
        [pin] = await pins(strained, over_s=3600, over_xids=1_000_000)
        assert (pin.name, pin.keeps) == ("reports", Keeps.ROWS)
        assert pin.xids >= 20
        assert pin.wal_bytes is not None
        assert pin.wal_bytes > 0
    finally:
        await strained.pool.execute("select pg_drop_replication_slot('reports')")
    assert await pins(strained) == []


async def test_a_logical_slot_holds_the_catalogs_and_the_log(strained: Postroom) -> None:
    await strained.pool.execute("select pg_create_logical_replication_slot('warehouse', 'pgoutput')")
    try:
        [pin] = await pins(strained)
        assert (pin.what, pin.name, pin.application, pin.state) == (What.SLOT, "warehouse", "pgoutput", "inactive")
        assert pin.keeps is Keeps.CATALOGS
    finally:
        await strained.pool.execute("select pg_drop_replication_slot('warehouse')")


async def test_a_vacuum_holds_nothing_and_is_not_named(strained: Postroom) -> None:
    await strained.pool.execute("create table public.large as select n from generate_series(1, 20000) n")
    connection = await db.connect(strained.dsn, name="vacuum by hand", timeout_s=30)
    await connection.execute("set vacuum_cost_delay = '100ms'; set vacuum_cost_limit = 1")
    vacuum = asyncio.create_task(connection.execute("vacuum (freeze) public.large"))

    async def runs() -> bool:
        return bool(await strained.value("select exists (select from pg_stat_progress_vacuum where datname = current_database())"))

    try:
        await until(runs)
        assert await pins(strained) == []
    finally:
        vacuum.cancel()
        await asyncio.gather(vacuum, return_exceptions=True)
        connection.terminate()


async def test_a_role_that_may_not_see_others_sessions_still_learns_which_process_it_is(strained: Postroom) -> None:
    name = f"doctor_{strained.dsn.split('@/')[1].split('?')[0]}"
    await strained.pool.execute(f"create role {name}")
    try:
        async with snapshot(strained.dsn, name="report") as holder, strained.pool.acquire() as connection:
            await burn(strained, 50)
            await connection.execute(f"set role {name}")
            found = [pin for pin in await horizon.pins(connection, over_xids=10) if pin.application == "report"]
            assert await horizon.pins(connection, over_xids=1000) == []
            await connection.execute("reset role")
            [pin] = found
            assert (pin.name, pin.since, pin.age_s, pin.state) == (str(holder.get_server_pid()), None, None, None)
            assert pin.xids >= 50
    finally:
        await strained.pool.execute(f"drop role {name}")


@pytest.mark.parametrize("over_s", [None, 0.0])
async def test_only_what_holds_for_long_is_told_unless_asked(strained: Postroom, over_s: float | None) -> None:
    async with snapshot(strained.dsn, name="report"):
        found = [pin.application for pin in await horizon.pins(strained.pool, over_s=over_s)]
    assert ("report" in found) is (over_s is not None)
