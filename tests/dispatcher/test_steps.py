"""The step journal (P6): what is known done is not repeated, what is unknown is looked up, what surely was not done is done."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from dispatcher import effects
from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.errors import AnswerLost, Failed, RateLimited, Refused, RemoteError, Unavailable
from dispatcher.outcome import Dead, Done, Outcome, Retry
from dispatcher.routes import Handler, Route
from outbox import Claimed, Event, OwnershipLost
from outbox.store import events
from outbox.store.steps import Entry
from outbox.testing import Drain, Postroom
from simulators.ghl import GhlSimulator
from tests.dispatcher.appointments import appointment
from tests.dispatcher.handling import fate
from tests.dispatcher.running import stage_all


@dataclass
class FarSide:
    """A far side that keeps what it was told, and can fail while it does."""

    kept: list[str] = field(default_factory=list)
    looked: int = 0
    failing: list[tuple[bool, RemoteError]] = field(default_factory=list)  # whether it did it before it failed

    async def write(self, marker: str) -> str:
        if self.failing:
            did_it, problem = self.failing.pop(0)
            if did_it:
                self.kept.append(marker)
            raise problem
        self.kept.append(marker)
        return f"id-{len(self.kept)}"

    async def find(self, marker: str) -> str | None:
        self.looked += 1
        return f"id-{self.kept.index(marker) + 1}" if marker in self.kept else None


def writing(far: FarSide, *, answers: list[Any] | None = None, then: Callable[[], Awaitable[Outcome]] | None = None) -> Handler:
    """A handler with one step; `answers` collects what the step returned in each run."""

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        marker = ctx.marker("note")
        answer = await ctx.step("note", lambda: far.write(marker), find=lambda: far.find(marker))
        if answers is not None:
            answers.append(answer)
        return await then() if then else Done()

    return handler


async def journal(postroom: Postroom) -> str:
    return "".join(row["entry"] for row in await postroom.rows("select entry::text from outbox.steps order by at"))


async def test_a_step_with_neither_a_find_nor_leave_to_repeat_is_a_mistake(postroom: Postroom, drain: Drain) -> None:
    called = False

    async def call() -> None:
        nonlocal called
        called = True

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        with pytest.raises(TypeError, match="'note' brings a `find`, or says that it is repeatable"):
            await ctx.step("note", call)
        return Done()

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)})
    assert (await fate(postroom, event_id)).state == "done"
    assert not called
    assert await journal(postroom) == ""


async def test_a_step_is_written_down_before_and_after_its_call(postroom: Postroom, drain: Drain) -> None:
    seen_during_call: list[str] = []

    async def call() -> str:
        seen_during_call.append(await journal(postroom))
        return "id-1"

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        await ctx.step("tag", call, repeatable=True)
        return Done()

    await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)})
    assert seen_during_call == ["i"]
    assert await journal(postroom) == "id"
    row = (await postroom.rows("select name, attempt, answer, took_ms from outbox.steps where entry = 'd'"))[0]
    assert (row["name"], row["attempt"], json.loads(row["answer"])) == ("tag", 1, "id-1")
    assert row["took_ms"] >= 0


LOST = [
    lambda: AnswerLost("crm", "cut"),
    lambda: Failed("crm", "broke", status=500),
    lambda: Unavailable("crm", "busy", status=503),
]


@pytest.mark.parametrize("problem", LOST, ids=["answer lost", "500", "503"])
@pytest.mark.parametrize("did_it", [True, False], ids=["it had happened", "it had not"])
async def test_an_unknown_end_is_looked_up_before_the_step_is_repeated(
    postroom: Postroom, drain: Drain, problem: Callable[[], RemoteError], did_it: bool
) -> None:
    far, answers = FarSide(failing=[(did_it, problem())]), list[Any]()
    await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(writing(far, answers=answers))}, hurry=True)
    assert (len(far.kept), far.looked, answers) == (1, 1, ["id-1"])
    assert await journal(postroom) == ("if" if did_it else "iid")


NOT_DONE = [
    lambda: RateLimited("crm", "too many", retry_after_s=1),
    lambda: Unavailable("crm", "could not be reached", happened=False),
]


@pytest.mark.parametrize("problem", NOT_DONE, ids=["rate limited", "never sent"])
async def test_what_surely_did_not_happen_is_done_without_a_look(
    postroom: Postroom, drain: Drain, problem: Callable[[], RemoteError]
) -> None:
    far = FarSide(failing=[(False, problem())])
    await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(writing(far))}, hurry=True)
    assert (len(far.kept), far.looked) == (1, 0)
    assert await journal(postroom) == "inid"


async def test_a_refusal_is_kept_with_its_reason(postroom: Postroom, drain: Drain) -> None:
    far = FarSide(failing=[(False, Refused("crm", "refused", status=422, details=("title should not be empty",)))])
    await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(writing(far))})
    assert await journal(postroom) == "in"
    assert "title should not be empty" in await postroom.value("select note from outbox.steps where entry = 'n'")


async def test_an_effect_that_the_far_side_confirms_although_it_failed_is_not_repeated(postroom: Postroom, drain: Drain) -> None:
    far, answers = FarSide(failing=[(True, Unavailable("crm", "saved, but not told", status=503, happened=True))]), list[Any]()
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(writing(far, answers=answers))})
    assert (len(far.kept), far.looked, answers) == (1, 1, ["id-1"])
    assert (await journal(postroom), (await fate(postroom, event_id)).outcomes) == ("id", "d")


async def test_a_look_that_fails_is_repeated_and_the_step_is_not(postroom: Postroom, drain: Drain) -> None:
    far, looks = FarSide(failing=[(True, AnswerLost("crm", "cut"))]), 0

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        async def find() -> str | None:
            nonlocal looks
            looks += 1
            if looks < 3:
                raise Failed("crm", "broke", status=500)
            return await far.find(ctx.marker("note"))

        await ctx.step("note", lambda: far.write(ctx.marker("note")), find=find)
        return Done()

    await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)}, hurry=True)
    assert (len(far.kept), looks) == (1, 3)
    assert await journal(postroom) == "if"


async def test_an_effect_still_under_way_is_not_looked_for_too_early(
    postroom: Postroom, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The far side does it a moment after the answer was lost: a look at once would not find it, and it would be done twice."""
    monkeypatch.setattr(effects, "SETTLING_S", 0.6)
    far, late = FarSide(failing=[(False, AnswerLost("crm", "cut"))]), list[asyncio.TimerHandle]()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        marker = ctx.marker("note")

        async def write() -> str:
            if not late:
                late.append(asyncio.get_running_loop().call_later(0.4, far.kept.append, marker))
            return await far.write(marker)

        await ctx.step("note", write, find=lambda: far.find(marker))
        return Done()

    await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)}, hurry=True)
    assert (len(far.kept), far.looked, await journal(postroom)) == (1, 1, "if")


