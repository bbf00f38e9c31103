"""A Hypothesis state machine of the life of events: what happens to the database also happens to the model, and both agree (walk.py).

What the model abstracts:
- Statements come one after another. What two of them do to each other at one moment is here only where a transaction is held open on
  purpose: a stager that commits late, a worker that ends while it claims, a client that freezes in its settlement. Real concurrency is
  the affair of test_lane_order.py and of the crash tests.
- The engine's statements are driven as a dispatcher drives them, but without its loop, executor and handlers: a handler is whatever
  settlement the machine draws next; an outcome may be sent twice, much later, or never, and an answer may be lost.
- Time is a word: over, not yet, or until a destination flows. The machine lets time pass by writing due times; no wait is real, and a
  lease is over when the machine says so. Workers' clocks are drawn from thin air, because nothing may depend on them (I5).
- Payloads and steps mean nothing here; a kind only decides what a head covers.
"""

import json
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import MultipleResults, consumes, initialize, multiple, precondition, rule

from outbox import Event, KeyReused, stage
from outbox.event import Claimed
from outbox.store import dead, events, lanes
from outbox.store.events import Arrival
from outbox.store.lanes import LOWEST, Burial, End, Wait
from tests.properties.ground import Ground
from tests.properties.model import PAUSES, Busy, Due, Run
from tests.properties.walk import ENDINGS, EVERYTHING, LANES, Walk, heads, old_runs, runs, staged, workers

LANE = st.sampled_from([LANES[0], LANES[0], *LANES])  # a lane with a few of each is where things happen
NUMBER = st.integers(1, 6)
A_FEW = st.integers(1, 4)
URGENCY = st.sampled_from([0, 0, 1])
IS_ANSWERED = st.sampled_from([True, True, True, False])
HOLDS = sorted(how for how, pause in PAUSES.items() if pause.due is Due.HELD)
WAITS = sorted(PAUSES.keys() - HOLDS)
DESTINATION = st.sampled_from(["ghl", "notion"])
AN_ARRIVAL = st.tuples(LANE, NUMBER, st.booleans(), URGENCY)
ENOUGH = 10  # undone events: a longer list of what waits makes no other states
DELAYS_S = {Due.NOW: 0.0, Due.LATER: 3600.0, Due.HELD: None}


def content(number: int) -> tuple[str, dict[str, int]]:
    """Kind and payload of the event with that number; a key names one number for ever."""
    return ("page.deleted" if number == 6 else "page.read"), {"n": number}


def same_at_first(behind: list[tuple[int, str]], kind: str) -> list[int]:
    return [event for event, _ in takewhile(lambda follower: follower[1] == kind, behind)]


