"""One contract for every door to the outbox. Each test runs over each kind of connection that an app may have."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pydantic import BaseModel

from outbox import Event, InvalidEvent, KeyReused
from outbox.event import MAX_PAYLOAD_BYTES
from outbox.testing import Postroom
from tests.outbox.doors import Open, over_asyncpg

BOOKED = Event("salon.booked", {"name": "Ada"})
TEXTS = [
    "Zoë Ó Briain",
    "👩‍🔧 fixed",
    'it\'s "quoted" \\ %s %(x)s :name $1 ?',
    "line\nbreak\ttab\x7f\x01",
    "日本語 \u2028 \ufeff",
    "\\u0000 spelled out",
]


async def test_a_staged_event_is_answered_with_its_id_and_arrives_whole(postroom: Postroom, door: Open) -> None:
    async with door(postroom.dsn) as app:
        event_id = await app.stage(Event("salon.booked", {"name": "Ada"}, key="k1", lane="chair:1", source="till"))
        await app.commit()
    (event,) = await postroom.staged()
    assert event["id"] == event_id
    assert (event["source"], event["kind"], event["key"], event["lane"]) == ("till", "salon.booked", "k1", "chair:1")
    assert json.loads(event["payload"]) == {"name": "Ada"}
    assert (event["state"], event["why"]) == ("pending", "ready")


async def test_p3_an_event_exists_for_others_from_the_commit_on_and_not_before(postroom: Postroom, door: Open) -> None:
    async with door(postroom.dsn) as app:
        await app.stage(BOOKED)
        assert await postroom.staged() == [], "stage() committed the app's transaction"
        await app.commit()
        assert len(await postroom.staged()) == 1


async def test_p3_an_event_of_a_rolled_back_transaction_does_not_exist(postroom: Postroom, door: Open) -> None:
    async with door(postroom.dsn) as app:
        await app.stage(Event("salon.booked", {}, key="k1", lane="chair:1"))
        await app.rollback()
        await app.stage(Event("salon.moved", {}, key="k2"))
        await app.commit()
    assert [event["kind"] for event in await postroom.staged()] == ["salon.moved"]
    assert await postroom.value("select count(*) from outbox.keys") == 1
    assert await postroom.totals() == {"accepted": 1, "pending": 1, "dead": 0, "done": 0, "skipped": 0}


async def test_the_same_key_and_body_is_answered_with_the_first_id_and_counted(postroom: Postroom, door: Open) -> None:
    event = Event("salon.booked", {"name": "Ada", "chair": 2}, key="k1")
    async with door(postroom.dsn) as app:
        first = await app.stage(event)
        assert await app.stage(event) == first
        await app.commit()
    async with door(postroom.dsn) as app:
        assert await app.stage(Event("salon.booked", {"chair": 2, "name": "Ada"}, key="k1")) == first
        await app.commit()
    assert await postroom.rows("select event_id, seen from outbox.duplicates") == [{"event_id": first, "seen": 2}]
    assert len(await postroom.staged()) == 1


async def test_one_key_of_two_sources_is_two_keys(postroom: Postroom, door: Open) -> None:
    async with door(postroom.dsn) as app:
        first = await app.stage(Event("salon.booked", {}, key="k1", source="till"))
        assert await app.stage(Event("salon.booked", {}, key="k1", source="web")) != first
        await app.commit()
    assert len(await postroom.staged()) == 2


async def test_the_same_key_with_another_body_or_kind_is_refused_and_says_which(postroom: Postroom, python_door: Open) -> None:
    async with python_door(postroom.dsn) as app:
        first = await app.stage(Event("salon.booked", {"name": "Ada"}, key="k1"))
        await app.commit()
    for other in (Event("salon.booked", {"name": "Eve"}, key="k1"), Event("salon.moved", {"name": "Ada"}, key="k1")):
        async with python_door(postroom.dsn) as app:
            with pytest.raises(KeyReused) as caught:
                await app.stage(other)
            await app.rollback()
        assert str(caught.value) == f"outbox.stage: key 'k1' of source 'app' was used for another event ({first})"
    assert len(await postroom.staged()) == 1


async def test_an_event_due_later_is_delayed_until_then(postroom: Postroom, door: Open) -> None:
    due_at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    async with door(postroom.dsn) as app:
        event_id = await app.stage(Event("salon.reminded", {}, due_at=due_at, lane="chair:1"))
        await app.commit()
    assert await postroom.rows("select event_id, due_at from outbox.delayed") == [{"event_id": event_id, "due_at": due_at}]
    assert await postroom.value("select count(*) from outbox.pending") == 0
    (event,) = await postroom.staged()
    assert (event["state"], event["why"]) == ("pending", "delayed")


async def test_a_due_time_in_another_zone_means_the_same_moment(postroom: Postroom, door: Open) -> None:
    moment = datetime.fromisoformat("2199-06-01T12:00:00+05:30")
    async with door(postroom.dsn) as app:
        await app.stage(Event("salon.reminded", {}, due_at=moment))
        await app.commit()
    assert await postroom.value("select due_at from outbox.delayed") == moment


async def test_an_event_due_already_is_ready(postroom: Postroom, door: Open) -> None:
    async with door(postroom.dsn) as app:
        await app.stage(Event("salon.reminded", {}, due_at=datetime.now(UTC) - timedelta(seconds=1)))
        await app.commit()
    assert [event["why"] for event in await postroom.staged()] == ["ready"]


async def test_any_text_survives_in_payload_key_and_lane(postroom: Postroom, door: Open) -> None:
    async with door(postroom.dsn) as app:
        for text in TEXTS:
            await app.stage(Event("salon.booked", {"text": text, text: 1}, key=text, lane=text))
        await app.commit()
    for text, event in zip(TEXTS, await postroom.staged(), strict=True):
        assert json.loads(event["payload"]) == {"text": text, text: 1}
        assert (event["key"], event["lane"]) == (text, text)


async def test_numbers_survive_to_the_last_digit(postroom: Postroom, door: Open) -> None:
    numbers = [2**53 + 1, 10**40 + 7, -(2**63), 0.1, 1e-7, -12.50, 1.7976931348623157e308]
    async with door(postroom.dsn) as app:
        await app.stage(Event("salon.paid", {"numbers": numbers}))
        await app.commit()
    (event,) = await postroom.staged()
    exact = json.loads(event["payload"], parse_float=Decimal)["numbers"]
    assert exact == [Decimal(repr(number)) for number in numbers]


async def test_a_pydantic_model_is_a_payload(postroom: Postroom, door: Open) -> None:
    class Booking(BaseModel):
        name: str
        starts_at: datetime

    async with door(postroom.dsn) as app:
        await app.stage(Event("salon.booked", Booking(name="Ada", starts_at=datetime(2027, 1, 5, 10, tzinfo=UTC))))
        await app.commit()
    (event,) = await postroom.staged()
    assert json.loads(event["payload"]) == {"name": "Ada", "starts_at": "2027-01-05T10:00:00Z"}


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        (Event("", {}), "kind '' is not a word"),
        (Event("two words", {}), "kind 'two words' is not a word"),
        (Event("a\n", {}), "is not a word"),
        (Event("k" * 121, {}), "at most 120"),
        (Event("salon.booked", {}, source="App"), "source 'App' is not a lower-case word"),
        (Event("salon.booked", {}, key=""), "key has 1 to 400 characters"),
        (Event("salon.booked", {}, key="k" * 401), "key has 1 to 400 characters"),
        (Event("salon.booked", {}, key="a\x00b"), "no NUL"),
        (Event("salon.booked", {}, key="\ud800"), "key holds half of a surrogate pair"),
        (Event("salon.booked", {}, lane=""), "lane has 1 to 400 characters"),
        (Event("salon.booked", {}, due_at=datetime(2027, 1, 5)), "due_at needs a time zone"),  # noqa: DTZ001 -- the mistake itself
        (Event("salon.booked", {"text": "a\x00b"}), "NUL"),
        (Event("salon.booked", {"\x00": 1}), "NUL"),
        (Event("salon.booked", {"text": "\udfff"}), "is not JSON"),
        (Event("salon.booked", {"number": float("nan")}), "is not JSON"),
        (Event("salon.booked", {"at": datetime.now(UTC)}), "is not JSON"),
        (Event("salon.booked", {"text": "x" * MAX_PAYLOAD_BYTES}), "the limit is 1048576"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_event_that_breaks_a_rule_is_refused_by_name_and_nothing_is_staged(
    postroom: Postroom, event: Event, complaint: str
) -> None:
    async with over_asyncpg(postroom.dsn) as app:
        with pytest.raises(InvalidEvent) as caught:
            await app.stage(event)
        assert complaint in str(caught.value)
        await app.stage(BOOKED)  # refused before the database was asked, so the transaction goes on
        await app.commit()
    assert [event["kind"] for event in await postroom.staged()] == ["salon.booked"]


async def test_what_only_the_database_can_refuse_has_the_same_name_over_every_door(postroom: Postroom, python_door: Open) -> None:
    """Compact JSON of a model fits Python's limit; as Postgres writes it, with every zero, it does not."""

    class Amounts(BaseModel):
        amounts: list[float]

    event = Event("salon.counted", Amounts(amounts=[1e300] * (MAX_PAYLOAD_BYTES // 300)))
    event.payload_json()
    async with python_door(postroom.dsn) as app:
        with pytest.raises(InvalidEvent, match=r"^outbox\.stage: payload of \d+ bytes is over the limit of 1 MiB"):
            await app.stage(event)
        await app.rollback()
    assert await postroom.staged() == []


async def test_a_payload_of_exactly_the_limit_is_staged(postroom: Postroom, door: Open) -> None:
    payload = "x" * (MAX_PAYLOAD_BYTES - 2)
    async with door(postroom.dsn) as app:
        await app.stage(Event("salon.booked", payload))
        await app.commit()
    assert await postroom.value("select length(payload) from outbox.events") == MAX_PAYLOAD_BYTES