async def test_a_lost_answer_of_long_ago_is_looked_for_at_once(postroom: Postroom, drain: Drain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "SETTLING_S", 3600.0)
    far = FarSide(kept=[])
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await postroom.pool.execute(
        "insert into outbox.steps (event_id, name, attempt, entry, at) values ($1, 'note', 1, 'i', now() - interval '2 hours')", event_id
    )
    await drain({"test.work": Route(writing(far))}, timeout_s=10)
    assert (len(far.kept), far.looked) == (1, 1)


async def test_a_step_known_done_answers_the_same_in_a_later_run(postroom: Postroom, drain: Drain) -> None:
    far, answers, runs = FarSide(), list[Any](), 0

    async def then() -> Outcome:
        nonlocal runs
        runs += 1
        return Retry("not yet") if runs < 3 else Done()

    await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(writing(far, answers=answers, then=then))}, hurry=True)
    assert (len(far.kept), far.looked, answers) == (1, 0, ["id-1"] * 3)


async def test_a_step_asked_for_twice_in_one_run_is_done_once(postroom: Postroom, drain: Drain) -> None:
    far = FarSide()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        for _ in range(2):
            assert await ctx.step("note", lambda: far.write("m"), find=lambda: far.find("m")) == "id-1"
        return Done()

    await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)})
    assert (far.kept, await journal(postroom)) == (["m"], "id")


async def test_a_replayed_event_repeats_no_finished_step(postroom: Postroom, drain: Drain) -> None:
    far, answers = FarSide(), list[Any]()
    routes = {"test.work": Route(writing(far, answers=answers))}
    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain(routes)
    async with postroom.pool.acquire() as connection:
        assert await events.replay(connection, event_id, by="ana")
    await drain(routes)
    assert (await fate(postroom, event_id)).outcomes.count("d") == 2
    assert (len(far.kept), answers) == (1, ["id-1", "id-1"])


