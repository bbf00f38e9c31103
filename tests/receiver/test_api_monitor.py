"""The monitor: the old one's fields from counters and undone rows, and one appointment's whole story."""

from datetime import UTC, datetime

from dispatcher.context import Context
from dispatcher.outcome import Dead, Done, Outcome
from dispatcher.routes import Route
from outbox import Claimed, Event
from outbox.store import budgets, destinations, minutes, syncs
from outbox.store.budgets import Budget
from outbox.store.minutes import Counts
from outbox.testing import Drain, Postroom
from tests.receiver.running import started
from tests.receiver.test_api_events import stage_all


async def done(event: Claimed, ctx: Context) -> Outcome:
    return Done({"notesCreated": 1})


async def dies(event: Claimed, ctx: Context) -> Outcome:
    return Dead("the phone is invalid")


ROUTES = {"appointment.created": Route(done), "appointment.confirmed": Route(dies)}


async def test_an_empty_system_has_no_rates_and_says_that_no_dispatcher_is_there(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        told = (await talk.get("/api/monitor", viewer=True)).json()
    assert told["totals"] == {"accepted": 0, "done": 0, "skipped": 0, "failedAttempts": 0, "pending": 0, "dead": 0}
    assert told["successRate"] is None
    assert told["latency"] == {"averageSeconds": None, "targetSeconds": 5.0, "lateShare": None}
    assert told["systemHealth"]["status"] == "unhealthy"
    assert told["systemHealth"]["issues"] == ["no dispatcher is alive"]
    assert told["recommendations"] == ["Start `postroom worker`; nothing is lost."]


async def test_the_fields_of_the_old_monitor_are_there_and_true(postroom: Postroom, drain: Drain) -> None:
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('w', now() + interval '1 h')")
    this = datetime.now(UTC).replace(second=0, microsecond=0)
    await minutes.add(postroom.pool, [(this, "k", Counts(done=93, dead=7, failures=3, settled_ms=93 * 6000, late=31))])
    await postroom.pool.execute("insert into outbox.arrivals values (date_trunc('minute', now()), 'app', 100)")
    await postroom.pool.execute("insert into outbox.arrivals_counted (next_id) values (1::bigint << 62)")
    await destinations.pause(postroom.pool, "notion", why="schema change", by="ben")
    await budgets.take(postroom.pool, "ghl:loc", burst=20, per_s=10, decide=lambda seen, now: (Budget(19, now, None, 7, 1234), 0.0))
    async with started(postroom) as talk:
        told = (await talk.get("/api/monitor", viewer=True)).json()
    assert told["totals"]["accepted"] == 100
    assert told["successRate"] == 0.93
    assert told["latency"] == {"averageSeconds": 6.0, "targetSeconds": 5.0, "lateShare": 1 / 3}
    assert told["systemHealth"]["status"] == "degraded"
    assert told["systemHealth"]["issues"] == [
        "93 % of the events succeed",
        "events take 6.0 s from staged to done",
        "notion does not flow: schema change",
    ]
    assert not told["targets"]["met"]
    assert told["rateLimits"] == [{"credential": "ghl:loc", "usedToday": 7, "leftToday": None, "restsForSeconds": None}]


async def test_a_sync_without_a_success_for_six_of_its_hours_is_red_in_the_monitor(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('w', now() + interval '1 h')")
    await syncs.register(postroom.pool, "ghl-contacts", destination="ghl", types=["incremental"], off=None)
    await postroom.pool.execute("update outbox.syncs set expected_since = now() - interval '10 h'")
    await postroom.pool.execute(
        "insert into outbox.schedules (sync, type, every_s, catch_up, due_at) values ('ghl-contacts', 'incremental', 3600, 'one', now())"
    )
    async with started(postroom) as talk:
        told = (await talk.get("/api/monitor", viewer=True)).json()
    assert [(one["name"], one["light"]) for one in told["syncs"]] == [("ghl-contacts", "red")]
    assert told["systemHealth"]["issues"] == ["the sync ghl-contacts is red"]


async def test_dead_letters_are_the_recent_failures_newest_first(postroom: Postroom, drain: Drain) -> None:
    ids = await stage_all(postroom, *(Event("appointment.confirmed", {"n": n}) for n in range(2)))
    await drain(ROUTES)
    async with started(postroom) as talk:
        told = (await talk.get("/api/monitor", viewer=True)).json()
    assert told["deadLetterQueueSize"] == told["totals"]["dead"] == told["failuresLastHour"] == 2
    assert {failure["id"] for failure in told["recentFailures"]} == set(ids)
    assert told["recentFailures"][0]["reason"] == "the phone is invalid"


async def test_one_appointment_is_told_with_everything_that_became_of_it(postroom: Postroom, drain: Drain) -> None:
    events = (Event(kind, {"appointment": {"id": "912"}}, lane="appointment:912") for kind in ROUTES)
    created, confirmed = await stage_all(postroom, *events)
    await drain(ROUTES)
    async with started(postroom) as talk:
        told = (await talk.get("/api/monitor/appointments/912", viewer=True)).json()
        unknown = await talk.get("/api/monitor/appointments/913", viewer=True)
    assert told["appointment"] == "912"
    assert told["synced"] is False
    assert [(one["id"], one["state"], one["why"]) for one in told["events"]] == [
        (confirmed, "dead", "the phone is invalid"),
        (created, "done", '{"notesCreated": 1}'),
    ]
    assert told["events"][1]["timeline"][0]["what"] == "staged"
    assert unknown.status_code == 404
