"""The breaker of a destination as dispatchers share it through Postgres: opened by failures, probed by one event, closed for all."""

import asyncio
from typing import Any

import pytest

from dispatcher.destinations import Destinations
from dispatcher.errors import RateLimited, RemoteError, Unauthorised, Unavailable
from outbox.errors import DatabaseUnavailable
from outbox.store import destinations as store
from outbox.testing import Postroom

PROBE_NOW = "update outbox.destinations set until = now() - interval '1 ms' where state in ('open', 'unauthorised')"


def down() -> RemoteError:
    return Unavailable("crm", "it is down", status=503)


def view(postroom: Postroom) -> Destinations:
    """One dispatcher's view."""
    return Destinations(postroom.pool, limit=8, is_set_up=lambda _: True, freed=lambda: None)


async def open_it(seen: Destinations, *, times: int = 5) -> list[bool]:
    """That many failures in a row, each of another event."""
    stopped = []
    for event_id in range(times):
        assert seen.enter("crm", urgency=0)
        stopped.append(await seen.failed("crm", event_id, down()))
        seen.leave("crm", event_id, urgency=0)
    return stopped


async def row(postroom: Postroom) -> dict[str, Any]:
    [found] = await postroom.rows(
        "select state, opened, probe, extract(epoch from until - now())::float8 until_s from outbox.destinations where name = 'crm'"
    )
    return found


async def test_the_fifth_failure_in_a_row_stops_the_flow_for_every_dispatcher(postroom: Postroom) -> None:
    one, other = view(postroom), view(postroom)
    assert await open_it(one) == [False, False, False, False, True]
    assert not one.enter("crm", urgency=0)
    assert one.enter("another", urgency=0)
    await other.refresh()
    assert not other.enter("crm", urgency=0)
    assert (await row(postroom))["state"] == "open"


async def test_an_answer_in_between_begins_the_count_anew(postroom: Postroom) -> None:
    seen = view(postroom)
    await open_it(seen, times=4)
    await seen.answered("crm", 9)
    assert await open_it(seen, times=4) == [False] * 4
    assert seen.enter("crm", urgency=0)


async def test_a_rate_limit_that_the_far_side_answered_is_an_answer_and_our_own_budget_is_none(postroom: Postroom) -> None:
    seen = view(postroom)
    await open_it(seen, times=4)
    assert not await seen.failed("crm", 9, RateLimited("crm", "our budget is used up", retry_after_s=1, status=None))
    assert await open_it(seen, times=1) == [True]
    await store.resume(postroom.pool, "crm", by="ana")
    await seen.refresh()
    await open_it(seen, times=4)
    assert not await seen.failed("crm", 9, RateLimited("crm", "Too Many Requests", retry_after_s=1))
    assert await open_it(seen, times=1) == [False]


async def test_many_failures_at_one_moment_open_it_once(postroom: Postroom) -> None:
    seen = view(postroom)
    for _ in range(8):
        assert seen.enter("crm", urgency=0)
    stopped = await asyncio.gather(*(seen.failed("crm", event_id, down()) for event_id in range(8)))
    assert stopped == [False] * 4 + [True] * 4
    assert (await row(postroom))["opened"] == 1


async def test_only_one_event_probes_at_a_time_whoever_asks(postroom: Postroom) -> None:
    one, other = view(postroom), view(postroom)
    await open_it(one)
    assert not await one.probe("crm", 1, urgency=0)  # not yet due
    await postroom.pool.execute(PROBE_NOW)
    await one.refresh()
    await other.refresh()
    probes = await asyncio.gather(
        *(who.probe("crm", event_id, urgency=0) for who, event_id in ((one, 1), (other, 2), (one, 3), (other, 4)))
    )
    assert sum(probes) == 1
    assert not one.enter("crm", urgency=0)


async def test_a_probe_that_is_answered_lets_it_flow_for_all(postroom: Postroom) -> None:
    one, other = await both_due(postroom)
    assert await one.probe("crm", 1, urgency=0)
    await one.answered("crm", 1)
    one.leave("crm", 1, urgency=0)
    assert one.enter("crm", urgency=0)
    await other.refresh()
    assert other.enter("crm", urgency=0)
    assert await row(postroom) == {"state": "flowing", "opened": 0, "probe": None, "until_s": None}


