"""Google contacts in the database: pages applied, names that change, deletions, what is imported, and who may see which rows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from outbox import db
from outbox.store import connections, google_contacts, google_users, runs, schedules
from outbox.store.google_contacts import GoogleContact
from outbox.store.runs import Trigger
from outbox.testing import Postroom
from tests.outbox.waiting import until_it_waits_for_a_lock

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
async def tx(postroom: Postroom) -> AsyncIterator[db.Connection]:
    """A connection in a transaction, and user ada with the sync switched on."""
    async with postroom.pool.acquire() as connection, connection.transaction():
        await save(connection, enabled=True)
        yield connection


async def save(tx: db.Connection, user: str = "ada", *, now: datetime = NOW, **told: Any) -> None:
    await google_users.save(tx, user, now=now, by="otto", **told)


def contact(name: str, **fields: Any) -> GoogleContact:
    return GoogleContact(**{"resource_name": name, "display_name": f"Example {name}", "emails": (f"{name}@example.com",), **fields})


async def apply(tx: db.Connection, *contacts: GoogleContact, imports: bool = True, **more: Any) -> dict[str, bool]:
    return await google_contacts.apply(tx, "ada", contacts, imports=imports, **more)


async def rows(tx: db.Connection, *columns: str) -> list[tuple[Any, ...]]:
    found = await tx.fetch(f"select {', '.join(columns)} from crm.google_contacts order by resource_name")
    return [tuple(row) for row in found]


async def test_a_page_says_what_is_new_and_what_is_not_as_it_was(tx: db.Connection) -> None:
    assert await apply(tx, contact("a"), contact("b"), contact("b")) == {"a": True, "b": True}
    changed = await apply(tx, contact("a", changed_at=NOW), contact("b", phones=("+15550100",)), contact("c"))
    assert changed == {"b": False, "c": True}
    assert await apply(tx) == {}
    assert await rows(tx, "resource_name", "emails", "phones") == [
        ("a", ["a@example.com"], []),
        ("b", ["b@example.com"], ["+15550100"]),
        ("c", ["c@example.com"], []),
    ]


async def test_a_contact_that_comes_back_is_no_longer_deleted(tx: db.Connection) -> None:
    await apply(tx, contact("a"))
    assert await google_contacts.mark_deleted(tx, "ada", ["a", "unknown"]) == ["a"]
    assert await google_contacts.mark_deleted(tx, "ada", ["a"]) == []
    assert await apply(tx, contact("a")) == {"a": False}
    assert await rows(tx, "deleted_at") == [(None,)]


async def test_under_another_name_a_row_goes_on_with_what_is_ours(tx: db.Connection) -> None:
    await apply(tx, contact("old"), contact("other"), imports=False)
    await google_contacts.choose(tx, "ada", ["old"], label="Salon")
    before = await rows(tx, "id")
    await google_contacts.rename(tx, "ada", [("old", "new"), ("never seen", "elsewhere")])
    assert await apply(tx, contact("new", company="Example Ltd")) == {"new": False}
    assert await rows(tx, "resource_name", "labels", "imported_at is not null") == [("new", ["Salon"], True), ("other", [], False)]
    assert await rows(tx, "id") == before


async def test_of_two_that_became_one_the_imported_one_goes_on_and_the_other_is_deleted(tx: db.Connection) -> None:
    await apply(tx, contact("a"), contact("b"), imports=False)
    await google_contacts.choose(tx, "ada", ["b"], label="Salon")
    await google_contacts.rename(tx, "ada", [("a", "both"), ("b", "both")])
    assert await rows(tx, "resource_name", "labels", "deleted_at is null") == [("a", [], False), ("both", ["Salon"], True)]
    # Told again, nothing changes: the new name is there already.
    await google_contacts.rename(tx, "ada", [("a", "both"), ("b", "both")])
    assert len(await rows(tx, "id")) == 2


async def test_a_full_run_finds_what_it_has_not_met_and_no_other_users(tx: db.Connection) -> None:
    await save(tx, "brendan", enabled=False)
    await google_contacts.apply(tx, "brendan", [contact("b")], imports=True)
    await apply(tx, contact("a"), contact("b"), contact("c"))
    await google_contacts.mark_deleted(tx, "ada", ["c"])
    run_id = await a_run(tx)
    await runs.saw(tx, run_id, ["a"])
    assert await google_contacts.unmet(tx, "ada", run_id=run_id) == (1, 2)
    assert await google_contacts.sweep(tx, "ada", run_id=run_id) == ["b"]
    assert await tx.fetchval("select count(*) from crm.google_contacts where deleted_at is null") == 2


async def a_run(tx: db.Connection) -> int:
    await google_users.connected(tx, "ada", now=NOW)
    asked = await runs.ask(tx, "google-contacts:ada", "full", trigger=Trigger.MANUAL)
    assert asked is not None
    return asked.id


async def test_what_is_chosen_or_left_out_stays_so_whatever_google_says(tx: db.Connection) -> None:
    await apply(tx, contact("a"), contact("b"), imports=False)
    assert await google_contacts.choose(tx, "ada", ["a", "unknown"], label="Salon") == 1
    assert await google_contacts.choose(tx, "ada", ["a"], label="VIP") == 1
    assert await google_contacts.choose(tx, "ada", None, label="Salon") == 2
    assert await google_contacts.leave_out(tx, "ada", ["b"]) == 1
    await apply(tx, contact("a", company="Example Ltd"), contact("b", company="Example Ltd"), imports=True, label="New")
    assert await rows(tx, "company", "labels", "imported_at is not null") == [
        ("Example Ltd", ["Salon", "VIP"], True),
        ("Example Ltd", [], False),
    ]
    for imported, names in ((True, ["a"]), (False, ["b"]), (None, ["a", "b"])):
        assert [row["resource_name"] for row in await google_contacts.page(tx, "ada", after=0, limit=9, imported=imported)] == names


async def test_a_new_contact_gets_the_label_only_where_it_is_imported_by_itself(tx: db.Connection) -> None:
    await apply(tx, contact("a"), imports=True, label="Google")
    await apply(tx, contact("b"), imports=False, label="Google")
    assert await rows(tx, "labels", "imported_at is not null") == [(["Google"], True), ([], False)]


async def consent(tx: db.Connection, user: str = "ada", *, now: datetime = NOW) -> None:
    """As the handler of a code does."""
    await connections.connect(
        tx, f"google:{user}", provider="google", account=user, sealed=b"sealed", expires_in_s=60, at=datetime.now(UTC)
    )
    await google_users.connected(tx, user, now=now)


async def due_at(tx: db.Connection) -> datetime | None:
    row = await google_users.one(tx, "ada")
    at: datetime | None = row["due_at"] if row["enabled"] else None
    return at


async def queued(tx: db.Connection) -> list[str]:
    return [row["sync"] for row in await tx.fetch("select sync from outbox.runs where state = 'queued' order by id")]


async def test_switched_on_and_connected_the_first_run_begins_at_once_whichever_came_first(tx: db.Connection) -> None:
    assert await queued(tx) == []  # ada is switched on, but did not consent
    await consent(tx)
    assert await queued(tx) == ["google-contacts:ada"]
    await consent(tx, "brendan")
    await save(tx, "brendan", enabled=False)
    assert await queued(tx) == ["google-contacts:ada"]
    await save(tx, "brendan", enabled=True)
    assert await queued(tx) == ["google-contacts:ada", "google-contacts:brendan"]


async def test_settings_say_when_a_user_is_due_and_said_again_they_change_nothing(tx: db.Connection) -> None:
    await consent(tx)
    assert await due_at(tx) == NOW + timedelta(hours=24)
    later = NOW + timedelta(hours=1)
    await save(tx, enabled=True, now=later)
    assert await due_at(tx) == NOW + timedelta(hours=24)
    await save(tx, enabled=True, interval_hours=4, now=later)
    assert await due_at(tx) == later + timedelta(hours=4)
    await save(tx, enabled=False, now=later)
    assert await due_at(tx) is None
    await save(tx, enabled=True, now=later + timedelta(days=2))
    assert await due_at(tx) == later + timedelta(days=2, hours=4)
    assert (await google_users.one(tx, "ada"))["every_s"] == 4 * 3600
    assert await queued(tx) == ["google-contacts:ada"]  # the one of the consent still waits, so no other is added


async def test_a_consent_forgets_up_to_where_another_account_was_read(tx: db.Connection) -> None:
    await consent(tx)
    await tx.execute("""update outbox.syncs set kept = '{"sync_token": "s1"}' where name = 'google-contacts:ada'""")
    await consent(tx)
    assert await tx.fetchval("select kept::text from outbox.syncs where name = 'google-contacts:ada'") == "{}"


async def test_a_cron_expression_that_a_person_gave_stays_until_an_interval_is_named(tx: db.Connection) -> None:
    await consent(tx)
    await tx.execute("update outbox.schedules set cron = '0 9 * * 1', zone = 'UTC', every_s = null")
    await save(tx, enabled=True, imports="chosen")
    assert (await google_users.one(tx, "ada"))["cron"] == "0 9 * * 1"
    await save(tx, enabled=True, interval_hours=48)
    row = await google_users.one(tx, "ada")
    assert (row["cron"], row["every_s"]) == (None, 48 * 3600)


async def test_a_label_is_cleared_only_when_somebody_says_so(tx: db.Connection) -> None:
    await save(tx, enabled=True, label="Salon", sets_label=True)
    await save(tx, enabled=False)
    assert (await google_users.one(tx, "ada"))["label"] == "Salon"
    await save(tx, enabled=False, sets_label=True)
    assert (await google_users.one(tx, "ada"))["label"] is None


@pytest.mark.parametrize("change", ["imports = 'some'", "label = ''", "user_id = 'a@example.com'"])
async def test_the_database_refuses_settings_that_cannot_be(tx: db.Connection, change: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await tx.execute(f"update crm.google_users set {change}")


TEN_THOUSAND = """
with users as (select 'google-contacts:u' || n as sync, n from generate_series(1, 10000) n),
known as (insert into outbox.syncs (name, destination, types, off)
          select sync, 'google:u' || n, '{incremental,full}', case when n % 10 = 0 then 'no consent' end from users)
