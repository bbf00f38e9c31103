"""What kills its process: buried at the third death, while everything that was at work with it is done in the end."""

import signal

import pytest

from dispatcher.outcome import Done
from dispatcher.routes import Route
from outbox import Event
from outbox.store import dead
from outbox.testing import Drain, Postroom
from tests.dispatcher.handling import Blocking, fate, has, is_over, returning
from tests.dispatcher.running import WorkerProcess, dispatching, eventually, stage_all

ROLE = "harmful worker"
INNOCENTS = 12


async def die(postroom: Postroom) -> int:
    """One worker process until it died of what it ran; its lease is then over. Returns the exit code."""
    async with WorkerProcess(postroom.dsn, role=ROLE) as worker:
        code = await worker.wait()
    await postroom.pool.execute("update outbox.workers set until = now() - interval '1 s' where ended_at is null")
    return code


@pytest.mark.parametrize(("kind", "code"), [("harm.kill", -signal.SIGKILL), pytest.param("harm.exit", 7, marks=pytest.mark.long)])
async def test_what_kills_its_process_three_times_is_buried_and_the_innocents_complete(postroom: Postroom, kind: str, code: int) -> None:
    poison, *innocents = await stage_all(
        postroom, Event(kind, {}, lane="poison"), *(Event("harm.none", {}, lane=f"l{n}") for n in range(INNOCENTS))
    )
    [behind] = await stage_all(postroom, Event("harm.none", {}, lane="poison"))
    assert [await die(postroom) for _ in range(3)] == [code] * 3
    async with WorkerProcess(postroom.dsn, role=ROLE) as survivor:
        await eventually(is_over(postroom, *innocents, behind))
        assert survivor.is_alive
    found = await fate(postroom, poison)
    assert (found.state, found.why, found.outcomes) == ("dead", "killed its process 3 times", "ccx")
    [letter] = await dead.find(postroom.pool, dead.Filter())
    assert letter["fingerprint"] == "poison"
    assert await postroom.totals() == {"accepted": INNOCENTS + 2, "pending": 0, "dead": 1, "done": INNOCENTS + 1, "skipped": 0}


@pytest.mark.long
async def test_poison_that_was_cured_and_retried_is_done(postroom: Postroom, drain: Drain) -> None:
    [event_id] = await stage_all(postroom, Event("harm.exit", {}))
    for _ in range(3):
        await die(postroom)
    cured = {"harm.exit": Route(returning(Done()))}
    async with dispatching(postroom.dsn, cured):
        await eventually(has(postroom, "select exists (select from outbox.dead)"))
    assert await dead.retry(postroom.pool, [event_id], by="ana") == [event_id]
    await drain(cured)
    assert (await fate(postroom, event_id)).state == "done"


async def test_suspects_run_one_at_a_time_and_one_follows_the_other_at_once(postroom: Postroom) -> None:
    """Each was at work at two deaths: together they could hide which one of them it is."""
    handler = Blocking.new()
    ids = await stage_all(postroom, *(Event("test.work", {}) for _ in range(6)))
    await postroom.pool.execute(
        """with p as (delete from outbox.pending returning *)
           insert into outbox.busy (lane, event_id, urgency, due_at, attempt, crashes) select lane, event_id, urgency, now(), 2, 2 from p"""
    )
    async with dispatching(postroom.dsn, {"test.work": Route(handler)}) as dispatcher:
        await handler.begun.wait()
        assert dispatcher.loop is not None
        dispatcher.loop.look_for_due()
        [other] = await stage_all(postroom, Event("test.work", {}))  # no suspect: it need not wait for them
        await eventually(has(postroom, "select count(*) = 2 from outbox.busy where owner is not null"))
        assert handler.runs == 2
        handler.release.set()
        took_s = await eventually(is_over(postroom, *ids, other), within_s=15)
    assert took_s < 5


async def test_the_next_event_of_a_lane_starts_without_the_deaths_of_the_one_before(postroom: Postroom) -> None:
    handler = Blocking.new()
    first, second = await stage_all(postroom, Event("test.work", {}, lane="one"), Event("test.slow", {}, lane="one"))
    await postroom.pool.execute(
        """with p as (delete from outbox.pending where event_id = $1 returning *)
           insert into outbox.busy (lane, event_id, urgency, due_at, attempt, crashes, failures)
           select lane, event_id, urgency, now(), 2, 2, 3 from p""",
        first,
    )
    async with dispatching(postroom.dsn, {"test.work": Route(returning(Done())), "test.slow": Route(handler)}):
        await handler.begun.wait()
        [row] = await postroom.rows("select event_id, attempt, crashes, failures from outbox.busy")
        assert row == {"event_id": second, "attempt": 1, "crashes": 0, "failures": 0}
        handler.release.set()
        await eventually(is_over(postroom, first, second))
