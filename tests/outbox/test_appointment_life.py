"""The database holds every writer of crm.appointments to one life, and a new version of it leaves what there is as it is."""

import asyncpg
import pytest

from outbox import migrate as module
from outbox.errors import IllegalTransition
from outbox.kinds import TRANSITIONS, AppointmentStatus
from outbox.migrate import migrate, migrations
from outbox.store import appointments
from outbox.testing import Postroom
from tests.outbox.booking import HOUR, TEN, fields, insert


@pytest.mark.parametrize("after", list(AppointmentStatus))
@pytest.mark.parametrize("before", list(AppointmentStatus))
async def test_only_legal_transitions_happen_whoever_writes(
    postroom: Postroom, before: AppointmentStatus, after: AppointmentStatus
) -> None:
    made = await insert(postroom.pool, status=before)
    update = "update crm.appointments set status = $2, title = 'Colour' where id = $1"
    if after == before or after in TRANSITIONS[before]:
        await postroom.pool.execute(update, made, after)
        assert await postroom.rows("select status, title from crm.appointments") == [{"status": after, "title": "Colour"}]
        return
    with pytest.raises(asyncpg.PostgresError) as caught:
        await postroom.pool.execute(update, made, after)
    assert caught.value.sqlstate == "PR002"
    allowed = sorted(TRANSITIONS[before])
    then = f"it can become {' or '.join(allowed)}" if allowed else "that is an end"
    assert str(caught.value) == f"An appointment that is {before} cannot become {after}; {then}."
    assert await postroom.rows("select status, title from crm.appointments") == [{"status": before, "title": "Cut"}]


async def test_an_upsert_is_held_to_the_life_too(postroom: Postroom) -> None:
    made = await insert(postroom.pool, status="cancelled", resource=None)
    upsert = """insert into crm.appointments (id, starts_at, ends_at, title)
                select id, starts_at, ends_at, title from crm.appointments where id = $1
                on conflict (id) do update set status = 'confirmed'"""
    with pytest.raises(asyncpg.PostgresError, match="An appointment that is cancelled cannot become confirmed; that is an end"):
        await postroom.pool.execute(upsert, made)


@pytest.mark.parametrize("word", ["no-show", None])
async def test_a_status_that_is_none_is_no_transition(postroom: Postroom, word: str | None) -> None:
    await insert(postroom.pool)
    with pytest.raises(
        asyncpg.PostgresError, match=f"cannot become {word or 'NULL'}; it can become cancelled or completed or confirmed"
    ) as no:
        await postroom.pool.execute("update crm.appointments set status = $1", word)
    assert no.value.sqlstate == "PR002"


async def test_the_store_names_a_refused_transition(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        made = await appointments.create(connection, **fields(status="completed"))
        with pytest.raises(IllegalTransition, match=r"^An appointment that is completed cannot become scheduled; that is an end\.$"):
            await appointments.change(connection, made["id"], **fields())


async def test_a_role_that_may_write_appointments_needs_no_grant_on_the_rules(own: Postroom, stranger: str) -> None:
    await own.pool.execute(f"grant usage on schema crm to {stranger}; grant select, insert, update on crm.appointments to {stranger}")
    connection = await asyncpg.connect(own.dsn)
    await connection.execute(f"set role {stranger}")
    made = await insert(connection)
    await connection.execute("update crm.appointments set status = 'cancelled' where id = $1", made)
    with pytest.raises(asyncpg.PostgresError, match="cannot become scheduled"):
        await connection.execute("update crm.appointments set status = 'scheduled'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("select crm.may_become('scheduled', 'confirmed')")
    await connection.close()


async def test_appointments_of_the_version_before_stay_as_they_are(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    every = migrations()
    connection = await asyncpg.connect(empty_database)
    monkeypatch.setattr(module, "migrations", lambda: [one for one in every if one[0] < 3])
    await migrate(connection)
    for status in ("scheduled", "completed"):
        await connection.execute(
            "insert into crm.appointments (status, starts_at, ends_at, title) values ($1, $2, $3, 'Cut')", status, TEN, TEN + HOUR
        )
    before = await connection.fetch("select * from crm.appointments order by status")
    monkeypatch.setattr(module, "migrations", lambda: every)
    await migrate(connection)
    after = await connection.fetch("select * from crm.appointments order by status")
    assert [{**dict(row), **dict(old)} for row, old in zip(after, before, strict=True)] == [dict(row) for row in after]
    assert {row["resource"] for row in after} == {None}
    await connection.close()
