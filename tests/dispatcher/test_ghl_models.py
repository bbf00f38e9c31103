"""GoHighLevel's shapes, read tolerantly, and the book of custom fields."""

import asyncio
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.clients.ghl_fields import AGAIN_S, KEEP_S, FieldBook
from dispatcher.clients.ghl_models import GhlContact, GhlCustomField, birthday, instant
from tests.dispatcher import patient

AT = datetime(2026, 11, 2, 10, 30, tzinfo=UTC)

json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["message", "error", "details", "meta", "contactId", "code", "id", "value"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@patient
@given(
    st.dictionaries(st.sampled_from([field.alias or name for name, field in GhlContact.model_fields.items()] + ["address"]), json_values)
)
def test_one_odd_member_never_loses_a_contact(members: dict[str, object]) -> None:
    contact = GhlContact.model_validate({**members, "id": "con1"})
    assert contact.id == "con1"
    assert all(isinstance(tag, str) for tag in contact.tags)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-02T10:30:00.000Z", AT),
        ("2026-11-02T16:00:00+05:30", AT),
        (1_793_615_400_000, AT),
        ("2026-11-02 10:30:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        (10**30, None),
        (True, None),
        ("soon", None),
        (None, None),
    ],
)
def test_a_time_is_certain_or_none(value: object, expected: datetime | None) -> None:
    assert instant(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1990-09-25", date(1990, 9, 25)),
        ("1990_09_25", date(1990, 9, 25)),
        ("09/25/1990", date(1990, 9, 25)),
        ("09.25.1990", date(1990, 9, 25)),
        ("1990-09-25T00:00:00.000Z", date(1990, 9, 25)),
        (654_220_800_000, date(1990, 9, 25)),
        (-315_619_200_000, date(1960, 1, 1)),
        ("25/25/1990", None),
        ("", None),
        ({}, None),
    ],
)
def test_a_birthday_is_read_from_every_notation(value: object, expected: date | None) -> None:
    assert birthday(value) == expected


class Shelf:
    """A location whose custom fields can be loaded slowly, and a clock to turn."""

    def __init__(self, *keys: str) -> None:
        self.keys, self.loads, self.now_s = list(keys), 0, 0.0
        self.asked, self.open = asyncio.Event(), asyncio.Event()
        self.open.set()
        self.book = FieldBook(self.load, clock=lambda: self.now_s)

    async def load(self) -> tuple[GhlCustomField, ...]:
        self.loads += 1
        self.asked.set()
        await self.open.wait()
        return tuple(GhlCustomField(id=f"id-{key}", key=f"contact.{key}") for key in self.keys)


async def test_fields_are_found_by_id_and_by_key_with_one_fetch() -> None:
    shelf = Shelf("status")
    found = [await shelf.book.find(name) for name in ("id-status", "status", "contact.status")]
    assert [field.id for field in found if field] == ["id-status"] * 3
    assert shelf.loads == 1


async def test_many_who_ask_at_once_cause_one_fetch() -> None:
    shelf = Shelf("status")
    shelf.open.clear()
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(shelf.book.find("status")) for _ in range(20)]
        await shelf.asked.wait()
        shelf.open.set()
    assert all(task.result() for task in asking)
    assert shelf.loads == 1


async def test_an_unknown_field_is_asked_for_again_but_not_in_a_storm() -> None:
    shelf = Shelf("status")
    assert await shelf.book.find("birthday") is None
    shelf.keys.append("birthday")
    assert await shelf.book.find("birthday") is None  # just asked: a field that does not exist must not cost a call each time
    shelf.now_s = AGAIN_S
    assert await shelf.book.find("birthday") is not None
    assert shelf.loads == 2


async def test_fields_are_fetched_again_after_an_hour() -> None:
    shelf = Shelf("status")
    await shelf.book.all()
    shelf.now_s, shelf.keys = KEEP_S, []
    assert await shelf.book.all() == ()


async def test_a_failed_or_cancelled_fetch_does_not_block_the_next() -> None:
    shelf = Shelf("status")
    shelf.open.clear()
    task = asyncio.create_task(shelf.book.all())
    await shelf.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    shelf.open.set()
    assert len(await shelf.book.all()) == 1
