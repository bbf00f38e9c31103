"""Events that all mean "read this again": the first takes those right behind it, and only those, and only when it is over itself."""

import asyncio
from collections import Counter

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.errors import Unavailable
from dispatcher.outcome import Dead, Done, Outcome, Retry, Settled, Skipped, Snooze
from dispatcher.routes import Handler, Route
from outbox import Claimed, Event
from outbox.store import dead
from outbox.testing import Drain, Postroom
from simulators.ghl import GhlSimulator
from simulators.notion import NotionSimulator
from tests.dispatcher.handling import Blocking, everything_is_over, fate, is_over, is_so, returning
from tests.dispatcher.running import dispatching, eventually, stage_all

READ = Event("test.read", {}, lane="one")
OTHER = Event("test.other", {}, lane="one")


async def in_transaction(event: Claimed, ctx: Context) -> Outcome | Settled:
    async with ctx.transaction() as tx:
        return await tx.settle(Done())


async def notes(postroom: Postroom, ids: list[int]) -> list[tuple[str, str | None]]:
    return [(found.state, found.why) for found in [await fate(postroom, event_id) for event_id in ids]]


@pytest.mark.parametrize(
    "handler", [returning(Done()), returning(Skipped("as new")), in_transaction], ids=["done", "skipped", "transaction"]
)
async def test_contiguous_followers_are_settled_with_the_first_in_one_statement(postroom: Postroom, drain: Drain, handler: Handler) -> None:
    head, *followers = ids = await stage_all(postroom, *[READ] * 5)
    await drain({"test.read": Route(handler, coalesce="read")})
    assert await notes(postroom, followers) == [("skipped", f"coalesced into #{head}")] * 4
    rows = await postroom.rows("select event_id, attempt, xmin::text from outbox.attempts order by event_id")
    assert [(row["event_id"], row["attempt"]) for row in rows] == [(event_id, 1) for event_id in ids]
    assert len({row["xmin"] for row in rows}) == 1  # one transaction


async def test_kinds_that_share_a_word_cover_each_other(postroom: Postroom, drain: Drain) -> None:
    route = Route(returning(Done()), coalesce="read")
    head, *followers = await stage_all(postroom, READ, Event("test.read_too", {}, lane="one"), READ)
    await drain({"test.read": route, "test.read_too": route})
    assert await notes(postroom, followers) == [("skipped", f"coalesced into #{head}")] * 2


async def test_an_event_that_means_something_else_ends_the_row(postroom: Postroom, drain: Drain) -> None:
    ran: list[int] = []

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        ran.append(event.id)
        return Done()

    ids = await stage_all(postroom, READ, READ, OTHER, READ, READ, Event("test.unknown", {}, lane="one"), READ)
    await drain({"test.read": Route(handler, coalesce="read"), "test.other": Route(handler)})
    assert ran == [ids[0], ids[2], ids[3], ids[6]]
    assert await notes(postroom, [ids[1], ids[4]]) == [("skipped", f"coalesced into #{ids[0]}"), ("skipped", f"coalesced into #{ids[3]}")]


async def test_another_lane_is_never_covered(postroom: Postroom, drain: Drain) -> None:
    handler = Blocking.new()
    handler.release.set()
    await stage_all(postroom, *(Event("test.read", {}, lane=f"l{n}") for n in range(4)), Event("test.read", {}), Event("test.read", {}))
    totals = await drain({"test.read": Route(handler, coalesce="read")})
    assert (totals["done"], totals["skipped"], handler.runs) == (6, 0, 6)


async def test_what_arrives_after_the_first_has_begun_is_not_covered(postroom: Postroom) -> None:
    """It may tell of something that the read, under way already, did not see."""
    handler = Blocking.new()
    head, covered = await stage_all(postroom, READ, READ)
    async with dispatching(postroom.dsn, {"test.read": Route(handler, coalesce="read")}):
        await handler.begun.wait()
        late, later = await stage_all(postroom, READ, READ)
        handler.release.set()
        await eventually(is_over(postroom, head, covered, late, later))
    assert handler.runs == 2
    assert await notes(postroom, [covered, late, later]) == [
        ("skipped", f"coalesced into #{head}"),
        ("done", None),
        ("skipped", f"coalesced into #{late}"),
    ]


@pytest.mark.parametrize(
    "end", [Retry("later", after_s=900), Snooze(900, "not yet"), Unavailable("crm", "down", status=503)], ids=["retry", "snooze", "down"]
)
async def test_a_first_that_is_not_over_covers_nobody(postroom: Postroom, drain: Drain, end: Outcome | Exception) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        if isinstance(end, Exception):
            raise end
        return end

    head, *followers = await stage_all(postroom, *[READ] * 3)
    await drain({"test.read": Route(handler, coalesce="read")})
    assert await notes(postroom, followers) == [("pending", f"behind #{head} in its lane")] * 2


async def test_a_first_that_is_buried_covers_nobody(postroom: Postroom, drain: Drain) -> None:
    runs: Counter[int] = Counter()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        runs[event.id] += 1
        return Dead("broken") if len(runs) == 1 else Done()

    head, second, third = await stage_all(postroom, *[READ] * 3)
    await drain({"test.read": Route(handler, coalesce="read")})
    assert await notes(postroom, [head, second, third]) == [
        ("dead", "broken"),
        ("done", None),
        ("skipped", f"coalesced into #{second}"),
    ]


