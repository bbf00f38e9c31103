"""The database lets one appointment of a resource stand at a time, whoever writes, however many at once."""

import asyncio
import random
from itertools import pairwise
from uuid import UUID

import asyncpg
import pytest

from outbox.db import Connection
from outbox.errors import SlotTaken
from outbox.store import appointments
from outbox.testing import Postroom
from tests.outbox.booking import HOUR, TEN, fields, insert
from tests.outbox.waiting import until_it_waits_for_a_lock


@pytest.mark.parametrize(
    ("hour", "hours", "fits"),
    [(-1, 1, True), (1, 1, True), (0, 1, False), (-0.5, 1, False), (0.5, 1, False), (0.25, 0.5, False), (-1, 3, False), (1, 0.5, True)],
)
async def test_two_overlap_unless_one_begins_when_the_other_ends(postroom: Postroom, hour: float, hours: float, *, fits: bool) -> None:
    await insert(postroom.pool)
    if fits:
        await insert(postroom.pool, hour, hours=hours)
    else:
        with pytest.raises(asyncpg.ExclusionViolationError, match="appointments_slot"):
            await insert(postroom.pool, hour, hours=hours)
    assert await postroom.value("select count(*) from crm.appointments") == (2 if fits else 1)


async def test_only_what_is_of_one_resource_and_stands_takes_a_slot(postroom: Postroom) -> None:
    for resource, status in (
        ("chair 1", "confirmed"),
        ("chair 1", "cancelled"),
        ("chair 1", "completed"),
        ("chair 2", "scheduled"),
        ("Chair 1", "scheduled"),
        ("chair 1 ", "scheduled"),
        (None, "scheduled"),
        (None, "confirmed"),
    ):
        await insert(postroom.pool, resource=resource, status=status)
    with pytest.raises(asyncpg.ExclusionViolationError):
        await insert(postroom.pool)


@pytest.mark.parametrize("end", ["cancelled", "completed"])
async def test_an_appointment_that_ended_frees_its_slot_at_once(postroom: Postroom, end: str) -> None:
    first = await insert(postroom.pool)
    async with postroom.pool.acquire() as connection, connection.transaction():
        await connection.execute("update crm.appointments set status = $2 where id = $1", first, end)
        await insert(connection)
    assert await postroom.value("select count(*) from crm.appointments where status = 'scheduled'") == 1


async def test_an_appointment_may_be_moved_onto_its_own_time(postroom: Postroom) -> None:
    made = await insert(postroom.pool)
    await postroom.pool.execute("update crm.appointments set starts_at = starts_at + interval '10 min' where id = $1", made)
    await postroom.pool.execute("update crm.appointments set starts_at = starts_at - interval '10 min', title = 'Colour'")
    async with postroom.pool.acquire() as connection:
        moved = await appointments.change(connection, made, **fields(0.5))
    assert moved["starts_at"] == TEN + HOUR / 2


