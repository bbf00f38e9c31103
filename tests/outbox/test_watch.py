"""outbox.watch(): an app's own appointments table stages its changes, and nothing else."""

import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import pytest

from outbox.kinds import APPOINTMENT_KINDS, AppointmentChange, AppointmentStatus
from outbox.testing import Postroom

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

PLAIN = """create temporary table bookings (
  id int primary key, status text, starts_at timestamptz, ends_at timestamptz, contact_id text, title text, notes text, price int)"""
INSERT = "insert into bookings (id, status, starts_at, title, price) values (7, 'scheduled', '2027-01-05 10:00+00', 'Cut', 40)"


@pytest.fixture
async def app(postroom: Postroom) -> AsyncIterator[Connection]:
    """An app's connection; its tables are temporary, so that they go with it."""
    connection = await asyncpg.connect(postroom.dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def bookings(app: Connection) -> Connection:
    """The same with a watched table and one appointment in it."""
    await app.execute(PLAIN)
    await app.execute("select outbox.watch('bookings')")
    await app.execute(INSERT)
    return app


async def changes(postroom: Postroom) -> list[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    """What was staged: the last word of the kind, the appointment, what it was before."""
    found = []
    for event in await postroom.staged():
        payload = json.loads(event["payload"])
        AppointmentChange.model_validate(payload)
        assert event["kind"] in APPOINTMENT_KINDS
        found.append((event["kind"].removeprefix("appointment."), payload["appointment"], payload["previous"]))
    return found


async def words(postroom: Postroom) -> list[str]:
    return [word for word, _, _ in await changes(postroom)]


async def test_an_insert_stages_created_with_the_whole_appointment(postroom: Postroom, bookings: Connection) -> None:
    ((word, appointment, previous),) = await changes(postroom)
    assert (word, previous) == ("created", None)
    parsed = AppointmentChange.model_validate({"appointment": appointment}).appointment
    assert (parsed.id, parsed.status, parsed.title, parsed.notes) == ("7", AppointmentStatus.SCHEDULED, "Cut", None)
    assert parsed.starts_at == datetime(2027, 1, 5, 10, tzinfo=UTC)
    assert set(appointment) == {"id", "status", "starts_at", "ends_at", "contact_id", "title", "notes"}, "the price is none of our business"
    (event,) = await postroom.staged()
    assert (event["lane"], event["source"], event["key"]) == ("appointment:7", "app", None)


async def test_an_update_stages_updated_with_what_it_was_before(postroom: Postroom, bookings: Connection) -> None:
    await bookings.execute("update bookings set title = 'Cut and colour'")
    _, (word, appointment, previous) = await changes(postroom)
    assert previous is not None
    assert (word, appointment["title"], previous["title"]) == ("updated", "Cut and colour", "Cut")


@pytest.mark.parametrize("status", ["confirmed", "cancelled", "completed"])
async def test_a_new_status_stages_its_own_kind(postroom: Postroom, bookings: Connection, status: str) -> None:
    await bookings.execute("update bookings set status = $1, title = 'Colour'", status)
    _, (word, appointment, previous) = await changes(postroom)
    assert previous is not None
    assert (word, appointment["status"], previous["status"]) == (status, status, "scheduled")


@pytest.mark.parametrize("status", ["scheduled", "no-show", None])
async def test_a_status_that_is_no_kind_is_an_update(postroom: Postroom, bookings: Connection, status: str | None) -> None:
    await bookings.execute("update bookings set status = 'cancelled'")
    await bookings.execute("update bookings set status = $1", status)
    assert (await words(postroom))[-1] == "updated"
    assert json.loads((await postroom.staged())[-1]["payload"])["appointment"]["status"] == status


async def test_a_change_of_details_after_confirmation_is_an_update(postroom: Postroom, bookings: Connection) -> None:
    await bookings.execute("update bookings set status = 'confirmed'")
    await bookings.execute("update bookings set starts_at = starts_at + interval '1 hour'")
    assert await words(postroom) == ["created", "confirmed", "updated"]


async def test_a_deleted_appointment_that_still_stood_is_cancelled(postroom: Postroom, bookings: Connection) -> None:
    await bookings.execute("delete from bookings")
    _, (word, appointment, previous) = await changes(postroom)
    assert previous is not None
    assert (word, appointment["id"], appointment["status"], previous["status"]) == ("cancelled", 7, "cancelled", "scheduled")
    assert appointment["title"] == "Cut"


@pytest.mark.parametrize("status", ["cancelled", "completed"])
async def test_deleting_an_appointment_that_had_ended_stages_nothing(postroom: Postroom, bookings: Connection, status: str) -> None:
    await bookings.execute("update bookings set status = $1", status)
    await bookings.execute("delete from bookings")
    assert await words(postroom) == ["created", status]


async def test_a_change_of_a_column_that_is_not_watched_stages_nothing(postroom: Postroom, bookings: Connection) -> None:
    await bookings.execute("update bookings set price = 50")
    await bookings.execute("update bookings set title = title, status = status")
    assert await words(postroom) == ["created"]


async def test_each_row_of_a_statement_is_an_event_in_the_lane_of_its_appointment(postroom: Postroom, bookings: Connection) -> None:
    await bookings.execute("insert into bookings (id, status) select n, 'scheduled' from generate_series(8, 10) n")
    await bookings.execute("update bookings set status = 'confirmed' where id > 7")
    lanes = [(event["lane"], event["kind"].rpartition(".")[2]) for event in await postroom.staged()]
    assert sorted(lanes[1:]) == [(f"appointment:{n}", word) for n in (10, 8, 9) for word in ("confirmed", "created")]


async def test_an_upsert_is_what_it_did(postroom: Postroom, bookings: Connection) -> None:
    upsert = "insert into bookings (id, status) values ($1, 'confirmed') on conflict (id) do update set status = excluded.status"
    await bookings.execute(upsert, 7)
    await bookings.execute(upsert, 8)
    assert await words(postroom) == ["created", "confirmed", "created"]


async def test_p3_what_an_app_rolls_back_was_never_staged(postroom: Postroom, bookings: Connection) -> None:
    transaction = bookings.transaction()
    await transaction.start()
    await bookings.execute("update bookings set status = 'cancelled'")
    await bookings.execute("delete from bookings")
    await transaction.rollback()
    assert await words(postroom) == ["created"]


async def test_a_table_with_names_of_its_own_is_mapped(postroom: Postroom, app: Connection) -> None:
    """As Prisma makes them: quoted names in mixed case, and an enum for the status."""
    await app.execute("""create type pg_temp."BookingState" as enum ('NEW', 'PAID', 'NO_SHOW', 'DONE')""")
    await app.execute("""create temporary table "Booking" ("bookingId" uuid primary key, "state" pg_temp."BookingState",
      "startsAt" timestamptz, "ghlContact" text, "client's note" text, title text)""")
    await app.execute("""select outbox.watch('"Booking"',
      columns => '{"id": "bookingId", "status": "state", "starts_at": "startsAt", "contact_id": "ghlContact",
                   "notes": "client''s note", "title": null}',
      statuses => '{"NEW": "scheduled", "PAID": "confirmed", "NO_SHOW": "cancelled", "DONE": "completed"}')""")
    booking = uuid.UUID("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")
    await app.execute("""insert into "Booking" values ($1, 'NEW', '2027-01-05 10:00+02', 'c1', 'it''s "quoted"', 'private')""", booking)
    await app.execute("""update "Booking" set "state" = 'PAID'""")
    await app.execute("""update "Booking" set title = 'still private'""")
    await app.execute("""update "Booking" set "state" = 'DONE'""")
    created, confirmed, completed = await changes(postroom)
    assert created[1] == {
        "id": str(booking),
        "status": "scheduled",
        "starts_at": created[1]["starts_at"],
        "contact_id": "c1",
        "notes": 'it\'s "quoted"',
    }
    assert datetime.fromisoformat(created[1]["starts_at"]) == datetime(2027, 1, 5, 8, tzinfo=UTC)
    assert (confirmed[0], confirmed[1]["status"]) == ("confirmed", "confirmed")
    assert (completed[0], completed[1]["status"]) == ("completed", "completed")
    assert {event["lane"] for event in await postroom.staged()} == {f"appointment:{booking}"}


async def test_a_table_with_less_than_our_columns_is_watched_for_what_it_has(postroom: Postroom, app: Connection) -> None:
    await app.execute("create temporary table slots (id bigint, status text)")
    await app.execute("select outbox.watch('slots')")
    await app.execute("insert into slots values (9007199254740993, 'scheduled')")
    ((_, appointment, _),) = await changes(postroom)
    assert appointment == {"id": 9007199254740993, "status": "scheduled"}
    assert (await postroom.staged())[0]["lane"] == "appointment:9007199254740993"


async def test_the_location_calendar_and_resource_are_watched_only_when_they_are_named(postroom: Postroom, app: Connection) -> None:
    """An app's own location_id is seldom GHL's, and an event of a location that GHL does not have would be told to nobody."""
    await app.execute(
        "create temporary table salons (id int, status text, location_id int, calendar_id text, resource text, ghl_location text)"
    )
    await app.execute("select outbox.watch('salons')")
    await app.execute("insert into salons values (7, 'scheduled', 3, 'cal', 'chair 1', 'Loc2')")
    await app.execute(
        """select outbox.watch('salons', '{"location_id": "ghl_location", "calendar_id": "calendar_id", "resource": "resource"}')"""
    )
    await app.execute("update salons set ghl_location = 'Loc3'")
    await app.execute("update salons set location_id = 4")
    created, updated = await changes(postroom)
    assert created[1] == {"id": 7, "status": "scheduled"}
    assert updated[1] == {"id": 7, "status": "scheduled", "location_id": "Loc3", "calendar_id": "cal", "resource": "chair 1"}
    assert updated[2] == {**updated[1], "location_id": "Loc2"}
    told = AppointmentChange.model_validate({"appointment": updated[1]}).appointment
    assert (told.location_id, told.calendar_id, told.resource) == ("Loc3", "cal", "chair 1")


async def test_the_mapping_of_a_table_that_was_watched_before_is_not_changed_by_the_new_version(own: Postroom) -> None:
    """As 0003 finds it: a trigger with its mapping inside, which goes on as it was until outbox.watch() is called again."""
    await own.pool.execute("create table bookings (id int, status text, location_id int)")
    await own.pool.execute(
        """create trigger postroom_watch after insert or update or delete on bookings
           for each row execute function outbox.stage_change('{"id": "id", "status": "status"}', '{}')"""
    )
    await own.pool.execute("insert into bookings values (7, 'scheduled', 3)")
    assert [appointment for _, appointment, _ in await changes(own)] == [{"id": 7, "status": "scheduled"}]
    await own.pool.execute("""select outbox.watch('bookings', '{"location_id": "location_id"}')""")
    await own.pool.execute("update bookings set location_id = 4")
    assert (await changes(own))[1][1] == {"id": 7, "status": "scheduled", "location_id": 4}


async def test_watching_again_replaces_the_mapping_and_does_not_stage_twice(postroom: Postroom, bookings: Connection) -> None:
    await bookings.execute("""select outbox.watch('bookings', columns => '{"notes": "price"}', statuses => '{"paid": "confirmed"}')""")
    await bookings.execute("update bookings set price = 50")
    await bookings.execute("update bookings set status = 'paid'")
    assert [(word, appointment.get("notes")) for word, appointment, _ in await changes(postroom)] == [
        ("created", None),
        ("updated", 50),
        ("confirmed", 50),
    ]


async def test_a_table_that_is_watched_no_more_stages_nothing(postroom: Postroom, bookings: Connection) -> None:
    await bookings.execute("select outbox.unwatch('bookings'); select outbox.unwatch('bookings')")
    await bookings.execute("update bookings set status = 'cancelled'")
    assert await words(postroom) == ["created"]
    await bookings.execute("select outbox.watch('bookings')")
    await bookings.execute("update bookings set status = 'completed'")
    assert await words(postroom) == ["created", "completed"]


async def test_a_partitioned_table_is_watched_whole(postroom: Postroom, app: Connection) -> None:
    await app.execute("create temporary table parted (id int, status text) partition by list (status)")
    await app.execute("create temporary table standing partition of parted for values in ('scheduled', 'confirmed')")
    await app.execute("select outbox.watch('parted')")
    await app.execute("insert into parted values (1, 'scheduled')")
    await app.execute("update parted set status = 'confirmed'")
    assert await words(postroom) == ["created", "confirmed"]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("outbox.watch('nothing')", 'relation "nothing" does not exist'),
        ("outbox.watch(null)", "table <NULL> needs columns for id and status"),
        ("outbox.watch('prices')", "table prices needs columns for id and status; name them in columns =>"),
        ("outbox.watch('bookings', '{\"status\": null}')", "table bookings needs columns for id and status"),
        (
            "outbox.watch('bookings', '{\"begin\": \"starts_at\"}')",
            "'begin' is not one of id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id, resource",
        ),
        ("outbox.watch('bookings', '{\"title\": \"Title\"}')", 'table bookings has no column "Title"'),
        ("outbox.watch('bookings', '{\"title\": \"xmin\"}')", "table bookings has no column xmin"),
        ("outbox.watch('bookings', '[]')", "columns and statuses are JSON objects"),
        ("outbox.watch('bookings', null)", "columns and statuses are JSON objects"),
        ("outbox.watch('bookings', '{}', '\"paid\"')", "columns and statuses are JSON objects"),
        (
            "outbox.watch('bookings', '{}', '{\"paid\": \"confrmed\"}')",
            "status 'paid' is mapped to 'confrmed', which is not one of scheduled",
        ),
        ("outbox.watch('bookings', '{}', '{\"paid\": null}')", "status 'paid' is mapped to NULL"),
        ("outbox.watch('looks')", '"looks" is a view'),
    ],
)
async def test_a_table_that_cannot_be_watched_is_refused_and_says_why(
    postroom: Postroom, app: Connection, call: str, complaint: str
) -> None:
    await app.execute(PLAIN)
    await app.execute("create temporary table prices (id int, price int); create temporary view looks as select id, status from bookings")
    with pytest.raises(asyncpg.PostgresError) as caught:
        await app.execute(f"select {call}")
    assert complaint in str(caught.value)
    await app.execute(INSERT)
    assert await words(postroom) == []