async def test_a_probe_that_fails_reopens_it_for_longer_each_time_up_to_a_minute(postroom: Postroom) -> None:
    seen = view(postroom)
    await open_it(seen)
    waits = [(await row(postroom))["until_s"]]
    for event_id in range(10, 16):
        await postroom.pool.execute(PROBE_NOW)
        await seen.refresh()
        assert await seen.probe("crm", event_id, urgency=0)
        assert await seen.failed("crm", event_id, down())
        seen.leave("crm", event_id, urgency=0)
        waits.append((await row(postroom))["until_s"])
    for wait_s, least_s in zip(waits, (5, 10, 20, 40, 60, 60, 60), strict=True):
        assert least_s - 1 < wait_s <= least_s * 1.3


async def test_a_probe_that_said_nothing_gives_its_right_to_the_next(postroom: Postroom) -> None:
    """Its handler ended without a call: a bad payload, a deadline, a bug."""
    one, other = await both_due(postroom)
    assert await one.probe("crm", 1, urgency=0)
    one.leave("crm", 1, urgency=0)
    await one.refresh()
    await other.refresh()
    assert await other.probe("crm", 2, urgency=0)
    assert (await row(postroom))["probe"] == 2


async def test_a_probe_whose_process_died_is_given_up_after_a_while(postroom: Postroom) -> None:
    one, other = await both_due(postroom)
    assert await one.probe("crm", 1, urgency=0)
    await other.refresh()
    assert not await other.probe("crm", 2, urgency=0)
    await postroom.pool.execute("update outbox.destinations set probe_at = now() - interval '2 min'")
    assert await other.probe("crm", 2, urgency=0)


async def test_an_answer_that_was_under_way_when_it_stopped_does_not_decide_for_the_probe(postroom: Postroom) -> None:
    seen, _ = await both_due(postroom)
    assert await seen.probe("crm", 10, urgency=0)
    await seen.answered("crm", 1)  # began before
    assert not seen.enter("crm", urgency=0)
    assert await seen.failed("crm", 10, down())
    assert (await row(postroom))["state"] == "open"
    assert (await row(postroom))["opened"] == 2


async def test_a_rejected_token_stops_it_at_once_and_is_tried_again_after_minutes(postroom: Postroom) -> None:
    seen = view(postroom)
    assert await seen.failed("crm", 1, Unauthorised("crm", "Invalid JWT", status=401))
    found = await row(postroom)
    assert found["state"] == "unauthorised"
    assert 299 < found["until_s"] <= 390


async def test_what_was_found_out_during_a_look_is_not_forgotten(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, real = view(postroom), store.changed
    await open_it(seen, times=4)

    async def meanwhile(pool: Any, *, since: str | None) -> Any:
        rows = await real(pool, since=since)
        assert await seen.failed("crm", 9, down())
        return rows

    monkeypatch.setattr(store, "changed", meanwhile)
    await seen.refresh()
    assert not seen.enter("crm", urgency=0)


async def test_a_persons_pause_stands_against_the_breaker_and_is_never_probed(postroom: Postroom) -> None:
    seen = view(postroom)
    await store.pause(postroom.pool, "crm", why="the price list is wrong", by="ana")
    await open_it(seen, times=5)
    await seen.refresh()
    assert (await row(postroom))["state"] == "paused"
    assert not await seen.probe("crm", 1, urgency=0)
    assert await store.resume(postroom.pool, "crm", by="ana")
    await seen.refresh()
    assert seen.enter("crm", urgency=0)


async def test_a_pause_that_comes_while_an_event_probes_outlives_its_answer(postroom: Postroom) -> None:
    seen, _ = await both_due(postroom)
    assert await seen.probe("crm", 1, urgency=0)
    await store.pause(postroom.pool, "crm", why="the price list is wrong", by="ana")
    await seen.refresh()
    await seen.answered("crm", 1)
    seen.leave("crm", 1, urgency=0)
    await seen.refresh()
    assert not seen.enter("crm", urgency=0)


async def test_what_could_not_be_written_is_forgotten_with_the_next_look(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = view(postroom)
    await seen.refresh()
    await open_it(seen, times=4)

    async def away(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(store, "open_breaker", away)
        with pytest.raises(DatabaseUnavailable):
            await seen.failed("crm", 9, down())
    assert not seen.enter("crm", urgency=0)
    await seen.refresh()
    assert seen.enter("crm", urgency=0)


async def both_due(postroom: Postroom) -> tuple[Destinations, Destinations]:
    """Two dispatchers that know it is open and that a probe is due."""
    one, other = view(postroom), view(postroom)
    await open_it(one)
    await postroom.pool.execute(PROBE_NOW)
    await one.refresh()
    await other.refresh()
    return one, other
