"""The ground on which the machine walks: each move happens to the database and to the model, and both must agree about its answer.

Owns the moves that rules and the final drain have in common, the comparison after every rule, and the drain. See machine.py for what
is abstracted. After every rule each row of undone work, each state, reason, attempt and duplicate is what the model says; I1, I2, I4
and P7 hold by the database alone (check_invariants), which knows nothing of the model; I3 is tried out on every row that is new. At
the end a fair drain settles everything, and P5 holds.
"""

import sys
from collections import defaultdict
from collections.abc import Collection, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, initialize, invariant, multiple

from outbox.db import Connection, Pool
from outbox.event import Claimed
from outbox.store import lanes
from outbox.store import workers as incarnations
from outbox.store.lanes import LOWEST, Burial, End, Wait
from tests.outbox.engine import LEASE_S, check_invariants
from tests.properties.ground import Ground
from tests.properties.model import Model, Run

T = TypeVar("T")
LANES = ("chair:1", "chair:2", None)
ENDINGS = {
    "its lease ran out": "update outbox.workers set until = now() - interval '1 ms' where id = $1",
    "the clock stepped back": "update outbox.workers set until = now() + interval '2 hours' where id = $1",
}
WORKERS = 3
EVERYTHING = 1000

staged = Bundle[int]("staged")
workers = Bundle[int]("workers")
runs = Bundle[Run]("runs")
old_runs = Bundle[Run]("old")
heads = Bundle[tuple[Run, list[int]]]("heads")

ROWS = """
select 'pending' place, event_id, lane, urgency::int, null::bigint owner, null::text due, attempt, 0 failures, 0 crashes, null::text why
from outbox.pending
union all
select 'busy', event_id, lane, urgency, owner,
       case when due_at is null then null when due_at = 'infinity' then 'held' when due_at <= now() then 'now' else 'later' end,
       attempt, failures, crashes, why
from outbox.busy
union all
select 'delayed', event_id, lane, urgency, null, case when due_at <= now() then 'now' else 'later' end, attempt, 0, 0, null
from outbox.delayed
union all
select 'dead', event_id, lane, urgency, null, fingerprint, attempt, 0, 0, reason from outbox.dead
order by 2, 1"""
ATTEMPTS = """
select e.id, coalesce(d.seen, 0) seen,
       array(select row(a.attempt, a.outcome::text, a.note) from outbox.attempts a where a.event_id = e.id) attempts
from outbox.events e left join outbox.duplicates d on d.event_id = e.id"""


