"""Properties of an event's shape: what Python lets through is what outbox.stage() accepts, and both name a key alike."""

import json
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from outbox import Event, InvalidEvent
from outbox.event import Claimed, digest
from outbox.testing import Postroom

# One database for all examples: nothing is kept, each rolls back.
ON_POSTGRES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def joined(text: str) -> str:
    """Two halves of a surrogate pair side by side, which no decoder makes, are the character that they mean."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


anything = st.text(st.characters(codec=None, categories=None))
odd_text = st.one_of(
    anything,
    st.sampled_from(["\x00", "\\u0000", "\\\\u0000", "\\\x00", "\ud83d\ude00", "\ud83d", "\\ud800", '"\\', "\u2028", "\ufeff"]),
    st.lists(st.sampled_from(["\\", "u0000", "\x00", '"', "\ud800"]), max_size=6).map("".join),
).map(joined)
kinds = odd_text | st.from_regex(r"[A-Za-z0-9._:\n -]{0,125}", fullmatch=True)
sources = odd_text | st.from_regex(r"[a-z0-9_:-]{0,62}\n?")
sql_text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_text, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
async def connection(postroom: Postroom) -> Any:
    connection = await asyncpg.connect(postroom.dsn)
    yield connection
    await connection.close()


async def is_accepted(connection: Any, *arguments: object) -> bool:
    """What the database itself says to an event; whatever was staged is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("select outbox.stage($1, cast($2::text as jsonb), $3, $4, now(), $5)", *arguments)
    except asyncpg.DataError:  # Postgres's own refusals, and what the driver cannot even encode
        return False
    finally:
        await transaction.rollback()
    return True


def lets_through(event: Event) -> str | None:
    try:
        return event.payload_json()
    except InvalidEvent:
        return None


@ON_POSTGRES
@given(values)
@example({"text": "\\u0000"})
@example({"text": "\\\\u0000"})
@example({"\\\x00": 0})
@example([float("inf")])
@example([1e308, -0.0, 5e-324])
async def test_python_lets_through_exactly_the_payloads_that_the_database_accepts(connection: Any, payload: object) -> None:
    raw = json.dumps(payload)  # as any client would send it, NaN and all
    text = lets_through(Event("a", payload))
    assert (text is not None) == await is_accepted(connection, "a", raw, None, None, "app")
    if text is not None:
        assert await connection.fetchval("select $1::text::jsonb = $2::text::jsonb", text, raw)


@ON_POSTGRES
@given(kind=kinds, source=sources)
@example(kind="a\n", source="app")
@example(kind="a", source="app\n")
@example(kind="é", source="ä")
@example(kind="a" * 120, source="a" * 60)
@example(kind="a" * 121, source="a" * 61)
async def test_python_and_the_database_agree_on_kinds_and_sources(connection: Any, kind: str, source: str) -> None:
    assert (lets_through(Event(kind, {}, source=source)) is not None) == await is_accepted(connection, kind, "{}", None, None, source)


@ON_POSTGRES
@given(key=odd_text | st.text(min_size=395, max_size=405), lane=odd_text)
async def test_python_and_the_database_agree_on_keys_and_lanes(connection: Any, key: str, lane: str) -> None:
    assert (lets_through(Event("a", {}, key=key, lane=lane)) is not None) == await is_accepted(connection, "a", "{}", key, lane, "app")


@ON_POSTGRES
@given(source=sql_text, key=sql_text)
async def test_a_key_has_one_digest_in_python_and_in_sql(connection: Any, source: str, key: str) -> None:
    in_sql = await connection.fetchval("select outbox.digest($1, $2)", source, key)
    assert in_sql.bytes == digest(source, key).bytes


def test_source_and_key_are_told_apart_in_a_digest() -> None:
    assert digest("ab", "c") != digest("a", "bc")


@settings(deadline=None)
@given(values)
def test_no_payload_raises_anything_but_invalid_event(payload: object) -> None:
    text = lets_through(Event("a", payload))
    if text is not None:
        json.loads(text)


def test_what_json_cannot_say_is_an_invalid_event() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    ring: dict[str, Any] = {}
    ring["ring"] = ring
    for payload in (deep, ring, {1, 2}, {(1, 2): 3}, b"bytes", object(), 10**5000):
        with pytest.raises(InvalidEvent, match="the payload of a is not JSON"):
            Event("a", payload).payload_json()


def test_a_claimed_event_reads_its_payload() -> None:
    moment: Any = None
    event = Claimed(1, 2, 0, 1, 0, 0, "app", "a", None, None, b'{"name": "Ada"}', moment)
    assert event.json() == {"name": "Ada"}
    with pytest.raises(ValueError, match="Expecting value"):
        event._replace(payload=b"\xff\xfe").json()