insert into outbox.schedules (sync, type, every_s, catch_up, is_on, due_at)
select sync, 'incremental', 86400, 'one', n % 2 = 0,
       now() + n * interval '1 minute' - case when n <= 40 then interval '1 day' else '0' end from users"""


async def test_of_ten_thousand_users_the_due_ones_are_found_by_one_look_at_the_index(own: Postroom) -> None:
    await own.pool.execute(TEN_THOUSAND)
    await own.pool.execute("analyze outbox.schedules, outbox.syncs")
    plan = "\n".join(row[0] for row in await own.pool.fetch(f"explain analyze {schedules.Q['soon'].replace('$1', '5')}"))
    assert "schedules_due" in plan, plan
    assert "Seq Scan on schedules" not in plan, plan
    found = await schedules.soon(own.pool, within_s=5)
    assert [row["sync"] for row in found] == [f"google-contacts:u{n}" for n in range(2, 41, 2) if n % 10]


@pytest.fixture
async def app(own: Postroom, stranger: str) -> AsyncIterator[db.Connection]:
    """A connection of an app's role, which may read and write both tables; it owns nothing."""
    await own.pool.execute(
        f"""grant usage on schema crm to {stranger};
            grant select, insert, update, delete on crm.google_users, crm.google_contacts to {stranger}"""
    )
    async with own.pool.acquire() as owner, owner.transaction():
        for user in ("ada", "brendan"):
            await save(owner, user, enabled=True)
            await google_contacts.apply(owner, user, [contact(f"of-{user}")], imports=True)
    connection = await asyncpg.connect(own.dsn)
    await connection.execute(f"set role {stranger}")
    yield connection
    await connection.close()


