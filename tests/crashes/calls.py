"""What is asked of a receiver that is brought to a named point, and what must be so afterwards, however often it had to be asked.

An operator's program asks as a sender does: no answer, or a 5xx, and it asks again, the same request.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from pydantic import SecretStr

from outbox import Event
from outbox.seal import Sealer, fingerprint
from outbox.store import appointments, destinations, handshakes, lanes, syncs
from outbox.store.lanes import Burial, End
from simulators.samples import notion_handshake
from simulators.shapes import compact
from tests.crashes.pulls import ask as ask_for_a_run
from tests.crashes.salons import is_rolled_back, made
from tests.crashes.scenes import bury, claim_as
from tests.crashes.world import OPERATOR_TOKEN, PATIENCE_S, SEALING_KEY, World
from tests.dispatcher.running import stage_all

STARTED = 1_800_000_000.0
MADE, PLANS = "/api/dead-letters/plans", "/api/plans"
TOKEN = "handshake-token-for-crash-tests-only"
TIMES = {"starts_at": "2027-01-05T10:00:00+00:00", "ends_at": "2027-01-05T10:30:00+00:00"}


async def ask(
    world: World, method: str, path: str, json: Any = None, *, headers: Mapping[str, str] | None = None, again_s: float = 0.1
) -> httpx.Response:
    """The first answer that is no 5xx, of any live receiver. Fails when there is none in time."""
    began = time.monotonic()
    given = {"content-type": "application/json", **({"authorization": f"Bearer {OPERATOR_TOKEN}"} if headers is None else headers)}
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        while time.monotonic() - began < PATIENCE_S:
            for port in world.ports():
                try:
                    answer = await client.request(method, f"http://127.0.0.1:{port}{path}", content=compact(json or {}), headers=given)
                except httpx.TransportError:
                    continue
                if answer.status_code < 500:
                    return answer
            await asyncio.sleep(again_s)
    raise AssertionError(f"no answer to {method} {path} within {PATIENCE_S:g} s\n{world.logs()}")


@dataclass(frozen=True, slots=True)
class Asked:
    """`prepare` arranges rows; `ask` returns when it was answered in the end; `holds` says, once all is settled, whether it is right."""

    ask: Callable[[World], Coroutine[None, None, None]]
    holds: Callable[[World], Awaitable[bool]] | None = None
    prepare: Callable[[World], Awaitable[None]] | None = None


def truth(query: str) -> Callable[[World], Awaitable[bool]]:
    """A check that a query says true."""

    async def check(world: World) -> bool:
        return bool(await world.postroom.value(query))

    return check


def asking(
    method: str, path: str, json: Any = None, *, key: str | None = None, fine: tuple[int, ...] = (200, 201)
) -> Callable[[World], Coroutine[None, None, None]]:
    """A request of an operator. `{id}` in the path is the one event, handshake or appointment that was prepared."""

    async def act(world: World) -> None:
        own = {"authorization": f"Bearer {OPERATOR_TOKEN}", **({"idempotency-key": key} if key else {})}
        answer = await ask(world, method, path.replace("{id}", world.prepared), json, headers=own)
        assert answer.status_code in fine, answer.text

    return act


# ── webhooks


async def post(world: World) -> None:
    await world.post(24)


async def post_twice(world: World) -> None:
    """Each delivery comes again, as after an answer that was lost."""
    await world.deliver(await world.post(12))


async def forge(world: World) -> None:
    """A message that nobody signed; it is turned away, and kept for inspection."""
    answer = await ask(world, "POST", "/api/webhooks/ghl", {"type": "ContactUpdate"}, headers={})
    assert answer.status_code == 401


async def shake(world: World) -> None:
    """Notion offers a verification token; not too often, for who offers three in a minute is told to wait."""
    answer = await ask(world, "POST", "/api/webhooks/notion", notion_handshake(TOKEN), headers={}, again_s=3.0)
    assert answer.status_code == 200


# ── what an operator finds


async def _one_event(world: World) -> None:
    [event_id] = await stage_all(world.postroom, Event("other.fact", {"n": 1}, lane="other"))
    world.prepared = str(event_id)


async def a_done_event(world: World) -> None:
    await _one_event(world)
    worker, [event] = await claim_as(world, "before", limit=1)
    async with world.pool.acquire() as connection:
        assert await lanes.finish(connection, [End(event, STARTED, 5, "d")], worker=worker)


async def a_dead_letter(world: World) -> None:
    await _one_event(world)
    worker, [event] = await claim_as(world, "before", limit=1)
    async with world.pool.acquire() as connection:
        assert await lanes.bury(connection, [Burial(event, STARTED, 5, "cause", "refused")], worker=worker)


async def _offer(world: World, token: str) -> int:
    sealed = Sealer([SecretStr(SEALING_KEY)]).seal(token)
    return await handshakes.offer(world.pool, "notion", sealed=sealed, fingerprint=fingerprint(token), remote=None)


async def a_candidate(world: World) -> None:
    world.prepared = str(await _offer(world, TOKEN))


async def a_candidate_beside_one_in_use(world: World) -> None:
    before = await _offer(world, TOKEN + "-before")
    assert await handshakes.promote(world.pool, "notion", before, by="otto")
    await a_candidate(world)


async def an_appointment(world: World) -> None:
    world.prepared = "6b2f1c0e-0000-4000-8000-000000000001"
    at = datetime.now(UTC) + timedelta(days=1)
    async with world.pool.acquire() as connection:
        assert await appointments.create_once(
            connection,
            UUID(world.prepared),
            status="scheduled",
            starts_at=at,
            ends_at=at + timedelta(hours=1),
            contact_id=None,
            title="Cut",
            notes=None,
        )


async def dead_letters(world: World) -> None:
    """Of five lanes."""
    await world.confirm(5)
    assert len(await bury(world)) == 5


async def what_we_made(world: World) -> None:
    """Clients of Phorest at GHL, and a sync that would make them anew."""
    await made(world, 4)
    await syncs.register(world.pool, "phorest-clients", destination="phorest", types=("incremental", "full"), off=None)


async def a_sync(world: World) -> None:
    """That stands."""
    await syncs.register(world.pool, "ghl-contacts", destination="ghl", types=("incremental", "full"), off=None)
    await syncs.pause(world.pool, "ghl-contacts", by="otto", why="for a test")


async def a_run(world: World) -> None:
    """That waits for a dispatcher."""
    await ask_for_a_run(world, "ghl-contacts", "incremental", destination="ghl")
    world.prepared = str(await world.postroom.value("select id from outbox.runs where trigger = 'manual'"))


async def plan(world: World) -> None:
    """A plan of all dead letters, begun; whoever got no answer makes another and begins that one."""
    answer = await ask(world, "POST", MADE, {"all": True})
    assert answer.status_code == 201, answer.text
    begun = await ask(world, "POST", f"{PLANS}/{answer.json()['id']}/start", {"canary": False})
    assert begun.status_code in ON_EVENT, begun.text


async def plan_of_a_replay(world: World) -> None:
    """A plan of the one that is done, begun; whoever got no answer makes another and begins that one."""
    answer = await ask(world, "POST", "/api/events/plans", {"kind": ["other.fact"]})
    assert answer.status_code == 201, answer.text
    begun = await ask(world, "POST", f"{PLANS}/{answer.json()['id']}/start", {"canary": False})
    assert begun.status_code in ON_EVENT, begun.text


async def note(world: World) -> None:
    """On the cause of what is dead, which is then retried."""
    await asking("POST", "/api/dead-letters/groups/cause/note", {"note": "known"})(world)
    await asking("POST", "/api/dead-letters/{id}/retry", fine=ON_EVENT)(world)


async def a_pause(world: World) -> None:
    await destinations.pause(world.pool, "phorest", why="for a test", by="otto")


ONE_FACT = truth("select count(*) = 1 from outbox.events where kind = 'other.fact' and key = 'fact-1'")
ONE_REPLAY = "(select count(*) = 1 from outbox.attempts where outcome = 'p')"
AUDITED = "(select count(*) = 1 from outbox.audit)"  # the act and its audit are one transaction, and it was done once
ON_EVENT = (200, 409)  # it may have been done by the request whose answer was lost
EACH_RETRIED_ONCE = "(select count(*) = 5 and count(distinct event_id) = 5 from outbox.attempts where outcome = 'p')"
PLANNED = Asked(plan, truth(f"select {EACH_RETRIED_ONCE} and exists (select from outbox.plans where state = 'done')"), dead_letters)
ROLLED_BACK = Asked(asking("POST", "/api/phorest/rollback", {"dry_run": False}, fine=(202,)), is_rolled_back, what_we_made)
STAGE = Asked(asking("POST", "/api/events", {"kind": "other.fact", "payload": {}, "key": "fact-1"}), ONE_FACT)
WEBHOOKS = Asked(post)

CALLS: Mapping[str, Asked] = {
    "stage_many": WEBHOOKS,
    "count_duplicates": Asked(post_twice),
    "answer": WEBHOOKS,
    "ledger.count": WEBHOOKS,
    "ledger.keep": Asked(forge),
    "handshake": Asked(shake, truth("select count(*) = 1 from outbox.handshakes where promoted_at is null")),
    "promote": Asked(
        asking("POST", "/api/webhooks/notion/handshakes/{id}/promote", fine=ON_EVENT),
        truth(f"select (select count(*) = 1 from outbox.handshakes where promoted_at is not null) and {AUDITED}"),
        a_candidate,
    ),
    "retire": Asked(
        asking("POST", "/api/webhooks/notion/handshakes/{id}/promote", {"retire_others": True}, fine=ON_EVENT),
        truth(f"select (select count(*) = 1 and min(promoted_by) = 'otto' from outbox.handshakes) and {AUDITED}"),
        a_candidate_beside_one_in_use,
    ),
    "api.stage": STAGE,
    "api.audit": STAGE,
    "api.commit": STAGE,
    "api.replay": Asked(
        asking("POST", "/api/events/{id}/replay", fine=ON_EVENT), truth(f"select {ONE_REPLAY} and {AUDITED}"), a_done_event
    ),
    "api.appointment": Asked(
        asking("POST", "/api/appointments", {**TIMES, "title": "Cut"}, key="booking-1"),
        truth(
            "select (select count(*) = 1 from crm.appointments)"
            " and (select count(*) = 1 from outbox.events where kind = 'appointment.created')"
        ),
    ),
    # Without a key a repeat makes another, and that is right; what must not be is an appointment without its event.
    "api.appointment_without_key": Asked(
        asking("POST", "/api/appointments", {**TIMES, "title": "Cut"}),
        truth("select (select count(*) from crm.appointments) = (select count(*) from outbox.events where kind = 'appointment.created')"),
    ),
    "api.change": Asked(
        asking("PATCH", "/api/appointments/{id}", {"status": "confirmed"}),
        truth(
            "select (select status = 'confirmed' from crm.appointments)"
            " and (select count(*) = 1 from outbox.events where kind = 'appointment.confirmed')"
        ),
        an_appointment,
    ),
    "api.retry": Asked(
        asking("POST", "/api/dead-letters/{id}/retry", fine=ON_EVENT), truth(f"select {ONE_REPLAY} and {AUDITED}"), a_dead_letter
    ),
    "api.discard": Asked(
        asking("POST", "/api/dead-letters/{id}/discard", {"reason": "known"}, fine=ON_EVENT),
        truth(f"select (select count(*) = 1 from outbox.attempts where outcome = 's') and {AUDITED}"),
        a_dead_letter,
    ),
    "api.plan": PLANNED,
    "api.plan_of_a_replay": Asked(
        plan_of_a_replay, truth(f"select {ONE_REPLAY} and exists (select from outbox.plans where state = 'done')"), a_done_event
    ),
    "api.plan_begins": PLANNED,
    "api.portion": PLANNED,
    "api.rollback": ROLLED_BACK,
    "api.rollback_pauses": ROLLED_BACK,
    "api.sync_resumes": Asked(
        asking("POST", "/api/syncs/ghl-contacts/resume"),
        truth("select paused_at is null from outbox.syncs where name = 'ghl-contacts'"),
        a_sync,
    ),
    "api.schedule": Asked(
        asking("PUT", "/api/syncs/ghl-contacts/schedules/incremental", {"every_s": 86_400}),
        truth("select bool_or(every_s = 86400 and is_on and edited_by = 'otto') from outbox.schedules where sync = 'ghl-contacts'"),
        a_sync,
    ),
    "api.cancel": Asked(
        asking("POST", "/api/syncs/ghl-contacts/runs/{id}/cancel", fine=ON_EVENT),
        truth(f"select (select bool_and(state = 'cancelled') from outbox.runs where trigger = 'manual') and {AUDITED}"),
        a_run,
    ),
    "api.note": Asked(note, truth("select note = 'known' from outbox.notes where fingerprint = 'cause'"), a_dead_letter),
    "api.pause": Asked(
        asking("POST", "/api/destinations/phorest/pause", {"reason": "for a test"}),
        truth("select state = 'paused' from outbox.destinations where name = 'phorest'"),
    ),
    "api.resume": Asked(
        asking("POST", "/api/destinations/phorest/resume"),
        truth("select state = 'flowing' from outbox.destinations where name = 'phorest'"),
        a_pause,
    ),
}
