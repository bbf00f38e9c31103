"""Deploys: every process is replaced while the work goes on, old and new code run side by side, and the schema may be the newer one's.

Told to stop, a dispatcher finishes or hands back, and counts nothing against an event; a receiver answers what it has taken.
"""

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from dispatcher import services as services_module
from dispatcher.config import DispatcherSettings
from dispatcher.handlers import appointments
from dispatcher.policy.ratelimit import Rate
from dispatcher.routes import ROUTES, Route
from outbox import migrate as migrate_module
from outbox.migrate import migrate, migrations
from tests.cli.conftest import called
from tests.crashes.child import Child
from tests.crashes.conftest import Worlds
from tests.crashes.deploys import Fleet, Stream
from tests.crashes.evidence import Row
from tests.crashes.healing import Interrupted
from tests.crashes.load import accepted, sending_client, under_load, until_accepted
from tests.crashes.patience import Patience
from tests.crashes.world import World
from tests.dispatcher.appointments import appointment
from tests.dispatcher.running import dispatching, stage_all

Keep = Callable[[Row], None]
HERE = ".venv/bin/pytest tests/crashes/test_rolling.py"
NOTES = "/contacts/*/notes"
CHILDREN, ENDED = "receivers and dispatchers", {0, -signal.SIGTERM}  # how the receivers of these tests end
NEWEST = migrations()[-1][0]
ADDS = f"""-- works with code from {NEWEST:04}
alter table outbox.events add column remark text;
alter table outbox.busy add column remark text;
alter table outbox.attempts add column remark text;
create table crm.newer (id int)"""
BREAKS = "create table crm.newer (id int)"  # it says nothing of older code
NEWER_ROUTES = {**ROUTES, "appointment.rescheduled": Route(appointments.updated, destination="ghl")}


async def add_up(world: World, scenario: str, healed_s: float | None, evidence: Keep, *, select: str) -> None:
    account = await world.account()
    told = f"{scenario}: {account}\n{world.logs()}"
    assert account.is_clean, told
    assert (account.undone, account.dead) == (0, 0), told
    evidence(Row(scenario, account.accepted, account.lost, account.duplicated, healed_s, f'{HERE} -k "{select}"'))


# ── told to stop


async def busy_with_a_note(world: World, grace_s: float) -> tuple[Child, int]:
    """A dispatcher in the middle of a call to GHL, and the event."""
    world.ghl.faults.add("hang", NOTES, method="POST")
    child = await world.dispatcher(env={"POSTROOM_GRACE_SECONDS": str(grace_s)})
    [event_id] = await world.change(1)
    async with asyncio.timeout(20):
        await world.ghl.faults.wait_hanging()
    return child, event_id


async def drains(world: World, evidence: Keep) -> None:
    child, event_id = await busy_with_a_note(world, 30)
    child.send(signal.SIGTERM)
    await world.until(lambda: leaves_alone(world), what="draining")
    world.ghl.faults.release()
    assert await child.wait() == 0
    assert await world.postroom.rows("select outcome::text, attempt from outbox.attempts where event_id = $1", event_id) == [
        {"outcome": "d", "attempt": 1}
    ]
    assert await world.postroom.value("select count(*) from outbox.workers where ended_at is null") == 0
    await world.dispatcher()
    await world.settled()
    await add_up(world, "rolling deploy: SIGTERM while a call is under way, which ends in the grace", None, evidence, select="told_to_stop")


async def leaves_alone(world: World) -> bool:
    """A dispatcher that drains claims nothing more."""
    [event_id] = await stage_all(world.postroom, appointment("confirmed", number=f"later-{time.monotonic_ns()}", contact="contact-1"))
    await asyncio.sleep(0.3)
    return bool(await world.postroom.value("select exists (select from outbox.pending where event_id = $1)", event_id))


