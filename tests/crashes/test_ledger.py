"""The adding up itself: whatever is lost, doubled or out of order is found, or the crash tests would prove nothing."""

import pytest

from outbox.event import Claimed
from outbox.store import lanes
from outbox.store.lanes import End
from tests.crashes.scenes import claim_as
from tests.crashes.world import World

STARTED = 1_800_000_000.0


async def finish(world: World, *events: Claimed, worker: int) -> None:
    async with world.pool.acquire() as connection:
        assert len(await lanes.finish(connection, [End(event, STARTED, 5, "d") for event in events], worker=worker)) == len(events)


async def done(world: World) -> list[Claimed]:
    """Settles everything by hand, lane by lane, in order. What a handler would have done is not done."""
    settled: list[Claimed] = []
    while True:
        worker, events = await claim_as(world, "by hand", limit=100)
        if not events:
            return settled
        await finish(world, *events, worker=worker)
        settled += events


def leave_marks(world: World, event: Claimed, *steps: str) -> None:
    for step in steps:
        world.ghl.effects.add(step, "contact-0", text=f"postroom:{event.id}.{int(event.staged_at.timestamp() * 1000):x}/{step}")


async def test_what_was_sent_and_not_handled_yet_is_undone_and_nothing_is_wrong(world: World) -> None:
    await world.arrive(6)
    await world.change(4)
    account = await world.account()
    assert (account.accepted, account.undone, account.is_clean) == (10, 10, True)


async def test_p6_an_effect_that_is_missing_counts_as_lost_and_one_too_many_as_duplicated(world: World) -> None:
    await world.change(1)
    [event] = await done(world)
    assert (await world.account()).lost == 2  # the note and the task of a new appointment
    leave_marks(world, event, "note", "task")
    assert (await world.account()).is_clean
    leave_marks(world, event, "note")
    account = await world.account()
    assert (account.lost, account.duplicated, account.done) == (0, 1, 1)
    assert account.problems == (f"2 × note of event {event.id}",)


async def test_p6_an_effect_of_an_event_that_is_not_there_counts_as_duplicated(world: World) -> None:
    world.ghl.effects.add("note", "contact-0", text="postroom:17.1a/note")
    assert (await world.account()).duplicated == 1


@pytest.mark.parametrize(("table", "key"), [("crm.contacts", "ghl_contact_id"), ("crm.clients", "notion_page_id")])
async def test_a_webhook_that_is_done_without_its_row_counts_as_lost(world: World, table: str, key: str) -> None:
    await world.arrive(2)
    await done(world)
    assert (await world.account()).lost == 2
    value = "contact-0" if table == "crm.contacts" else next(iter(world.notion.store.pages))
    when = "changed_at" if table == "crm.contacts" else "edited_at"
    await world.pool.execute(f"insert into {table} ({key}, {when}, content_hash) values ('{value}', now(), '')")
    assert (await world.account()).lost == 1


async def test_p7_an_event_that_is_accepted_and_gone_or_in_no_state_counts_as_lost(world: World) -> None:
    gone, stateless, *_ = await world.arrive(4)
    await world.pool.execute("delete from outbox.pending where event_id = any ($1::bigint[])", [gone, stateless])
    await world.pool.execute("delete from outbox.events where id = $1", gone)
    account = await world.account()
    assert (account.lost, account.accepted, account.undone) == (2, 3, 2)


async def test_p2_a_delivery_with_two_events_or_two_answers_counts_as_duplicated(world: World) -> None:
    first, second = await world.arrive(2)
    world.ledger.sent[0].accept(second)
    assert (await world.account()).duplicated == 1
    await world.pool.execute(
        "update outbox.events set source = 'ghl', key = (select key from outbox.events where id = $1) where id = $2", first, second
    )
    assert (await world.account()).duplicated == 2


async def test_p3_a_change_without_its_event_and_an_event_without_its_change_count_as_lost(world: World) -> None:
    await world.change(2)
    await world.pool.execute("update changes set key = 'change-of-nothing', event_id = 17 where key = 'change-1'")
    assert (await world.account()).lost == 2


async def test_p5_settlements_in_another_order_than_the_staging_are_found(world: World) -> None:
    ids = await world.change(10)  # five appointments, each created and then changed
    worker, heads = await claim_as(world, "by hand", limit=1)
    earlier, later = heads[0].id, heads[0].id + 5
    assert {earlier, later} <= set(ids)
    await world.pool.execute("delete from outbox.pending where event_id = $1", later)
    await world.pool.execute(
        "insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome) values ($1, now(), 1, 1, 0, 's')", later
    )
    assert (await world.account()).disordered == 0  # the earlier one is not settled yet
    await finish(world, *heads, worker=worker)
    account = await world.account()
    assert account.disordered == 1
    assert str(earlier) in account.problems[-1]