async def test_a_first_that_is_retried_covers_what_waits_when_it_runs_again(postroom: Postroom, drain: Drain) -> None:
    runs = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal runs
        runs += 1
        return Done() if runs > 2 else Retry("not yet")

    head, *followers = await stage_all(postroom, *[READ] * 3)
    await drain({"test.read": Route(handler, coalesce="read")}, hurry=True)
    assert await notes(postroom, followers) == [("skipped", f"coalesced into #{head}")] * 2
    assert runs == 3


async def test_a_transaction_that_rolls_back_covers_nobody(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        async with ctx.transaction() as tx:
            await tx.settle(Done())
            raise LookupError("after all, no")

    head, *followers = await stage_all(postroom, *[READ] * 3)
    await drain({"test.read": Route(handler, coalesce="read")})
    assert await notes(postroom, followers) == [("pending", f"behind #{head} in its lane")] * 2


async def test_a_first_whose_settlement_does_not_count_covers_nobody(postroom: Postroom) -> None:
    handler = Blocking.new()
    head, *followers = await stage_all(postroom, *[READ] * 3)
    async with dispatching(postroom.dsn, {"test.read": Route(handler, coalesce="read")}) as dispatcher:
        await handler.begun.wait()
        await postroom.pool.execute("update outbox.busy set attempt = attempt + 1")  # as if it had been given to another run
        handler.release.set()
        await eventually(lambda: is_so(dispatcher.loop is not None and not dispatcher.loop.running))
        assert await notes(postroom, followers) == [("pending", f"behind #{head} in its lane")] * 2


async def test_a_long_row_is_covered_in_portions_and_in_order(postroom: Postroom, drain: Drain) -> None:
    handler = Blocking.new()
    handler.release.set()
    ids = await stage_all(postroom, *[READ] * 450)
    totals = await drain({"test.read": Route(handler, coalesce="read")})
    assert totals == {"accepted": 450, "pending": 0, "dead": 0, "done": handler.runs, "skipped": 450 - handler.runs}
    heads = [event_id for event_id in ids if (await fate(postroom, event_id)).state == "done"]
    assert heads == [ids[0], ids[201], ids[402]]  # 1 + 200 each
    rows = await postroom.rows("select event_id, note from outbox.attempts where note is not null")
    assert all(row["note"] == f"coalesced into #{max(head for head in heads if head < row['event_id'])}" for row in rows)


async def test_a_retried_dead_letter_joins_its_lane_and_covers_only_its_equals(postroom: Postroom, drain: Drain) -> None:
    """A retry is bulk work: it takes bulk followers with it, and leaves the live ones to run."""
    first, second = await stage_all(postroom, READ, READ)
    await drain({"test.read": Route(returning(Dead("broken")), coalesce="read")})
    await dead.retry(postroom.pool, [first, second], by="ana")
    [live] = await stage_all(postroom, READ)
    await drain({"test.read": Route(returning(Done()), coalesce="read")})
    assert await notes(postroom, [first, second, live]) == [("done", None), ("skipped", f"coalesced into #{first}"), ("done", None)]


async def test_50_webhooks_of_one_contact_cost_one_fetch(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: tuple[GhlSimulator, str]
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1", firstName="Ada")
    kinds = ("ghl.ContactCreate", "ghl.ContactUpdate", "ghl.ContactTagUpdate", "ghl-workflow.contact", "ghl.ContactDndUpdate")
    await stage_all(postroom, *(Event(kinds[n % 5], {}, lane="ghl:contact:c1", source="ghl") for n in range(50)))
    totals = await drain(settings=simulated)
    assert totals == {"accepted": 50, "pending": 0, "dead": 0, "done": 1, "skipped": 49}
    assert simulator.requests.count("GET", "/contacts/*") == simulator.requests.total == 1


async def test_50_webhooks_of_one_page_cost_one_reading(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, notion: tuple[NotionSimulator, str]
) -> None:
    simulator = notion[0]
    page = simulator.put_page(values={"Name": "Ada"}, content=["Hello"])
    kinds = ("notion.page.created", "notion.page.content_updated", "notion.page.properties_updated")
    await stage_all(postroom, *(Event(kinds[n % 3], {}, lane=f"notion:page:{page['id']}", source="notion") for n in range(50)))
    totals = await drain(settings=simulated)
    assert (totals["done"], totals["skipped"]) == (1, 49)
    assert simulator.requests.count("GET", "/v1/pages/*") == 1


async def test_coalescing_keeps_up_while_events_keep_arriving(postroom: Postroom) -> None:
    """Everything is over in the end, in order, whatever was covered by what."""
    last_read: list[int] = []

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        last_read.append(event.id)
        await asyncio.sleep(0)
        return Done()

    ids: list[int] = []
    async with dispatching(postroom.dsn, {"test.read": Route(handler, coalesce="read")}):
        for _ in range(40):
            ids += await stage_all(postroom, *[READ] * 3)
        await eventually(everything_is_over(postroom))
    assert last_read == sorted(last_read)
    settled = await postroom.rows("select event_id, note from outbox.attempts order by event_id")
    assert [row["event_id"] for row in settled] == ids
    for row in settled:  # nothing is covered by what began after it
        if row["note"] is not None:
            assert int(row["note"].removeprefix("coalesced into #")) < row["event_id"]