async def hands_back(world: World, evidence: Keep, *, signals: int, grace_s: float, within_s: float, says: str) -> None:
    child, event_id = await busy_with_a_note(world, grace_s)
    patience = Patience([[child.pid]])
    child.send(signal.SIGTERM)
    for _ in range(signals - 1):
        await world.until(lambda: leaves_alone(world), what="draining")
        child.send(signal.SIGTERM)
    while child.is_alive:
        assert not patience.is_over(within_s, lambda: [[child.pid]])
        await asyncio.sleep(0.05)
    assert await child.wait() == 0
    caught = await Interrupted.now(world)
    row = "select owner, attempt, failures, crashes, due_at <= now() is_due from outbox.busy where event_id = $1"
    assert await world.postroom.rows(row, event_id) == [{"owner": None, "attempt": 0, "failures": 0, "crashes": 0, "is_due": True}]
    world.ghl.faults.release()  # the call goes on after its sender was gone
    await world.dispatcher()
    healed_s = await caught.healed(world)
    await world.settled()
    assert await world.postroom.value("select count(*) from outbox.attempts where outcome = 'c'") == 0
    await add_up(world, f"rolling deploy: {says}", healed_s, evidence, select="told_to_stop")


async def test_a_dispatcher_that_is_told_to_stop_finishes_or_hands_back(worlds: Worlds, evidence: Keep) -> None:
    async def play(act: Callable[[World], Awaitable[None]]) -> None:
        async with worlds() as world:
            await act(world)

    late = "SIGTERM while a call is under way, which outlasts the grace"
    twice = "a second SIGTERM while a call is under way"
    async with asyncio.TaskGroup() as side_by_side:
        side_by_side.create_task(play(lambda world: drains(world, evidence)))
        side_by_side.create_task(play(lambda world: hands_back(world, evidence, signals=1, grace_s=1, within_s=15, says=late)))
        side_by_side.create_task(play(lambda world: hands_back(world, evidence, signals=2, grace_s=120, within_s=15, says=twice)))


# ── restarts


async def restarted(world: World, fleet: Fleet, evidence: Keep, *, times: int, says: str, codes: set[int], select: str) -> None:
    stream = Stream(world, lambda: fleet.ports)
    async with under_load(world, webhooks_per_s=0, changes_per_s=3), AsyncExitStack() as streams:
        for keep_alive in (False, True):
            await streams.enter_async_context(stream.flowing(10, keep_alive=keep_alive))
        await until_accepted(world, 20)
        for _ in range(times):
            await fleet.restart(lambda: until_accepted(world, accepted(world) + 10))
    await world.settled()
    assert set(stream.answers) == {202}, stream.answers
    assert stream.failed == [], stream.unanswered
    assert set(fleet.codes) <= codes
    assert fleet.codes.total() == 4 * times
    assert await world.postroom.value("select count(*) from outbox.attempts where outcome = 'c'") == 0
    closed = f"{stream.answers[202]} webhooks, {sum(stream.unanswered.values())} closed doors"
    await add_up(world, f"rolling deploy: two each of {says} restarted in turn, {times} times; {closed}", None, evidence, select=select)


async def test_a_restart_of_every_process_loses_no_webhook_and_answers_each(world: World, evidence: Keep) -> None:
    async with Fleet.of_children(world) as fleet:
        await restarted(world, fleet, evidence, times=1, says=CHILDREN, codes=ENDED, select="restart_of_every")


@pytest.mark.long
async def test_five_restarts_of_every_process_lose_no_webhook_and_answer_each(world: World, evidence: Keep) -> None:
    async with Fleet.of_children(world) as fleet:
        await restarted(world, fleet, evidence, times=5, says=CHILDREN, codes=ENDED, select="five_restarts")


@pytest.mark.long
async def test_a_restart_of_the_real_commands_loses_no_webhook_and_answers_each(world: World, evidence: Keep) -> None:
    async with Fleet.of_commands(world) as fleet:
        await restarted(world, fleet, evidence, times=1, says="`postroom web` and `postroom worker`", codes={0}, select="real_commands")


# ── old and new side by side


@asynccontextmanager
async def newer(world: World, monkeypatch: pytest.MonkeyPatch, statements: str) -> AsyncIterator[None]:
    """From here on this process is of newer code, and has migrated; the world's children are of the old."""
    known = migrations()
    monkeypatch.setattr(migrate_module, "migrations", lambda: [*known, (NEWEST + 1, "newer", statements)])
    monkeypatch.setattr(services_module, "GHL_RATE", Rate(per_s=1000, burst=1000))
    async with world.pool.acquire() as connection:
        assert await migrate(connection) == [f"{NEWEST + 1:04} newer"]
    yield


