"""What a role may do that was granted no more than docs/staging.md says, and what it may not."""

import asyncpg
import pytest

from outbox import Event, KeyReused, stage
from outbox.testing import Postroom


async def as_role(own: Postroom, role: str) -> "asyncpg.Connection[asyncpg.Record]":
    connection = await asyncpg.connect(own.dsn)
    await connection.execute(f"set role {role}")
    return connection


@pytest.fixture
async def app(own: Postroom, stranger: str) -> str:
    """A role with the grants of an app."""
    await own.pool.execute(f"grant usage on schema outbox to {stranger}; grant execute on function outbox.stage to {stranger}")
    return stranger


async def test_an_apps_role_stages_repeats_and_is_refused_as_anybody(own: Postroom, app: str) -> None:
    connection = await as_role(own, app)
    first = await stage(connection, Event("salon.booked", {"name": "Ada"}, key="k1", lane="chair:1"))
    assert await stage(connection, Event("salon.booked", {"name": "Ada"}, key="k1", lane="chair:1")) == first
    with pytest.raises(KeyReused):
        await stage(connection, Event("salon.booked", {"name": "Eve"}, key="k1"))
    await connection.close()
    assert [event["id"] for event in await own.staged()] == [first]


@pytest.mark.parametrize(
    "statement",
    [
        "select * from outbox.events",
        "select payload from outbox.events_{today}",
        "select * from outbox.keys",
        "select * from outbox.pending",
        "select * from outbox.handshakes",
        "select * from crm.leads",
        "delete from outbox.pending",
        "insert into outbox.events (source, kind, payload) values ('ghl', 'ghl.INSTALL', '')",
        "select nextval('outbox.event_ids')",
        "select setval('outbox.event_ids', 1)",
        "select * from outbox.states(array[1])",
        "select outbox.open_days(400)",
        "select outbox.digest('ghl', 'guess')",
        "select outbox.watch('pg_temp.mine')",
        "create trigger mine after insert on mine for each row execute function outbox.stage_change('{}', '{}')",
        "create function outbox.mine() returns int language sql return 1",
        "drop function outbox.stage",
    ],
)
async def test_an_apps_role_can_do_nothing_but_stage(own: Postroom, app: str, statement: str) -> None:
    today = await own.value("select to_char(now() at time zone 'UTC', 'YYYYMMDD')")
    connection = await as_role(own, app)
    await connection.execute("create temporary table mine (id int, status text)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement.replace("{today}", today))
    await connection.close()


async def test_a_role_without_grants_cannot_stage(own: Postroom, stranger: str) -> None:
    connection = await as_role(own, stranger)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await stage(connection, Event("salon.booked", {}))
    await own.pool.execute(f"grant usage on schema outbox to {stranger}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await stage(connection, Event("salon.booked", {}))
    await connection.close()
    assert await own.staged() == []


async def test_no_function_of_the_schema_is_open_to_everybody(own: Postroom, stranger: str) -> None:
    query = """select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'outbox'::regnamespace
               and has_function_privilege($1, p.oid, 'execute')"""
    assert await own.rows(query, stranger) == []


async def test_functions_that_run_with_the_owners_rights_look_names_up_in_no_schema_of_the_caller(own: Postroom) -> None:
    query = "select proname, proconfig from pg_proc where pronamespace = 'outbox'::regnamespace and prosecdef order by 1"
    found = {row["proname"]: row["proconfig"] for row in await own.rows(query)}
    assert found == {name: ["search_path=pg_catalog, pg_temp"] for name in ("stage", "stage_change")}


async def test_objects_of_the_caller_cannot_take_the_place_of_what_stage_uses(own: Postroom, app: str) -> None:
    connection = await as_role(own, app)
    await connection.execute("create temporary table events (id int); create temporary table keys (digest text)")
    await connection.execute("set search_path = pg_temp, public")
    await stage(connection, Event("salon.booked", {}, key="k1"))
    await connection.close()
    assert len(await own.staged()) == 1


async def test_whoever_writes_a_watched_table_stages_without_any_grant_on_the_outbox(own: Postroom, stranger: str) -> None:
    await own.pool.execute("create table bookings (id int primary key, status text)")
    await own.pool.execute(f"select outbox.watch('bookings'); grant insert on bookings to {stranger}")
    connection = await as_role(own, stranger)
    await connection.execute("insert into bookings values (7, 'scheduled')")
    await connection.close()
    assert [event["kind"] for event in await own.staged()] == ["appointment.created"]


async def test_the_owner_of_a_table_may_watch_it_once_the_three_functions_are_granted(own: Postroom, app: str) -> None:
    await own.pool.execute(f"create schema shop authorization {app}")
    await own.pool.execute(f"grant execute on function outbox.watch, outbox.unwatch, outbox.stage_change to {app}")
    connection = await as_role(own, app)
    await connection.execute("create table shop.bookings (id int primary key, status text)")
    await connection.execute("select outbox.watch('shop.bookings')")
    await connection.execute("insert into shop.bookings values (7, 'scheduled')")
    await connection.execute("select outbox.unwatch('shop.bookings')")
    await connection.execute("insert into shop.bookings values (8, 'scheduled')")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("select * from outbox.events")
    await connection.close()
    assert [event["lane"] for event in await own.staged()] == ["appointment:7"]
