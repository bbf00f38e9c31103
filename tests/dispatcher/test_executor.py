"""What a run costs: each failure of a destination, of a handler and of the database, and that none of them harms the worker."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from dispatcher.context import Context
from dispatcher.errors import (
    AnswerLost,
    Failed,
    Forbidden,
    Gone,
    Misused,
    RateLimited,
    Refused,
    RemoteError,
    Unauthorised,
    Unavailable,
)
from dispatcher.executor import fingerprint
from dispatcher.outcome import Dead, Done, Outcome, Retry, Settled, Skipped, Snooze
from dispatcher.policy.retry import RetryPolicy
from dispatcher.routes import Handler, Route
from outbox import Claimed, DatabaseUnavailable, Event
from outbox.store import dead
from outbox.testing import Drain, Postroom
from tests.dispatcher.handling import Fate, fate, raising, returning
from tests.dispatcher.running import WorkerProcess, stage_all

DAY_S = 86_400
PRIVATE = ("ada@example.com", "+353 1 555 0100", "(01) 555-0100", "pit-00000000-secret", "Ada Example")

Run = Callable[..., Any]
RunEach = Callable[..., Awaitable[list[Fate]]]


@pytest.fixture
def run(postroom: Postroom, drain: Drain) -> Run:
    """`await run(handler)`: stages one event, runs it once, and says what became of it."""

    async def once(
        handler: Handler, *, destination: str | None = None, retry: RetryPolicy | None = None, hurry: bool = False, payload: Any = None
    ) -> Fate:
        [event_id] = await stage_all(postroom, Event("test.work", payload or {}))
        await drain({"test.work": Route(handler, destination=destination, retry=retry or RetryPolicy())}, hurry=hurry)
        return await fate(postroom, event_id)

    return once


@pytest.fixture
def run_each(postroom: Postroom, drain: Drain) -> RunEach:
    """`await run_each(route, …)`: stages an event for each route, lets one worker run each once, and says what became of them."""

    async def once(*routes: Route) -> list[Fate]:
        kinds = [f"test.work-{n}" for n in range(len(routes))]
        ids = await stage_all(postroom, *(Event(kind, {}) for kind in kinds))
        await drain(dict(zip(kinds, routes, strict=True)), timeout_s=10)
        return [await fate(postroom, event_id) for event_id in ids]

    return once


# ── what a destination's failure costs

WAITS: list[tuple[Callable[[str], RemoteError], str, int, int, tuple[float, float]]] = [
    # the failure, the outcome of the run, what it charges, the attempt that the busy row keeps (the one before: it was restored), the delay
    (lambda where: Unavailable(where, "it is down", status=503), "r", 0, 1, (20, 26)),
    (lambda where: Unavailable(where, "could not be reached", happened=False), "r", 0, 1, (20, 26)),
    (lambda where: Failed(where, "it broke", status=500), "r", 1, 1, (20, 26)),
    (lambda where: AnswerLost(where, "no answer"), "r", 1, 1, (20, 26)),
    (lambda where: RateLimited(where, "too many", retry_after_s=100), "h", 0, 0, (100, 131)),
]


async def test_a_failure_that_may_pass_makes_the_event_wait_on_a_route_with_a_destination_and_on_one_without(run_each: RunEach) -> None:
    policy = RetryPolicy(base_s=20)  # none is due again before the last has run
    gated = [Route(raising(partial(problem, f"crm-{n}")), destination=f"crm-{n}", retry=policy) for n, (problem, *_) in enumerate(WAITS)]
    ungated = [Route(raising(partial(problem, "crm")), retry=policy) for problem, *_ in WAITS]
    for n, (found, (_, *costs, (soonest_s, latest_s))) in enumerate(zip(await run_each(*gated, *ungated), WAITS * 2, strict=True)):
        assert (found.state, [found.outcomes, found.failures, found.attempt]) == ("pending", costs), n
        assert found.delay_s is not None
        assert soonest_s - 1 <= found.delay_s <= latest_s, n


STAYS: dict[str, RemoteError] = {
    "crm answered 422: the data was refused (title should not be empty). Correct the data, then retry the dead letter.": Refused(
        "crm", "the data was refused", status=422, details=("title should not be empty",)
    ),
    "crm answered 401: not authorized for this scope. Grant the missing permission at the destination, then retry.": Forbidden(
        "crm", "not authorized for this scope", status=401
    ),
    "crm answered 401: version header was not found. Check the base address in the configuration; if it is right, this is a bug.": Misused(
        "crm", "version header was not found", status=401
    ),
}


async def test_a_failure_that_stays_buries_the_event_and_says_why(run_each: RunEach) -> None:
    found = await run_each(*(Route(raising(lambda problem=problem: problem), destination="crm") for problem in STAYS.values()))  # type: ignore[misc]
    assert [(one.state, one.why, one.outcomes) for one in found] == [("dead", reason, "x") for reason in STAYS]


async def test_what_is_gone_at_the_destination_is_skipped(run: Run) -> None:
    found = await run(raising(lambda: Gone("crm", "Contact with id c1 not found", status=400)), destination="crm")
    assert (found.state, found.outcomes) == ("skipped", "s")
    assert found.why.startswith("crm answered 400: Contact with id c1 not found")


async def test_what_the_destination_already_has_is_skipped(run: Run) -> None:
    duplicate = Refused("crm", "this location does not allow duplicated contacts", status=400, duplicate_of="c7")
    found = await run(raising(lambda: duplicate), destination="crm")
    assert (found.state, found.outcomes) == ("skipped", "s")
    assert "c7" in found.why


async def test_a_rejected_token_holds_the_event_at_no_cost(run: Run, postroom: Postroom) -> None:
    found = await run(raising(lambda: Unauthorised("crm", "Invalid JWT", status=401)), destination="crm")
    assert (found.state, found.why, found.outcomes) == ("pending", "held for crm", "h")
    assert (found.is_held, found.failures, found.attempt) == (True, 0, 0)
    assert await postroom.value("select state from outbox.destinations where name = 'crm'") == "unauthorised"


async def test_a_destination_that_is_not_the_routes_own_stops_nobody_else(run: Run, postroom: Postroom) -> None:
    found = await run(raising(lambda: Unauthorised("other", "Invalid JWT", status=401)), destination="crm")
    assert (found.state, found.outcomes, found.failures) == ("pending", "r", 1)
    assert await postroom.rows("select name from outbox.destinations where state <> 'flowing'") == []


async def test_a_destination_down_for_one_event_only_buries_it_in_the_end(run: Run, postroom: Postroom) -> None:
    """Alone it would open the breaker; an ungated route shows the bound without 60 breakers."""
    found = await run(
        raising(lambda: Unavailable("crm", "it is down", status=503)), retry=RetryPolicy(quick=1, base_s=0, slow_s=()), hurry=True
    )
    assert found.state == "dead"
    assert found.why.startswith("crm answered 503: it is down")
    assert len(found.outcomes) > 60


# ── what a handler's failure costs


async def test_an_unexpected_exception_is_retried_and_buried_when_the_policy_is_exhausted(run: Run, postroom: Postroom) -> None:
    found = await run(raising(lambda: ValueError("no such colour")), retry=RetryPolicy(quick=2, slow_s=(60,)), hurry=True)
    assert (found.state, found.why, found.outcomes) == ("dead", "ValueError: no such colour (after 4 failures)", "rrrx")
    [letter] = await dead.find(postroom.pool, dead.Filter())
    assert (letter["attempt"], len(letter["fingerprint"])) == (4, 8)


async def test_a_failure_that_passes_leaves_an_event_done(run: Run) -> None:
    found = await run(raising(lambda: ValueError("not yet"), times=3), hurry=True)
    assert (found.state, found.outcomes) == ("done", "rrrd")


async def test_the_longer_of_policy_and_retry_after_wins_up_to_a_day(run_each: RunEach) -> None:
    policy = RetryPolicy(quick=0, slow_s=(60,))
    expected = {500: (499, 501), 0.001: (59, 79), 10 * DAY_S: (DAY_S - 1, DAY_S + 1)}
    found = await run_each(*(Route(returning(Retry("later", after_s=after_s)), retry=policy) for after_s in expected))
    for one, (at_least_s, at_most_s) in zip(found, expected.values(), strict=True):
        assert one.delay_s is not None
        assert at_least_s <= one.delay_s <= at_most_s


async def test_a_snooze_costs_nothing(run: Run) -> None:
    found = await run(returning(Snooze(300, "the shop opens at nine")))
    assert (found.state, found.why, found.outcomes, found.failures) == ("pending", "the shop opens at nine", "z", 0)
    assert 299 <= found.delay_s <= 300


async def test_a_malformed_payload_is_dead_and_the_reason_names_the_field_without_its_value(run: Run) -> None:
    class Visit(BaseModel):
        starts_at: int
        people: list[int]

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        Visit.model_validate_json(event.payload)
        return Done()

    found = await run(handler, payload={"starts_at": "ada@example.com", "people": [1, "Ada Example"]})
    assert found.state == "dead"
    assert found.why.startswith("the payload is not as expected: starts_at: ")
    assert "people.1: " in found.why
    assert not any(private in found.why for private in PRIVATE)


async def test_no_reason_holds_an_address_a_phone_number_or_a_token(run_each: RunEach, postroom: Postroom) -> None:
    told = "nobody: " + ", ".join(PRIVATE[:4])
    ends = (
        *(returning(end) for end in (Skipped(told), Dead(told), Snooze(60, told), Retry(told))),
        raising(lambda: ValueError(told)),
        raising(lambda: Refused("crm", "nobody", status=400, details=PRIVATE[:4])),
    )
    reasons = [one.why for one in await run_each(*map(Route, ends))]
    assert all(reason and "nobody" in reason for reason in reasons), reasons
    notes = [row["note"] for row in await postroom.rows("select note from outbox.attempts")]
    assert [text for text in (*reasons, *notes) if any(private in text for private in PRIVATE)] == []


async def test_a_skip_settled_in_a_transaction_is_scrubbed_too(run: Run) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        async with ctx.transaction() as tx:
            return await tx.settle(Skipped("nobody: ada@example.com\x00"))

    found = await run(handler)
    assert (found.state, found.why) == ("skipped", "nobody: [e-mail]")


# ── what no handler can do to the worker


ODD: list[tuple[Handler, str, str]] = [
    (returning(None), "dead", "its handler returned NoneType, which is no outcome"),
    (returning("done"), "dead", "its handler returned str, which is no outcome"),
    (returning(Settled(Done())), "dead", "its handler said that it had settled the event, but no transaction of it was committed"),
    (returning(Snooze(None, "when?")), "dead", "its handler returned an outcome that cannot be used (TypeError)"),  # type: ignore[arg-type]
    (returning(Snooze(float("inf"), "for ever")), "pending", "for ever"),
    (returning(Snooze(float("nan"), "never")), "dead", "its handler returned an outcome that cannot be used (ValueError)"),
    (returning(Retry("later", after_s=float("inf"))), "pending", "later"),
    (raising(lambda: SystemExit(3)), "pending", "SystemExit: 3"),
    (raising(asyncio.CancelledError), "pending", "its handler was cancelled by its own code"),
    (raising(lambda: ValueError("NUL \x00 and half a pair \ud800")), "pending", "ValueError: NUL and half a pair"),
    (returning(Skipped("NUL \x00 and half a pair \ud800")), "skipped", "NUL and half a pair"),
    (returning(Done({"at": object()})), "done", '{"kept": false}'),
    (returning(Done({"much": "x" * 5000})), "done", '{"kept": false}'),
    (returning(Done({"half": "\ud800", "nul": "\x00"})), "done", '{"half": "\\ud800", "nul": "\\u0000"}'),
]


async def test_whatever_a_handler_does_the_event_has_a_clear_fate_and_the_worker_goes_on(run_each: RunEach, postroom: Postroom) -> None:
    *odd, good = await run_each(*(Route(handler) for handler, *_ in ODD), Route(returning(Done())))
    assert [(one.state, one.why) for one in odd] == [(state, why) for _, state, why in ODD]
    assert good.state == "done"
    assert await postroom.value("select count(*) from outbox.workers") == 1  # it was not started anew


async def test_a_transaction_that_was_settled_and_rolled_back_is_no_settlement(run: Run) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        try:
            async with ctx.transaction() as tx:
                settled = await tx.settle(Done())
                raise LookupError
        except LookupError:
            return settled

    found = await run(handler)
    assert found.state == "dead"


async def test_an_interrupt_in_a_handler_ends_the_process_and_hands_its_event_back(postroom: Postroom, drain: Drain) -> None:
    """Ctrl-C belongs to the person who pressed it, in whatever code it arrives; swallowed, it would have to be pressed again."""
    [event_id] = await stage_all(postroom, Event("harm.interrupt", {}))
    async with WorkerProcess(postroom.dsn, role="harmful worker") as worker:
        assert await worker.wait() != 0
    await drain({"harm.interrupt": Route(returning(Done()))})
    assert (await fate(postroom, event_id)).outcomes == "d"
    assert await postroom.value("select count(*) from outbox.workers where ended_at is null") == 0


async def test_a_value_that_postgres_cannot_take_is_a_failure_and_no_outage(run: Run) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome | Settled:
        async with ctx.transaction() as tx:
            await tx.connection.fetchval("select $1::int", "seven")
            return await tx.settle(Done())

    found = await run(handler, retry=RetryPolicy(quick=1, slow_s=()), hurry=True)
    assert (found.state, found.outcomes) == ("dead", "rx")
    assert found.why.startswith("DataError: ")


async def test_a_database_that_is_away_for_a_handler_is_waited_for(run: Run) -> None:
    found = await run(raising(lambda: DatabaseUnavailable("Postgres did not answer"), times=3), hurry=True)
    assert (found.state, found.outcomes) == ("done", "rrrd")


async def test_a_handler_for_which_alone_the_database_is_away_is_buried_in_the_end(run: Run) -> None:
    handler = raising(lambda: DatabaseUnavailable("Postgres did not answer (QueryCanceledError)"))
    found = await run(handler, retry=RetryPolicy(quick=1, base_s=0, slow_s=()), hurry=True)
    assert found.state == "dead"
    assert "QueryCanceledError" in found.why


async def test_a_result_is_kept_in_the_timeline(run: Run) -> None:
    found = await run(returning(Done({"lead": "created"})))
    assert json.loads(found.why) == {"lead": "created"}


async def test_a_kind_without_a_route_is_skipped_and_says_so(postroom: Postroom, drain: Drain) -> None:
    [event_id] = await stage_all(postroom, Event("nobody.knows", {}))
    await drain({})
    assert (await fate(postroom, event_id)).why == "no route for nobody.knows"


# ── fingerprints

SAME = [
    ("crm answered 400: Contact with id abc123 not found", "crm answered 400: Contact with id Q9z not found"),
    ("ValueError: 17 is too much (after 12 failures)", "ValueError: 2000 is too much (after 3 failures)"),
    ("KeyError: 'anna'", "KeyError: 'bob'"),
    ("page 0da7aba5-e000-4000-8000-000000000001 is odd", "page 1da7aba5-e000-4000-8000-00000000000f is odd"),
    ("crm answered 422: refused (people.0: missing)", "crm answered 422: refused (people.14: missing)"),
]
OTHER = [
    ("ValueError: no such colour", "TypeError: no such colour"),
    ("crm answered 400: the data was refused", "crm answered 403: the data was refused"),
    (
        "the payload is not as expected: appointment.id: Field required",
        "the payload is not as expected: appointment.status: Field required",
    ),
    ("crm answered 422: refused (title should not be empty)", "crm answered 422: refused (body should not be empty)"),
]


@pytest.mark.parametrize(("one", "another"), SAME)
def test_one_cause_with_other_ids_has_one_fingerprint(one: str, another: str) -> None:
    assert fingerprint("test.work", one) == fingerprint("test.work", another)


@pytest.mark.parametrize(("one", "another"), OTHER)
def test_other_causes_have_other_fingerprints(one: str, another: str) -> None:
    assert fingerprint("test.work", one) != fingerprint("test.work", another)
    assert fingerprint("test.work", one) != fingerprint("test.other", one)