@asynccontextmanager
async def newer_dispatcher(world: World) -> AsyncIterator[None]:
    """In this process, with a route that the old ones do not know."""
    settings = DispatcherSettings.read(
        ghl_api_key=world.ghl.settings.token,
        ghl_location_id=world.ghl.settings.location_id,
        ghl_api_base_url=world._urls[0],
        notion_api_key=world.notion.settings.token,
        notion_api_base_url=world._urls[1],
    )
    async with dispatching(world.dsn, NEWER_ROUTES, settings=settings):
        yield


async def is_ready(receiver: Child) -> bool:
    async with sending_client() as client:
        return (await client.get(f"http://127.0.0.1:{receiver.port}/readyz")).status_code == 200


async def new_incarnation(world: World, old: Child, number: int) -> None:
    """Its lease is taken from it, as after a freeze."""
    await world.pool.execute("update outbox.workers set ended_at = now() where name = $1 and ended_at is null", old.name)
    await old.wait_incarnation(number)


@pytest.mark.long
async def test_old_and_new_code_work_side_by_side_on_the_newer_schema(
    world: World, evidence: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, receiver = await asyncio.gather(world.dispatcher(), world.receiver())
    async with AsyncExitStack() as stack:
        async with under_load(world, webhooks_per_s=15, changes_per_s=5):
            await until_accepted(world, 20)
            await stack.enter_async_context(newer(world, monkeypatch, ADDS))
            assert await is_ready(receiver)  # the old one's
            await until_accepted(world, accepted(world) + 20)
            await new_incarnation(world, old, 2)
            staged = await stage_new_kind(world, 10)  # which only the old one could take
            await stack.enter_async_context(newer_dispatcher(world))
            old.send(signal.SIGSTOP)  # a moment in which only the new one can
            staged += await stage_new_kind(world, 10)
            old.send(signal.SIGCONT)
            staged += await stage_new_kind(world, 10)
            await until_accepted(world, accepted(world) + 40)
            assert await old.end(signal.SIGTERM) == 0
            await replay_what_was_skipped(world, staged)
        await world.settled()
    workers = await world.postroom.value("select count(distinct owner) from outbox.attempts where outcome = 'd'")
    assert workers >= 3  # the old one's two incarnations, and the new one
    await add_up(world, "rolling deploy: old and new code on the newer schema", None, evidence, select="side_by_side")


async def stage_new_kind(world: World, n: int) -> list[int]:
    """Events of a kind that only the new code knows, settled."""
    made = [appointment("rescheduled", number=f"new-{uuid.uuid4()}", contact="contact-1") for _ in range(n)]
    staged = await stage_all(world.postroom, *made)
    await world.until(lambda: are_over(world, staged), what="over")
    return staged


async def are_over(world: World, staged: list[int], *how: str) -> bool:
    states = await world.postroom.rows("select state from outbox.states($1::bigint[])", staged)
    return all(row["state"] in (how or ("done", "skipped")) for row in states)


async def replay_what_was_skipped(world: World, staged: list[int]) -> None:
    """What the old code had not known and settled, the new one does when it is put back."""
    rows = await world.postroom.rows("select event_id, state, why from outbox.states($1::bigint[])", staged)
    skipped = [row for row in rows if row["state"] == "skipped"]
    assert {row["why"] for row in skipped} == {"no route for appointment.rescheduled"}
    assert 10 <= len(skipped) <= 20
    for row in skipped:
        ended = await asyncio.to_thread(called, "events", "replay", str(row["event_id"]), "--json", DATABASE_URL=world.dsn)
        assert (ended.code, ended.json()) == (0, {"id": row["event_id"], "replayed": True})
    await world.until(lambda: are_over(world, staged, "done"), what="done")


async def test_old_code_refuses_a_newer_schema_that_breaks_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    old, receiver = await asyncio.gather(world.dispatcher(), world.receiver())
    async with newer(world, monkeypatch, BREAKS):
        assert not await is_ready(receiver)
        await world.pool.execute("update outbox.workers set ended_at = now() where ended_at is null")
        assert await old.wait() == 1
        assert "this code knows only" in old.log