class Walk(RuleBasedStateMachine):
    """`told`: what each worker knows that it was given, by event id. `given_out`: all that was ever given, by event id."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground, self.model = ground, Model()
        self.told: defaultdict[int, dict[int, Claimed]] = defaultdict(dict)
        self.cursors: defaultdict[tuple[int, int], int] = defaultdict(lambda: LOWEST)
        self.lane_keys: dict[str, int] = {}
        self.given_out: defaultdict[int, list[Run]] = defaultdict(list)
        self.proven: set[tuple[int | None, ...]] = set()
        self.late_stager: Any = None
        self.run(self._begin())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.ground.run(work)

    @property
    def pool(self) -> Pool:
        return self.ground.postroom.pool

    @property
    def engine(self) -> Connection:
        """Which connection a worker's statement comes by makes no difference to it."""
        return self.ground.engine

    def happened(self, what: str, how_often: Collection[object] | int = 1) -> None:
        self.ground.happened[what] += how_often if isinstance(how_often, int) else len(how_often)

    async def _begin(self) -> None:
        await self.ground.empty()
        for lane in filter(None, LANES):
            self.lane_keys[lane] = await self.pool.fetchval("select outbox.lane_of($1, 0)", lane)

    @initialize(target=workers)
    def three_workers(self) -> MultipleResults[int]:
        return multiple(*[self.run(self.begins()) for _ in range(WORKERS)])

    @invariant()
    def database_and_model_agree(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        assert [tuple(row) for row in await self.pool.fetch(ROWS)] == self.model.rows()
        for event in await check_invariants(self.ground.postroom):
            assert (event["state"], event["why"]) == self.model.state(event["id"])
        found = await self.pool.fetch(ATTEMPTS)
        assert {row["id"] for row in found} == self.model.lives.keys()
        for row in found:
            assert sorted(map(tuple, row["attempts"]), key=str) == sorted(self.model.attempts[row["id"]], key=str)
            assert row["seen"] == self.model.again.get(row["id"], 0)

    @invariant()
    def nobody_but_its_owner_settles_an_event(self) -> None:
        """I3 and P4, for every row that is new: whatever was given out of its event before, to whom and how often, counts no more."""
        for row in self.model.busy.values():
            version = (row.event, row.owner, row.attempt, row.failures, row.crashes)
            if version not in self.proven:
                self.proven.add(version)
                self.run(self._prove([old for old in self.given_out[row.event] if not self.model.counts(old.worker, old.event)]))

    async def _prove(self, old: Sequence[Run]) -> None:
        for worker in {run.worker for run in old}:
            events = list({run.event.attempt: run.event for run in old if run.worker == worker}.values())
            ends = [End(event, self.a_clock(), 5, "d") for event in events]
            assert await lanes.finish(self.engine, ends, worker=worker) == set()
            covering = [End(event, self.a_clock(), 5, "d", None, (0,)) for event in events]
            assert await lanes.finish(self.engine, covering, worker=worker) == set()
            assert await lanes.finish_and_take(self.engine, ends, take=[True] * len(ends), worker=worker) == (set(), [])
            assert await lanes.wait(self.engine, [Wait(event, 0, 5, "r", "old", 0.0, 1, 1) for event in events], worker=worker) == set()
            assert await lanes.bury(self.engine, [Burial(event, 0, 5, "old", "old") for event in events], worker=worker) == set()
            self.happened("an old outcome was refused", len(events))

    def teardown(self) -> None:
        if self.late_stager is not None:
            self.run(self.late_stager.rollback())
        if sys.exc_info()[0] is None and self.model.alive:  # else the walk was broken off
            self.run(self._drain())
            self.database_and_model_agree()

    async def _drain(self) -> None:
        """Whoever waits gets its turn: after so many rounds as there are attempts to make, nothing is undone but dead letters."""
        for worker in list(self.model.alive):
            await self.ends(worker)
        await self.looks()
        worker = await self.begins()
        for _ in range(self.model.undone() + 1):
            await self.time_passes()
            await self.releases("ghl", EVERYTHING)
            await self.releases("notion", EVERYTHING)
            await self.promotes(EVERYTHING)
            await self.finishes(worker, await self.takes_everything(worker))
        assert self.model.undone() == 0
        assert self.model.overtakings() == []

    # ── moves

    async def claims(self, worker: int, urgency: int, limit: int, cursor: int) -> list[Claimed]:
        looked = await lanes.claim(self.engine, worker=worker, limit=limit, cursor=cursor, urgency=urgency)
        self.agree_on_claim(self.model.claim(worker, urgency, limit, cursor), looked)
        self.cursors[worker, urgency] = looked.last if looked.seen == limit else LOWEST
        return looked.events

    def agree_on_claim(self, expected: tuple[set[int], int, int], looked: lanes.Looked) -> None:
        assert ({event.id for event in looked.events}, looked.last, looked.seen) == expected
        self.agree_on_events(looked.events)

    def agree_on_events(self, events: Iterable[Claimed]) -> None:
        for event in events:
            assert event[:6] == self.model.claimed(event.id)

    async def takes_due(self, worker: int, limit: int, *, suspects: bool) -> list[Claimed]:
        events = await lanes.take_due(self.engine, worker=worker, limit=limit, suspects=suspects)
        taken = {event.lane_key for event in events}
        due, due_suspects = self.model.due(suspects=False), self.model.due(suspects=True)
        assert taken <= due | due_suspects
        is_alive = worker in self.model.alive
        assert len(taken & due) == (min(limit, len(due)) if is_alive else 0)
        assert len(taken & due_suspects) == (min(1, len(due_suspects)) if is_alive and suspects else 0)
        for lane in taken:
            self.model.take_due(worker, lane)
        self.agree_on_events(events)
        return events

    async def takes_everything(self, worker: int) -> list[Claimed]:
        """As one round of a dispatcher with room for all there is."""
        return [
            *await self.takes_due(worker, EVERYTHING, suspects=True),
            *await self.claims(worker, 0, EVERYTHING, LOWEST),
            *await self.claims(worker, 1, EVERYTHING, LOWEST),
        ]

    async def finishes(self, worker: int, events: Sequence[Claimed], *, outcome: str = "d", note: str | None = None) -> set[int]:
        counted = await lanes.finish(self.engine, [End(event, self.a_clock(), 5, outcome, note) for event in events], worker=worker)
        assert counted == self.model.finish(worker, events, outcome, note)
        self.forget(worker, events)
        return counted

    def a_clock(self) -> float:
        """What a worker believes the time to be. I5: nothing may depend on it."""
        return (0.0, 1_800_000_000.0, 4_000_000_000.0)[self.model.tick % 3]

    def forget(self, worker: int, events: Iterable[Claimed]) -> None:
        """Its outcome was sent: the worker knows the event no more."""
        for event in events:
            self.told[worker].pop(event.id, None)

    def given(self, worker: int, events: Iterable[Claimed]) -> MultipleResults[Run]:
        """The worker was told that these are its own."""
        self.told[worker] |= {event.id: event for event in events}
        new = [Run(worker, event) for event in sorted(events, key=lambda event: event.id)]
        for run in new:
            self.given_out[run.event.id].append(run)
        return multiple(*new)

    async def begins(self) -> int:
        worker = await incarnations.begin(self.engine, "test", lease_s=LEASE_S)
        assert worker not in self.model.alive
        self.model.alive.add(worker)
        return worker

    async def ends(self, worker: int, how: str | None = None) -> None:
        """By its own word, or found by another."""
        if how is None:
            assert await incarnations.end(self.engine, worker) is (worker in self.model.alive)
        else:
            await self.pool.execute(ENDINGS[how], worker)
            assert await incarnations.end_lapsed(self.engine) == ([worker] if worker in self.model.alive else [])
            assert not await incarnations.renew(self.engine, worker, lease_s=LEASE_S, timeout_s=5)
        self.model.alive.discard(worker)
        self.told.pop(worker, None)

    async def ends_while_it_claims(self, worker: int, urgency: int) -> MultipleResults[Run]:
        """Its transaction is open while another claims and it is ended: what it then commits is a dead worker's, and the next look's."""
        other = min(self.model.alive - {worker}, default=None)
        async with self.ground.frozen.transaction():
            looked = await lanes.claim(self.ground.frozen, worker=worker, limit=EVERYTHING, cursor=LOWEST, urgency=urgency)
            self.agree_on_claim(self.model.claim(worker, urgency, EVERYTHING, LOWEST), looked)
            theirs: list[Claimed] = []
            if other is not None:
                theirs = (await lanes.claim(self.engine, worker=other, limit=EVERYTHING, cursor=LOWEST, urgency=urgency)).events
                assert {event.id for event in theirs} == self.model.claim(other, urgency, EVERYTHING, LOWEST)[0]
            await self.ends(worker)
            await self.looks(locked={event.lane_key for event in looked.events})
        self.happened("ended while it claimed", looked.events)
        zombies = self.given(worker, looked.events).values
        return multiple(*zombies, *(self.given(other, theirs).values if other is not None else ()))

    async def freezes(self, run: Run, *, is_cut: bool) -> None:
        frozen, worker, holds_it = self.ground.frozen, run.worker, self.model.counts(run.worker, run.event)
        await frozen.execute("select set_config('application_name', $1, false)", f"postroom:{worker}")
        transaction = frozen.transaction()
        await transaction.start()
        counted = await lanes.finish(frozen, [End(run.event, self.a_clock(), 5, "d")], worker=worker)
        assert counted == ({run.event.id} if holds_it else set())
        await self.ends(worker)
        await self.looks(locked={run.event.lane_key} if holds_it else ())
        assert await lanes.orphan_owners(self.engine) == ([worker] if holds_it else [])
        if is_cut:
            assert await incarnations.terminate(self.engine, worker) == 1
            await self.pool.fetch("select from outbox.busy where lane = $1 for update", run.event.lane_key)  # until its locks are gone
            await self.ground.thaw()
            await self.looks()
        else:
            await transaction.commit()
            self.model.finish(worker, [run.event], "d", None)
        self.happened("frozen, cut" if is_cut else "frozen, awake again", counted)

    async def looks(self, *, locked: Collection[int] = ()) -> tuple[set[int], set[int]]:
        """As another worker looks for the dead."""
        poison, freed = self.model.look(locked=locked)
        assert set(await lanes.bury_poison(self.engine)) == poison
        assert set(await lanes.release_orphans(self.engine)) == freed
        self.happened("poison", poison)
        self.happened("taken over", freed)
        return poison, freed

    async def time_passes(self) -> None:
        pool = self.pool
        await pool.execute("update outbox.busy set due_at = now() where owner is null and due_at > now() and due_at < 'infinity'")
        await pool.execute("update outbox.delayed set due_at = now() where due_at > now()")
        self.model.time_passes()

    async def promotes(self, limit: int) -> None:
        due = self.model.due_delayed()
        before = set(self.model.delayed)
        assert await lanes.promote_delayed(self.engine, limit=limit) == min(limit, len(due))
        left = {row["event_id"] for row in await self.pool.fetch("select event_id from outbox.delayed")}
        assert before - left <= due
        self.model.promote(before - left)

    async def releases(self, destination: str, limit: int, *, urgency: int | None = None) -> None:
        held = [lane for lane in self.model.held_for(destination) if urgency in (None, self.model.busy[lane].urgency)]
        released = self.model.release(held[:limit])
        assert await lanes.release_held(self.engine, destination, limit=limit, urgency=urgency) == released
        self.happened("released", released)
