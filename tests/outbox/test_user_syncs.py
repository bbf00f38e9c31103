"""Syncs that there is one of for each user: told as one, by the same rules as each by itself, and one by one to whom asks."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from outbox import db, sync_facts
from outbox.cadence import Every
from outbox.light import Light
from outbox.store import schedules, standing, syncs
from outbox.store.schedules import CatchUp
from outbox.testing import Postroom

# Of one interval each: ages on both sides of 2 and 6 intervals, on, off, never, paused, without consent, with a cron expression.
USERS = """
with ages as (select age, row_number() over () n from unnest(array[0.5, 1.99, 2.01, 5.99, 6.01, 30]) age),
users as (
  select 'google-contacts:u' || every_h || '-' || n as sync, every_h * 3600 every_s, age * every_h * interval '1 h' as age
  from ages, unnest(array[4, 48]) every_h),
known as (
  insert into outbox.syncs (name, destination, types, expected_since, succeeded_run, succeeded_at)
  select sync, replace(sync, '-contacts', ''), '{incremental,full}', now() - interval '400 days',
         row_number() over (), now() - age from users)
insert into outbox.schedules (sync, type, every_s, catch_up, due_at) select sync, 'incremental', every_s, 'one', now() from users"""
SPECIAL = (
    "update outbox.syncs set succeeded_run = null, succeeded_at = null where name = 'google-contacts:u4-1'",
    "update outbox.syncs set paused_at = now(), paused_by = 'ada' where name = 'google-contacts:u4-2'",
    "update outbox.syncs set paused_at = now(), paused_by = 'postroom' where name = 'google-contacts:u4-3'",
    "update outbox.syncs set off = 'no consent' where name = 'google-contacts:u48-6'",
    "update outbox.schedules set is_on = false where sync = 'google-contacts:u48-5'",
    "update outbox.schedules set every_s = null, cron = '0 9 * * 1', zone = 'UTC' where sync = 'google-contacts:u48-4'",
    """insert into outbox.connections (destination, provider, account, state)
       values ('google:u4-6', 'google', 'u4-6', 'inactive'), ('google:stranger', 'google', 'stranger', 'inactive')""",
)


async def furnish(postroom: Postroom) -> None:
    await postroom.pool.execute(USERS)
    for statement in SPECIAL:
        await postroom.pool.execute(statement)
    await syncs.register(postroom.pool, "ghl-contacts", destination="ghl", types=["full"], off=None)


async def folded(postroom: Postroom) -> Mapping[str, Any]:
    users = await sync_facts.users(postroom.pool)
    assert users is not None
    return users


async def test_the_lights_of_users_are_counted_as_each_would_be_told_by_itself(postroom: Postroom) -> None:
    await furnish(postroom)
    each, behind = await sync_facts.page_of_users(postroom.pool, after="", limit=100)
    users = await folded(postroom)
    assert behind is None
    assert len(each) == users["count"] == 12
    assert {colour: n for colour, n in users["lights"].items() if n} == Counter(one["light"] for one in each)
    assert min(users["lights"].values()) >= 1, "each light is among them"
    assert (users["light"], users["need_consent"], users["under_way"]) == ("red", 2, 0)
    lost = next(one for one in each if one["name"] == "google-contacts:u4-6")
    assert (lost["light"], lost["off"]) == ("grey", sync_facts.CONSENT_LOST)


async def test_all_syncs_are_told_without_naming_a_user(postroom: Postroom) -> None:
    assert await sync_facts.users(postroom.pool) is None
    await furnish(postroom)
    every = await sync_facts.every(postroom.pool)
    assert [one["name"] for one in every.syncs] == ["ghl-contacts"]
    now = await standing.look(postroom.pool)
    assert (now.red_syncs, now.red_users) == ([], (await folded(postroom))["lights"]["red"])


async def test_users_are_listed_by_the_light_of_their_sync_page_by_page(postroom: Postroom) -> None:
    await furnish(postroom)
    each, _ = await sync_facts.page_of_users(postroom.pool, after="", limit=100)
    for colour in Light:
        listed: list[str] = []
        after: str | None = ""
        while after is not None:
            page, after = await sync_facts.page_of_users(postroom.pool, after=after, limit=2, light=colour)
            listed += [one["name"] for one in page]
        assert listed == [one["name"] for one in each if one["light"] == colour]


async def test_a_run_that_ends_well_is_its_syncs_newest_success_and_a_rehearsal_is_none(postroom: Postroom) -> None:
    await syncs.register(postroom.pool, "shop", destination=None, types=["full"], off=None)
    insert = """insert into outbox.runs (id, sync, type, trigger, state, dry_run, ended_at)
                values ($1::bigint, 'shop', 'full', 'manual', $2, $3, now() - $1::bigint * interval '1 h')"""
    for run_id, state, dry_run in ((1, "done", True), (2, "failed", False), (3, "done", False), (4, "done", False)):
        await postroom.pool.execute(insert, run_id, state, dry_run)
    row = await syncs.standing(postroom.pool, "shop")
    assert row is not None
    assert (row["ok_id"], row["bad_id"]) == (3, 2), "the newest by its end"


async def test_a_light_does_not_age_over_what_was_not_due(postroom: Postroom) -> None:
    name, now = "google-contacts:ada", datetime.now(UTC)
    hourly, past = Every(3600), "now() - interval '9 h'"
    long_ago = f"update outbox.syncs set succeeded_run = 1, succeeded_at = {past}, expected_since = {past}"

    async def light() -> str:
        [each], _ = await sync_facts.page_of_users(postroom.pool, after="", limit=1)
        assert (await folded(postroom))["light"] == each["light"]
        return str(each["light"])

    await syncs.register(postroom.pool, name, destination=None, types=["full"], off=None)
    await schedules.put(postroom.pool, name, "full", hourly, catch_up=CatchUp.ONE, now=now)
    await postroom.pool.execute(long_ago)
    assert await light() == "red"
    async with db.transaction(postroom.pool) as connection:
        await schedules.edit(connection, name, "full", hourly, catch_up=CatchUp.ONE, on=True, now=now, by="ada")
    assert await light() == "green", "nobody expected it before"
    await postroom.pool.execute(long_ago)
    await syncs.pause(postroom.pool, name, by="ada", why="holidays")
    await syncs.resume(postroom.pool, name)
    assert await light() == "green"
    await postroom.pool.execute(long_ago)
    for off in ("no consent", None):
        await syncs.register(postroom.pool, name, destination=None, types=["full"], off=off)
    assert await light() == "green"