async def seen(app: db.Connection) -> tuple[set[str], set[str]]:
    contacts = {row["user_id"] for row in await app.fetch("select user_id from crm.google_contacts")}
    return contacts, {row["user_id"] for row in await app.fetch("select user_id from crm.google_users")}


async def test_an_apps_role_sees_the_rows_of_the_user_that_it_names_and_none_when_it_names_none(app: db.Connection) -> None:
    assert await seen(app) == (set(), set())
    await app.execute("set postroom.user_id = 'ada'")
    assert await seen(app) == ({"ada"}, {"ada"})
    assert await app.fetch("select 1 from crm.google_contacts where user_id = 'brendan'") == []
    await app.execute("reset postroom.user_id")
    assert await seen(app) == (set(), set())


async def test_it_changes_and_deletes_no_other_users_rows_and_makes_none_for_them(app: db.Connection) -> None:
    await app.execute("set postroom.user_id = 'ada'")
    assert await app.execute("update crm.google_contacts set labels = '{Mine}'") == "UPDATE 1"
    assert await app.execute("delete from crm.google_contacts where user_id = 'brendan'") == "DELETE 0"
    for statement in (
        "update crm.google_contacts set user_id = 'brendan'",
        "insert into crm.google_contacts (user_id, resource_name, content_hash) values ('brendan', 'x', '')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await app.execute(statement)


@pytest.mark.parametrize("consents_first", [True, False])
async def test_a_consent_and_a_switching_on_that_meet_begin_exactly_one_run(postroom: Postroom, consents_first: bool) -> None:
    """Whichever commits second sees the other, or nobody would stage the first run."""

    async def switch_on(connection: db.Connection) -> None:
        await save(connection, enabled=True)

    first, second = (consent, switch_on) if consents_first else (switch_on, consent)
    async with postroom.pool.acquire() as one, postroom.pool.acquire() as other:
        began = one.transaction()
        await began.start()
        await first(one)
        async with other.transaction():
            meeting = asyncio.create_task(second(other))
            await until_it_waits_for_a_lock(postroom, other.get_server_pid())
            await began.commit()
            await meeting
    assert len(await postroom.staged("sync.google-contacts")) == 1
    assert await postroom.value("select off from outbox.syncs where name = 'google-contacts:ada'") is None
