"""What surrounds the contract of the doors: refusals of the SQL function itself, other kinds of connections, the wake-up."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg import RawCursor
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from outbox import Event, InvalidEvent, stage
from outbox.testing import Postroom

EVENT = Event("salon.booked", {"name": "Ada"})


@pytest.mark.parametrize(
    ("call", "sqlstate", "complaint"),
    [
        ("outbox.stage(null, '{}')", "22023", "kind NULL is not a word"),
        ("outbox.stage('two words', '{}')", "22023", "kind 'two words' is not a word"),
        ("outbox.stage(e'a\\n', '{}')", "22023", "is not a word"),
        ("outbox.stage('ä', '{}')", "22023", "is not a word"),
        ("outbox.stage('a', null)", "22004", "payload and due_at must not be null"),
        ("outbox.stage('a', '{}', due_at => null)", "22004", "payload and due_at must not be null"),
        ("outbox.stage('a', '{}', due_at => 'infinity')", "22023", "due_at must be finite"),
        ("outbox.stage('a', '{}', key => '')", "22023", "key and lane have 1 to 400 characters"),
        ("outbox.stage('a', '{}', lane => repeat('x', 401))", "22023", "key and lane have 1 to 400 characters"),
        ("outbox.stage('a', '{}', source => null)", "22023", "source NULL is not a lower-case word"),
        ("outbox.stage('a', '{}', source => 'Shop')", "22023", "source 'Shop' is not a lower-case word"),
        ("outbox.stage('a', to_jsonb(repeat('x', 1048576)))", "54000", "payload of 1048578 bytes is over the limit of 1 MiB"),
        ("outbox.stage('a', '[2]', key => 'used')", "PR001", "key 'used' of source 'app' was used for another event"),
    ],
)
async def test_the_sql_function_refuses_by_itself_and_says_why(postroom: Postroom, call: str, sqlstate: str, complaint: str) -> None:
    await postroom.pool.execute("select outbox.stage('a', '[1]', key => 'used')")
    with pytest.raises(asyncpg.PostgresError) as caught:
        await postroom.pool.execute(f"select {call}")
    assert caught.value.sqlstate == sqlstate
    assert str(caught.value).startswith("outbox.stage: ")
    assert complaint in str(caught.value)
    assert await postroom.value("select count(*) from outbox.events") == 1


async def test_a_key_is_taken_to_its_400_characters(postroom: Postroom) -> None:
    longest = "ö" * 400
    async with postroom.pool.acquire() as connection:
        first = await stage(connection, Event("a", {}, key=longest, lane=longest))
        assert await stage(connection, Event("a", {}, key=longest, lane=longest)) == first


async def test_an_apps_own_error_keeps_its_name(postroom: Postroom) -> None:
    """Only what the outbox said is renamed: here a transaction that failed before."""
    async with postroom.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("select 1/0")
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await stage(connection, EVENT)
        await transaction.rollback()


def test_a_psycopg_connection_may_make_whatever_cursors_the_app_likes(postroom_database: str) -> None:
    with psycopg.connect(postroom_database, cursor_factory=RawCursor) as connection:
        assert stage(connection, EVENT) > 0
        connection.rollback()


class OurConnection(psycopg.Connection[Any]):
    """As an app might derive it."""


def test_an_apps_own_subclass_of_a_connection_is_known(postroom_database: str) -> None:
    with OurConnection.connect(postroom_database) as connection:
        assert stage(connection, EVENT) > 0
        connection.rollback()


def test_a_scoped_session_is_a_session(postroom_database: str) -> None:
    engine = sqlalchemy.create_engine(postroom_database.replace("postgresql:", "postgresql+psycopg:", 1), poolclass=NullPool)
    session: scoped_session[Session] = scoped_session(sessionmaker(engine))
    assert stage(session, EVENT) > 0
    session.remove()


async def test_a_pool_a_cursor_and_an_engine_have_no_transaction_to_stage_in(postroom: Postroom) -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://", poolclass=NullPool)
    with psycopg.connect(postroom.dsn) as connection:
        for wrong in (postroom.pool, connection.cursor(), engine, "postgresql://", None):
            with pytest.raises(TypeError, match=r"stage\(\) works on connections of asyncpg, psycopg and SQLAlchemy"):
                stage(wrong, EVENT)
    assert await postroom.staged() == []


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"key": UUID(int=7)}, "key is a UUID, not a text"),
        ({"lane": 12}, "lane is a int, not a text"),
        ({"kind": b"a"}, "kind is a bytes, not a text"),
        ({"source": None}, "source is a NoneType, not a text"),
        ({"due_at": "tomorrow"}, "due_at is a str, not a datetime"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_invalid_event(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidEvent, match=complaint):
        Event(**{"kind": "a", "payload": {}, **values}).payload_json()


async def test_a_commit_wakes_the_listeners_and_a_rollback_does_not(postroom: Postroom) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with postroom.pool.acquire() as listener, postroom.pool.acquire() as app:
        await listener.add_listener("postroom", lambda *_: heard.put_nowait("staged"))
        await listener.add_listener("fence", lambda *_: heard.put_nowait("fence"))
        transaction = app.transaction()
        await transaction.start()
        await stage(app, EVENT)
        await transaction.rollback()
        await app.execute("notify fence")
        assert await asyncio.wait_for(heard.get(), 10) == "fence"
        async with app.transaction():
            await stage(app, EVENT)
        assert await asyncio.wait_for(heard.get(), 10) == "staged"
        await listener.reset()


async def test_while_one_long_transaction_holds_the_bell_others_stage_without_waiting(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as slow, postroom.pool.acquire() as quick:
        transaction = slow.transaction()
        await transaction.start()
        await stage(slow, EVENT)
        await asyncio.wait_for(stage(quick, EVENT), 10)
        assert len(await postroom.staged()) == 1
        await transaction.rollback()


async def test_ids_stay_exact_in_a_double_and_carry_the_day(postroom: Postroom) -> None:
    event_id = await postroom.value("select outbox.stage('a', '{}')")
    assert event_id < 2**53
    assert float(event_id) == event_id
    bounds = await postroom.rows(
        "select outbox.first_id((now() at time zone 'UTC')::date - 1) low, outbox.first_id((now() at time zone 'UTC')::date + 1) high"
    )
    assert bounds[0]["low"] < event_id < bounds[0]["high"]
    assert await postroom.value("select outbox.first_id('2300-01-01') < 9007199254740992::bigint")