async def test_the_store_names_what_is_in_the_way_and_its_transaction_goes_on(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction():
        later = await appointments.create(connection, **fields(1))
        first = await appointments.create(connection, **fields(0))
        with pytest.raises(SlotTaken) as caught:
            await appointments.create(connection, **fields(0.5))
        taken = caught.value
        assert (taken.appointment_id, taken.starts_at, taken.ends_at, taken.resource) == (first["id"], TEN, TEN + HOUR, "chair 1")
        assert str(taken) == (
            f"'chair 1' is taken by appointment {first['id']}, 2027-01-05 10:00 to 2027-01-05 11:00 UTC; "
            "choose another time or another resource"
        )
        with pytest.raises(SlotTaken) as caught:
            await appointments.change(connection, first["id"], **fields(0.5))
        assert caught.value.appointment_id == later["id"], "never itself"
        assert (await appointments.create(connection, **fields(2)))["resource"] == "chair 1"


async def test_a_slot_whose_taker_cannot_be_seen_is_taken_all_the_same(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        await connection.execute("select 1")
        await insert(postroom.pool)
        with pytest.raises(SlotTaken, match=r"^'chair 1' is taken by another appointment, 2027-01-05 10:30") as caught:
            await appointments.create(connection, **fields(0.5))
    assert caught.value.appointment_id is None


async def test_of_20_that_book_one_slot_at_the_same_moment_one_gets_it_and_none_dies_as_a_deadlock(postroom: Postroom) -> None:
    connections = [await asyncpg.connect(postroom.dsn) for _ in range(20)]
    begun = asyncio.Barrier(len(connections))

    async def book(connection: Connection, n: int) -> str:
        try:
            async with connection.transaction():
                await begun.wait()
                await insert(connection, n / 100)
        except asyncpg.PostgresError as problem:
            return type(problem).__name__
        return "booked"

    answers = await asyncio.gather(*(book(connection, n) for n, connection in enumerate(connections)))
    assert sorted(answers) == ["ExclusionViolationError"] * 19 + ["booked"]
    for connection in connections:
        await connection.close()


async def test_of_20_that_are_moved_to_one_slot_at_the_same_moment_one_gets_it(postroom: Postroom) -> None:
    made = [await insert(postroom.pool, hour) for hour in range(20)]
    connections = [await asyncpg.connect(postroom.dsn) for _ in made]
    begun = asyncio.Barrier(len(connections))

    async def move(connection: Connection, which: UUID) -> str:
        try:
            await begun.wait()
            await appointments.change(connection, which, **fields(100))
        except SlotTaken as taken:
            return str(taken.appointment_id)
        return "moved"

    answers = await asyncio.gather(*(move(connection, which) for connection, which in zip(connections, made, strict=True)))
    assert answers.count("moved") == 1
    assert set(answers) == {"moved", str(made[answers.index("moved")])}, "every other was told who has it"
    for connection in connections:
        await connection.close()


async def test_two_that_book_the_same_slots_in_another_order_take_turns_and_do_not_deadlock(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as one, postroom.pool.acquire() as other:

        async def book(connection: Connection, *hours: int) -> str:
            try:
                async with connection.transaction():
                    for hour in hours:
                        await insert(connection, hour)
            except asyncpg.PostgresError as problem:
                return type(problem).__name__
            return "booked"

        async with one.transaction():
            await insert(one, 0)
            waiting = asyncio.create_task(book(other, 2, 0))
            await until_it_waits_for_a_lock(postroom, other.get_server_pid())
            await insert(one, 2)
        assert await waiting == "ExclusionViolationError"


async def test_a_slot_is_free_again_when_the_transaction_that_had_it_rolls_back(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as one, postroom.pool.acquire() as other:
        transaction = one.transaction()
        await transaction.start()
        await insert(one)
        waiting = asyncio.create_task(insert(other))
        await until_it_waits_for_a_lock(postroom, other.get_server_pid())
        await transaction.rollback()
        assert await waiting == await postroom.value("select id from crm.appointments")


async def test_random_bookings_never_overlap(postroom: Postroom) -> None:
    """Against the rule said anew: sort what stands, and no one begins before the one before it has ended."""
    rng = random.Random(4711)
    for _ in range(150):
        ids = [row["id"] for row in await postroom.rows("select id from crm.appointments where status = 'scheduled'")]
        try:
            match rng.randrange(4):
                case 0 if ids:
                    await postroom.pool.execute("update crm.appointments set status = 'cancelled' where id = $1", rng.choice(ids))
                case 1 if ids:
                    given = fields(rng.randrange(24) / 2, hours=rng.choice([0.5, 1, 2]), resource=rng.choice(["a", "b"]))
                    async with postroom.pool.acquire() as connection:
                        await appointments.change(connection, rng.choice(ids), **given)
                case _:
                    await insert(postroom.pool, rng.randrange(24) / 2, hours=rng.choice([0.5, 1, 2]), resource=rng.choice(["a", "b"]))
        except (SlotTaken, asyncpg.ExclusionViolationError):
            pass
        for resource in ("a", "b"):
            stand = await postroom.rows(
                "select starts_at, ends_at from crm.appointments where resource = $1 and status = 'scheduled' order by starts_at", resource
            )
            assert all(earlier["ends_at"] <= later["starts_at"] for earlier, later in pairwise(stand))
    assert await postroom.value("select count(*) from crm.appointments") > 20


async def test_the_longest_names_of_resources_fit_the_index(postroom: Postroom) -> None:
    rng = random.Random(1)
    names = ["".join(chr(rng.randrange(0x10000, 0x10FFFF)) for _ in range(200)) for _ in range(50)]
    for name in names:
        await insert(postroom.pool, resource=name)
    with pytest.raises(asyncpg.ExclusionViolationError):
        await insert(postroom.pool, resource=names[7])
    for name in ("", "x" * 201):
        with pytest.raises(asyncpg.CheckViolationError):
            await insert(postroom.pool, resource=name)


async def test_the_slots_need_no_extension(own: Postroom) -> None:
    assert await own.rows("select extname from pg_extension") == [{"extname": "plpgsql"}]
    await insert(own.pool)
    with pytest.raises(asyncpg.ExclusionViolationError):
        await insert(own.pool)


async def test_what_is_in_the_way_is_found_by_the_index(own: Postroom) -> None:
    await own.pool.execute(
        """insert into crm.appointments (resource, starts_at, ends_at, title)
           select 'chair ' || chair, at, at + interval '1 hour', 'Cut' from generate_series(1, 20) chair,
             generate_series(timestamptz '2027-01-01', timestamptz '2027-01-09', interval '1 hour') at;
           analyze crm.appointments"""
    )
    async with own.pool.acquire() as connection:
        await connection.execute(f"prepare asked as {appointments.Q['in_the_way']}")
        plan = await connection.fetch("explain execute asked ('chair 7', '2027-01-05', '2027-01-06', null)")
        assert any("appointments_slot" in row[0] for row in plan)