async def test_a_replayed_appointment_writes_nothing_again(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: tuple[GhlSimulator, str]
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    [event_id] = await stage_all(postroom, appointment("created"))
    await drain(settings=simulated)
    before, requests = simulator.effects.totals(), simulator.requests.total
    reads = simulator.requests.count("GET")
    async with postroom.pool.acquire() as connection:
        assert await events.replay(connection, event_id, by="ana")
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).state == "done"
    looks = simulator.requests.count("GET") - reads  # at what the contact shows, so that an echo of ours is known
    assert (simulator.effects.totals(), simulator.requests.total - looks) == (before, requests)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ({"id": "n1"}, {"id": "n1"}),
        (None, None),
        ("x" * 2040, "x" * 2040),
        ("x" * 3000, {"kept": False}),
        ({"at": object()}, {"kept": False}),
        ("NUL \x00", {"kept": False}),
        ("half \ud800", {"kept": False}),
        (float("nan"), {"kept": False}),
    ],
    ids=["object", "nothing", "nearly 2 KiB", "over 2 KiB", "no JSON", "NUL", "surrogate", "NaN"],
)
async def test_an_answer_that_the_journal_cannot_keep_still_leaves_the_step_done(
    postroom: Postroom, drain: Drain, answer: Any, kept: Any
) -> None:
    calls, runs = 0, 0

    async def call() -> Any:
        nonlocal calls
        calls += 1
        return answer

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal runs
        runs += 1
        await ctx.step("note", call, repeatable=True)
        return Done() if runs == 2 else Retry("once more")

    await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)}, hurry=True)
    assert (runs, calls) == (2, 1)
    text = await postroom.value("select answer from outbox.steps where entry = 'd'")
    assert (None if text is None else json.loads(text)) == kept


async def test_a_write_into_the_journal_of_an_event_that_is_anothers_raises(postroom: Postroom, drain: Drain) -> None:
    far, lost, runs = FarSide(), list[bool](), 0

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal runs
        runs += 1
        if runs == 1:  # it is due again at once, so the second run may begin before the first has failed
            await postroom.pool.execute("update outbox.busy set attempt = attempt + 1, owner = null, due_at = now()")
            with pytest.raises(OwnershipLost):
                await ctx.step("note", lambda: far.write("m"), find=lambda: far.find("m"))
            lost.append(True)
            return Dead("this does not count")
        await ctx.step("note", lambda: far.write("m"), find=lambda: far.find("m"))
        return Done()

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)})
    assert (lost, far.kept) == ([True], ["m"])
    assert (await fate(postroom, event_id)).outcomes == "d"


async def test_a_journal_entry_counts_only_for_the_right_owner_and_attempt(postroom: Postroom, drain: Drain) -> None:
    tried = 0

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        nonlocal tried
        for wrong, worker in ((event, ctx.worker + 1), (event._replace(attempt=9), ctx.worker), (event._replace(id=1), ctx.worker)):
            with pytest.raises(OwnershipLost):
                await ctx.services.journal.write(Entry(wrong, worker, "note", "i"))
            tried += 1
        await ctx.services.journal.write(Entry(event, ctx.worker, "note", "i"))
        return Done()

    await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)})
    assert (tried, await journal(postroom)) == (3, "i")


async def test_an_event_whose_ownership_was_doubted_in_vain_is_not_forgotten(postroom: Postroom, drain: Drain) -> None:
    """The lease was late and then renewed: the event is still ours, and nobody else would ever run it."""
    runs: Counter[str] = Counter()

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        runs["all"] += 1
        if runs["all"] == 1:
            raise OwnershipLost("the lease ran out before step note")
        return Done()

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)}, timeout_s=10)
    assert (await fate(postroom, event_id)).state == "done"


async def test_the_marker_names_the_event_and_the_moment_it_was_staged(postroom: Postroom, drain: Drain) -> None:
    markers: list[str] = []

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        markers.append(ctx.marker("note"))
        return Done() if len(markers) == 2 else Retry("once more")

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    await drain({"test.work": Route(handler)}, hurry=True)
    staged_at = await postroom.value("select staged_at from outbox.events")
    assert len(set(markers)) == 1
    found = re.fullmatch(r"postroom:(\d+)\.([0-9a-f]+)/note", markers[0])
    assert found is not None
    assert int(found[1]) == event_id
    assert int(found[2], 16) == int(staged_at.timestamp() * 1000)


async def test_the_marker_at_the_far_side_is_counted_as_one(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: tuple[GhlSimulator, str]
) -> None:
    """The simulator counts markers: one for the note, one for the task."""
    simulator = ghl[0]
    simulator.put_contact("c1")
    [event_id] = await stage_all(postroom, appointment("created"))
    await drain(settings=simulated)
    markers = simulator.effects.totals()["markers"]
    assert sorted(marker.rpartition("/")[2] for marker in markers) == ["note", "task"]
    assert all(marker.startswith(f"postroom:{event_id}.") and count == 1 for marker, count in markers.items())