class EventLife(Walk):
    """The rules. Parameters are drawn in the order in which a rule names them: a run is consumed last."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self.kinds: dict[int, str] = {}
        self.keys: dict[str, int] = {}
        self.late_event, self.late_began = 0, 0

    # ── stagers

    def is_staged(
        self, event: int, number: int, lane: str | None, *, urgency: int = 0, due: Due = Due.NOW, began: int | None = None
    ) -> int:
        self.kinds[event] = content(number)[0]
        self.model.stage(event, event if lane is None else self.lane_keys[lane], urgency=urgency, due=due, began=began)
        return event

    def answered(self, event: int, key: str | None) -> bool:
        """P2: a known key is answered with its first event. Whether it is a new one."""
        if key is not None and key in self.keys:
            assert event == self.keys[key]
            self.model.duplicate(event)
            self.happened("duplicate")
            return False
        assert event not in self.model.lives
        if key is not None:
            self.keys[key] = event
        return True

    @precondition(lambda self: self.model.undone() < ENOUGH)
    @rule(target=staged, lane=LANE, number=NUMBER, is_keyed=st.booleans(), due=st.sampled_from([Due.NOW, Due.NOW, Due.LATER]))
    def stage(self, lane: str | None, number: int, is_keyed: bool, due: Due) -> MultipleResults[int]:
        """An app, by outbox.stage(). A known key with another body is refused, with its own it is answered."""
        (kind, payload), key = content(number), f"k{number}" if is_keyed else None
        due_at = None if due is Due.NOW else datetime.now(UTC) + timedelta(hours=1)
        if key in self.keys:
            with pytest.raises(KeyReused):
                self.run(self.stages(Event(kind, {"n": "another"}, key=key)))
            self.happened("key reused")
        event = self.run(self.stages(Event(kind, payload, key=key, lane=lane, due_at=due_at)))
        return multiple(self.is_staged(event, number, lane, due=due)) if self.answered(event, key) else multiple()

    async def stages(self, event: Event) -> int:
        async with self.pool.acquire() as connection:
            return int(await stage(connection, event))

    @initialize(target=staged, arrivals=st.lists(AN_ARRIVAL, min_size=1, max_size=8))
    def first_arrivals(self, arrivals: list[tuple[str | None, int, bool, int]]) -> MultipleResults[int]:
        return self.receives(arrivals)

    @precondition(lambda self: self.model.undone() < ENOUGH)
    @rule(target=staged, arrivals=st.lists(AN_ARRIVAL, min_size=1, max_size=4))
    def receive(self, arrivals: list[tuple[str | None, int, bool, int]]) -> MultipleResults[int]:
        return self.receives(arrivals)

    def receives(self, arrivals: list[tuple[str | None, int, bool, int]]) -> MultipleResults[int]:
        """A receiver, several at once; a key may come twice among them. Also how bulk work comes in."""
        batch = [
            Arrival("app", content(n)[0], f"k{n}" if is_keyed else None, lane, json.dumps(content(n)[1]).encode(), urgency=urgency)
            for lane, n, is_keyed, urgency in arrivals
        ]

        async def act() -> list[events.Staged]:
            async with self.pool.acquire() as connection:
                return await events.stage_many(connection, batch)

        new = []
        for answer, arrival, (lane, number, _, urgency) in zip(self.run(act()), batch, arrivals, strict=True):
            is_new = self.answered(answer.id, arrival.key)
            assert answer.duplicate is not is_new
            if is_new:
                new.append(self.is_staged(answer.id, number, lane, urgency=urgency))
        return multiple(*new)

    @precondition(lambda self: self.late_stager is None and self.model.undone() < ENOUGH)
    @rule(lane=LANE, number=NUMBER)
    def begin_to_stage(self, lane: str | None, number: int) -> None:
        """A transaction that has drawn its id and commits later, if it does."""
        self.late_stager = self.ground.app.transaction()
        self.model.tick += 1
        self.late_began, self.late_lane, self.late_number = self.model.tick, lane, number

        async def act() -> int:
            await self.late_stager.start()
            return int(await stage(self.ground.app, Event(*content(number), lane=lane)))

        self.late_event = self.run(act())

    @precondition(lambda self: self.late_stager is not None)
    @rule(target=staged, commits=st.booleans())
    def end_staging(self, commits: bool) -> MultipleResults[int]:
        self.run(self.late_stager.commit() if commits else self.late_stager.rollback())
        self.late_stager = None
        self.happened("committed late", commits)
        if not commits:
            return multiple()  # P3: it never was
        return multiple(self.is_staged(self.late_event, self.late_number, self.late_lane, began=self.late_began))

    # ── time and destinations

    @precondition(lambda self: self.model.waits())
    @rule()
    def let_time_pass(self) -> None:
        self.run(self.time_passes())

    @precondition(lambda self: self.model.delayed)
    @rule(limit=A_FEW)
    def promote_delayed(self, limit: int) -> None:
        self.run(self.promotes(limit))

    @precondition(lambda self: self.model.held_for("ghl") or self.model.held_for("notion"))
    @rule(destination=DESTINATION, limit=A_FEW, urgency=st.sampled_from([None, 0, 1]))
    def release(self, destination: str, limit: int, urgency: int | None) -> None:
        self.run(self.releases(destination, limit, urgency=urgency))

    @precondition(lambda self: self.model.held_for("ghl") or self.model.held_for("notion"))
    @rule(destination=DESTINATION, after=staged)
    def probe(self, destination: str, after: int) -> None:
        released = self.model.release(self.model.next_probe(destination, after))
        assert self.run(lanes.release_probe(self.pool, destination, after=after)) == released
        self.happened("probed", released)

    # ── workers take

    @precondition(lambda self: self.model.is_there_work())
    @rule(targets=(runs, old_runs), worker=workers)
    def take_everything(self, worker: int) -> MultipleResults[Run]:
        """As one round of a dispatcher with room for all there is."""
        return self.given(worker, self.run(self.takes_everything(worker)))

    @precondition(lambda self: self.model.pending)
    @rule(targets=(runs, old_runs), worker=workers, urgency=URGENCY, limit=A_FEW, goes_on=st.booleans(), is_answered=IS_ANSWERED)
    def claim_a_few(self, worker: int, urgency: int, limit: int, goes_on: bool, is_answered: bool) -> MultipleResults[Run]:
        """An answer that is lost is of a claim that counted: the worker does not know what it has."""
        claimed = self.run(self.claims(worker, urgency, limit, self.cursors[worker, urgency] if goes_on else LOWEST))
        return self.given(worker, claimed) if is_answered else multiple()

    @precondition(lambda self: self.model.due(suspects=False) or self.model.due(suspects=True))
    @rule(targets=(runs, old_runs), worker=workers, limit=A_FEW, suspects=st.booleans(), is_answered=IS_ANSWERED)
    def take_a_few_that_are_due(self, worker: int, limit: int, suspects: bool, is_answered: bool) -> MultipleResults[Run]:
        taken = self.run(self.takes_due(worker, limit, suspects=suspects))
        return self.given(worker, taken) if is_answered else multiple()

    def strays(self) -> list[Busy]:
        """What runs at a worker without its knowing."""
        return [row for row in self.model.busy.values() if row.owner in self.model.alive and row.event not in self.told[row.owner]]

    @precondition(lambda self: self.strays())
    @rule(worker=workers)
    def hand_back_strays(self, worker: int) -> None:
        """What was given to it without its knowing."""
        lost = [(row.event, row.attempt) for row in self.strays() if row.owner == worker]
        assert sorted(self.run(lanes.strays(self.engine, worker=worker, known=list(self.told[worker])))) == sorted(lost)
        freed = self.run(lanes.hand_back_strays(self.engine, lost, worker=worker))
        assert sorted(freed) == sorted(event for event, _ in lost)
        for event in freed:
            self.model.give_back(self.model.lives[event].lane, "the answer to its claim was lost")
        self.happened("stray", len(freed))

    # ── workers settle

    @rule(other=runs, run=consumes(runs), outcome=st.sampled_from("ds"), is_sent_twice=st.booleans())
    def finish(self, other: Run, run: Run, outcome: str, is_sent_twice: bool) -> None:
        """In one batch with another run, which may be somebody else's: each counts for itself."""
        batch = [run.event, *([other.event] if other.event.id != run.event.id else [])]
        note = "no route" if outcome == "s" else None
        self.happened("settled", self.run(self.finishes(run.worker, batch, outcome=outcome, note=note)))
        if is_sent_twice:
            assert self.run(self.finishes(run.worker, batch, outcome=outcome, note=note)) == set()

    @rule(targets=(runs, old_runs), run=consumes(runs), is_answered=IS_ANSWERED)
    def finish_and_take(self, run: Run, is_answered: bool) -> MultipleResults[Run]:
        return self.finishes_and_takes(run.worker, [run.event], [True], is_answered=is_answered)

    @precondition(lambda self: any(len(told) > 1 for told in self.told.values()))
    @rule(targets=(runs, old_runs), worker=workers, keeps=st.sampled_from([(True,), (False,), (True, False)]), is_answered=IS_ANSWERED)
    def finish_everything(self, worker: int, keeps: tuple[bool, ...], is_answered: bool) -> MultipleResults[Run]:
        batch = list(self.told[worker].values())
        return self.finishes_and_takes(worker, batch, [keeps[n % len(keeps)] for n in range(len(batch))], is_answered=is_answered)

    def finishes_and_takes(self, worker: int, batch: list[Claimed], take: list[bool], *, is_answered: bool) -> MultipleResults[Run]:
        ends = [End(event, self.a_clock(), 5, "d") for event in batch]
        counted, taken = self.run(lanes.finish_and_take(self.engine, ends, take=take, worker=worker))
        assert (counted, {before: event.id for before, event in taken}) == self.model.finish_and_take(worker, batch, take)
        self.agree_on_events(event for _, event in taken)
        self.forget(worker, batch)
        self.happened("settled", counted)
        self.happened("lane kept", taken)
        return self.given(worker, [event for _, event in taken]) if is_answered else multiple()

    @precondition(lambda self: self.model.is_there_work())
    @rule(target=heads, worker=workers)
    def take_everything_with_followers(self, worker: int) -> MultipleResults[tuple[Run, list[int]]]:
        """Coalescing: a head asks at its start what it may cover. What comes later is not among it."""
        heads = self.given(worker, self.run(self.takes_everything(worker))).values
        found = self.run(lanes.followers(self.engine, [head.event for head in heads])) if heads else {}
        covered = []
        for head in heads:
            behind = found.get(head.event.lane_key, [])
            assert behind == [(event, self.kinds[event]) for event in self.model.behind(head)]
            covered.append((head, same_at_first(behind, head.event.kind)))
        return multiple(*covered)

    @rule(head=consumes(heads))
    def finish_with_followers(self, head: tuple[Run, list[int]]) -> None:
        run, followers = head
        end = End(run.event, self.a_clock(), 5, "d", None, tuple(followers))
        counted = self.run(lanes.finish(self.engine, [end], worker=run.worker))
        assert counted == self.model.finish_with_followers(run.worker, run.event, followers)
        self.forget(run.worker, [run.event])
        self.happened("covered", followers if counted else ())

    @rule(run=consumes(runs), how=st.sampled_from(WAITS), is_sent_twice=st.booleans())
    def retry_or_snooze(self, run: Run, how: str, is_sent_twice: bool) -> None:
        for _ in range(1 + is_sent_twice):
            self.pauses(run, how)

    @rule(run=consumes(runs), how=st.sampled_from(HOLDS), is_sent_twice=st.booleans())
    def hold(self, run: Run, how: str, is_sent_twice: bool) -> None:
        """Until its destination flows."""
        for _ in range(1 + is_sent_twice):
            self.pauses(run, how)

    @precondition(lambda self: any(len(told) > 1 for told in self.told.values()))
    @rule(worker=workers, how=st.sampled_from(HOLDS))
    def hold_everything(self, worker: int, how: str) -> None:
        """In one batch, as when a destination goes down under all that call it."""
        self.pauses_all(worker, list(self.told[worker].values()), how)

    def pauses(self, run: Run, how: str) -> None:
        self.pauses_all(run.worker, [run.event], how)

    def pauses_all(self, worker: int, batch: list[Claimed], how: str) -> None:
        pause = PAUSES[how]
        rest = (pause.outcome, pause.why, DELAYS_S[pause.due], pause.charge)
        waits = [Wait(event, self.a_clock(), 5, *rest, event.attempt - (not pause.costs_an_attempt)) for event in batch]
        counted = self.run(lanes.wait(self.engine, waits, worker=worker))
        assert counted == {event.id for event in batch if self.model.pause(worker, event, pause)}
        self.forget(worker, batch)
        self.happened(how, counted)

    @rule(run=consumes(runs), is_sent_twice=st.booleans())
    def bury(self, run: Run, is_sent_twice: bool) -> None:
        for _ in range(1 + is_sent_twice):
            self.buries(run)

    def buries(self, run: Run) -> None:
        burial = Burial(run.event, self.a_clock(), 5, "cause", "refused")
        counted = self.run(lanes.bury(self.engine, [burial], worker=run.worker))
        assert counted == self.model.bury(run.worker, run.event, "cause", "refused")
        self.forget(run.worker, [run.event])
        self.happened("buried", counted)

    @rule(targets=(runs, old_runs), run=old_runs, how=st.sampled_from(["done", "done and next", "buried", *sorted(PAUSES)]))
    def send_an_old_outcome(self, run: Run, how: str) -> MultipleResults[Run]:
        """A frozen process had it, or a statement that was still under way. I3: whether it counts, the row alone says."""
        self.happened("an old outcome was refused", not self.model.counts(run.worker, run.event))
        match how:
            case "done":
                self.run(self.finishes(run.worker, [run.event]))
            case "done and next":
                return self.finishes_and_takes(run.worker, [run.event], [True], is_answered=True)
            case "buried":
                self.buries(run)
            case _:
                self.pauses(run, how)
        return multiple()

    # ── workers come and go: in place of each that ends, its process begins another

    @precondition(lambda self: self.model.is_somebody_at_work())
    @rule(target=workers, worker=consumes(workers), how=st.sampled_from(sorted(ENDINGS)), settles=st.booleans())
    def end_a_worker(self, worker: int, how: str, settles: bool) -> int:
        """I4: from now on it is given nothing, not even its own lanes. What it holds is not freed yet, and until then outcomes count."""
        held = list(self.told[worker].values())
        self.run(self.ends(worker, how))
        assert self.run(self.takes_everything(worker)) == []
        if settles:
            self.finishes_and_takes(worker, held, [True] * len(held), is_answered=True)
        return self.run(self.begins())

    @precondition(lambda self: self.model.is_somebody_at_work())
    @rule(target=workers, worker=consumes(workers))
    def stop_a_worker(self, worker: int) -> int:
        """In order: everything unfinished is handed back."""
        assert self.run(lanes.hand_back(self.engine, worker=worker)) == self.model.hand_back(worker)
        self.run(self.ends(worker))
        return self.run(self.begins())

    @precondition(lambda self: self.model.orphans())
    @rule()
    def look_for_the_dead(self) -> None:
        self.run(self.looks())

    @precondition(lambda self: self.model.due(suspects=False) or self.model.due(suspects=True))
    @rule(target=workers, worker=consumes(workers))
    def die_of_what_is_due(self, worker: int) -> int:
        """A process that takes what waits, dies of it and starts again: poison needs three deaths."""
        self.run(self.takes_due(worker, EVERYTHING, suspects=True))
        self.run(self.ends(worker))
        self.run(self.looks())
        return self.run(self.begins())

    @precondition(lambda self: self.model.pending)
    @rule(targets=(runs, old_runs), worker=workers, urgency=URGENCY)
    def end_a_worker_while_it_claims(self, worker: int, urgency: int) -> MultipleResults[Run]:
        return self.run(self.ends_while_it_claims(worker, urgency))

    @rule(target=workers, run=consumes(runs), is_cut=st.booleans())
    def freeze_in_a_settlement(self, run: Run, is_cut: bool) -> int:
        """Past its lease, with the row locked. In the end its connection is cut, or it wakes up and commits."""
        self.run(self.freezes(run, is_cut=is_cut))
        return self.run(self.begins())

    # ── people

    @precondition(lambda self: len(self.model.lives) > self.model.undone() + len(self.model.dead))
    @rule(event=staged, is_all=st.booleans())
    def replay(self, event: int, is_all: bool) -> None:
        async def act(event: int) -> bool:
            async with self.pool.acquire() as connection:
                return await events.replay(connection, event, by="ada")

        for each in list(self.model.lives) if is_all else [event]:
            expected = self.model.replay(each, "ada")
            assert self.run(act(each)) == expected
            self.happened("replayed", expected)

    @precondition(lambda self: self.model.dead)
    @rule(event=staged, is_all=st.booleans())
    def retry_dead(self, event: int, is_all: bool) -> None:
        ids = [event, *(self.model.dead if is_all else ())]
        expected = self.model.retry_dead(ids, "ada")
        assert self.run(dead.retry(self.pool, ids, by="ada")) == expected
        self.happened("dead retried", expected)

    @precondition(lambda self: self.model.dead)
    @rule(event=staged)
    def discard(self, event: int) -> None:
        expected = self.model.discard([event], "ada", "a test")
        assert self.run(dead.discard(self.pool, [event], by="ada", reason="a test")) == expected
        self.happened("discarded", expected)
