"""The outbox as a small model: dictionaries instead of tables, one method for each thing that can happen.

Owns what each statement must do and answer, said as plainly as possible and without a database; knows nothing of how it is done.
Time is a word here (Due): whether a wait is over is the database's affair, and the machine that walks the model lets time pass.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from outbox.event import Claimed
from outbox.store.lanes import LOWEST, held_for

PERSON = 0


class Due(StrEnum):
    """When a wait is over."""

    NOW = "now"
    LATER = "later"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Run:
    """What a worker was told when it was given an event: its right to settle it, as long as nobody else has it."""

    worker: int
    event: Claimed


@dataclass(frozen=True, slots=True)
class Pause:
    """One of the ways in which an event stays and its lane waits with it."""

    outcome: str | None
    why: str
    due: Due
    charge: int = 0
    costs_an_attempt: bool = True


PAUSES = {
    "retried": Pause("r", "it failed", Due.NOW, charge=1),
    "retried in an hour": Pause("r", "it failed", Due.LATER, charge=1),
    "away": Pause("r", "no answer", Due.NOW),
    "snoozed": Pause("z", "not yet", Due.LATER),
    "rate limited": Pause("h", "ghl limits the rate", Due.NOW, costs_an_attempt=False),
    "held for ghl": Pause(None, held_for("ghl"), Due.HELD, costs_an_attempt=False),
    "held for notion after a failure": Pause("h", held_for("notion"), Due.HELD, costs_an_attempt=False),
}


@dataclass(slots=True)
class Busy:
    """A lane that is not free: `owner` runs it, or it waits until `due`."""

    event: int
    urgency: int
    attempt: int
    owner: int | None
    due: Due | None = None
    failures: int = 0
    crashes: int = 0
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Dead:
    urgency: int
    attempt: int
    fingerprint: str
    reason: str


@dataclass(slots=True)
class Life:
    """What P5 speaks of, in ticks of the model: when it was staged, first started, first over. `plain`: neither delayed nor late."""

    lane: int
    urgency: int
    began: int
    committed: int
    plain: bool
    started: int | None = None
    over: int | None = None


@dataclass
class Model:
    """The tables as they must be."""

    pending: dict[tuple[int, int], dict[int, int]] = field(default_factory=dict)  # (urgency, lane) → {event: attempt}
    busy: dict[int, Busy] = field(default_factory=dict)  # by lane
    delayed: dict[int, tuple[int, Due]] = field(default_factory=dict)
    dead: dict[int, Dead] = field(default_factory=dict)
    attempts: dict[int, list[tuple[int, str, str | None]]] = field(default_factory=dict)
    again: dict[int, int] = field(default_factory=dict)  # duplicates that were sent
    lives: dict[int, Life] = field(default_factory=dict)
    alive: set[int] = field(default_factory=set)
    tick: int = 0

    # ── stagers

    def stage(self, event: int, lane: int, *, urgency: int = 0, due: Due = Due.NOW, began: int | None = None) -> None:
        """`began`: the tick at which its transaction did, when that was not now."""
        self.tick += 1
        self.attempts[event] = []
        self.lives[event] = Life(lane, urgency, self.tick if began is None else began, self.tick, due is Due.NOW)
        if due is Due.NOW:
            self._joins(event, urgency, 1)
        else:
            self.delayed[event] = (urgency, due)

    def duplicate(self, event: int) -> None:
        self.again[event] = self.again.get(event, 0) + 1

    def waits(self) -> bool:
        """Whether something waits for a time to come."""
        return any(row.due is Due.LATER for row in self.busy.values()) or any(due is Due.LATER for _, due in self.delayed.values())

    def time_passes(self) -> None:
        for row in self.busy.values():
            if row.due is Due.LATER:
                row.due = Due.NOW
        self.delayed = {event: (urgency, Due.NOW) for event, (urgency, _) in self.delayed.items()}

    def due_delayed(self) -> set[int]:
        return {event for event, (_, due) in self.delayed.items() if due is Due.NOW}

    def promote(self, events: Iterable[int]) -> None:
        for event in events:
            urgency, _ = self.delayed.pop(event)
            self._joins(event, urgency, 1)

    # ── workers take

    def claim(self, worker: int, urgency: int, limit: int, cursor: int) -> tuple[set[int], int, int]:
        """I2: the lowest of each lane that is free. The events, the last lane looked at, how many were."""
        self.tick += 1
        lanes = sorted(lane for waits, lane in self.pending if waits == urgency and lane > cursor)[:limit]
        taken = set()
        for lane in lanes if worker in self.alive else ():
            if lane not in self.busy:
                taken.add(self._starts(worker, urgency, lane))
        return taken, lanes[-1] if lanes else LOWEST, len(lanes)

    def due(self, *, suspects: bool) -> set[int]:
        """Lanes whose wait is over; suspects are those that killed their process twice."""
        return {lane for lane, row in self.busy.items() if row.due is Due.NOW and (row.crashes >= 2) is suspects}

    def take_due(self, worker: int, lane: int) -> None:
        row = self.busy[lane]
        row.owner, row.due, row.why, row.attempt = worker, None, None, row.attempt + 1

    def claimed(self, event: int) -> tuple[int, ...]:
        """As a claim tells it: id, lane, urgency, attempt, failures, crashes."""
        lane = self.lives[event].lane
        row = self.busy[lane]
        return row.event, lane, row.urgency, row.attempt, row.failures, row.crashes

    def behind(self, run: Run) -> list[int]:
        return sorted(self.pending.get((run.event.urgency, run.event.lane_key), ()))

    # ── workers settle

    def counts(self, worker: int, event: Claimed) -> bool:
        """I3: only of the current owner and attempt."""
        row = self.busy.get(event.lane_key)
        return row is not None and (row.event, row.owner, row.attempt) == (event.id, worker, event.attempt)

    def finish(self, worker: int, events: Sequence[Claimed], outcome: str, note: str | None) -> set[int]:
        self.tick += 1
        counted = {event.id for event in events if self.counts(worker, event)}
        for event in events:
            if event.id in counted:
                del self.busy[event.lane_key]
                self._over(event.id, event.attempt, outcome, note)
        return counted

    def finish_and_take(self, worker: int, events: Sequence[Claimed], take: Sequence[bool]) -> tuple[set[int], dict[int, int]]:
        """What counted, and for each whose lane was kept, the lane's next event."""
        counted, kept = set(), {}
        for event, wanted in zip(events, take, strict=True):
            if self.counts(worker, event):
                urgency = self.busy[event.lane_key].urgency
                counted |= self.finish(worker, [event], "d", None)
                is_left_to_live_work = urgency == 1 and self.pending.get((0, event.lane_key))
                if wanted and worker in self.alive and self.pending.get((urgency, event.lane_key)) and not is_left_to_live_work:
                    kept[event.id] = self._starts(worker, urgency, event.lane_key)
        return counted, kept

    def finish_with_followers(self, worker: int, event: Claimed, followers: Sequence[int]) -> set[int]:
        urgency = self.busy[event.lane_key].urgency if self.counts(worker, event) else -1
        counted = self.finish(worker, [event], "d", None)
        if counted:
            queue = self.pending.get((urgency, event.lane_key), {})
            for follower in set(followers) & queue.keys():
                self._over(follower, self._leaves(follower, urgency, event.lane_key), "s", f"coalesced into #{event.id}")
        return counted

    def pause(self, worker: int, event: Claimed, how: Pause) -> set[int]:
        if not self.counts(worker, event):
            return set()
        row = self.busy[event.lane_key]
        if how.outcome is not None:
            self.attempts[event.id].append((row.attempt, how.outcome, how.why))
        row.owner, row.due, row.why, row.failures = None, how.due, how.why, row.failures + how.charge
        row.attempt -= not how.costs_an_attempt
        return {event.id}

    def bury(self, worker: int, event: Claimed, fingerprint: str, reason: str) -> set[int]:
        if not self.counts(worker, event):
            return set()
        self.tick += 1
        self._dies(event.lane_key, fingerprint, reason)
        return {event.id}

    # ── workers come and go

    def give_back(self, lane: int, why: str) -> None:
        row = self.busy[lane]
        row.owner, row.due, row.why, row.attempt = None, Due.NOW, why, row.attempt - 1

    def hand_back(self, worker: int) -> int:
        held = self.of(worker)
        for row in held:
            self.give_back(self.lives[row.event].lane, "handed back by a stopping worker")
        return len(held)

    def is_there_work(self) -> bool:
        """Whether somebody who looks may find something."""
        return bool(self.pending or self.due(suspects=False) or self.due(suspects=True))

    def is_somebody_at_work(self) -> bool:
        return any(row.owner in self.alive for row in self.busy.values())

    def of(self, worker: int) -> list[Busy]:
        """What it runs, by the rows."""
        return [row for row in self.busy.values() if row.owner == worker]

    def orphans(self) -> list[int]:
        """Lanes that dead workers still own."""
        return [lane for lane, row in self.busy.items() if row.owner is not None and row.owner not in self.alive]

    def look(self, *, locked: Collection[int] = ()) -> tuple[set[int], set[int]]:
        """What dead workers held: buried at the third death, else due at once. But not the lanes that a frozen client has locked."""
        self.tick += 1
        orphans = [lane for lane in self.orphans() if lane not in locked]
        poison = {self.busy[lane].event for lane in orphans if self.busy[lane].crashes >= 2}
        freed = {self.busy[lane].event for lane in orphans} - poison
        for lane in orphans:
            row = self.busy[lane]
            if row.event in poison:
                self._dies(lane, "poison", f"killed its process {row.crashes + 1} times")
            else:
                self.attempts[row.event].append((row.attempt, "c", "its worker was lost"))
                row.owner, row.due, row.crashes, row.why = None, Due.NOW, row.crashes + 1, "its worker was lost"
        return poison, freed

    # ── destinations

    def held_for(self, destination: str) -> list[int]:
        """Lanes that wait for it, live ones first, the oldest first."""
        held = [lane for lane, row in self.busy.items() if row.due is Due.HELD and row.why == held_for(destination)]
        return sorted(held, key=lambda lane: (self.busy[lane].urgency, self.busy[lane].event))

    def next_probe(self, destination: str, after: int) -> list[int]:
        """The lane whose event stands next behind event `after`, or else the first."""
        held = sorted(self.held_for(destination), key=lambda lane: (self.busy[lane].event <= after, self.busy[lane].event))
        return held[:1]

    def release(self, lanes: Iterable[int]) -> int:
        released = [self.busy[lane] for lane in lanes]
        for row in released:
            row.due = Due.NOW
        return len(released)

    # ── people

    def replay(self, event: int, by: str) -> bool:
        if self.state(event)[0] not in ("done", "skipped"):
            return False
        attempt = max(attempt for attempt, _, _ in self.attempts[event])
        self.attempts[event].append((attempt, "p", f"replayed by {by}"))
        self._joins(event, 1, attempt + 1)
        return True

    def retry_dead(self, events: Iterable[int], by: str) -> list[int]:
        found = sorted({event for event in events if event in self.dead})
        for event in found:
            attempt = self.dead.pop(event).attempt
            self.attempts[event].append((attempt, "p", f"retried by {by}"))
            self._joins(event, 1, attempt + 1)
        return found

    def discard(self, events: Iterable[int], by: str, reason: str) -> list[int]:
        found = sorted({event for event in events if event in self.dead})
        for event in found:
            self.attempts[event].append((self.dead.pop(event).attempt, "s", f"discarded by {by}: {reason}"))
        return found

    # ── what is to be seen

    def rows(self) -> list[tuple[object, ...]]:
        """Every row of undone work: place, event, lane, urgency, owner, due, attempt, failures, crashes, why."""
        rows: list[tuple[object, ...]] = []
        for (urgency, lane), queue in self.pending.items():
            rows += [("pending", event, lane, urgency, None, None, attempt, 0, 0, None) for event, attempt in queue.items()]
        for lane, r in self.busy.items():
            rows.append(("busy", r.event, lane, r.urgency, r.owner, r.due, r.attempt, r.failures, r.crashes, r.why))
        for event, (urgency, due) in self.delayed.items():
            rows.append(("delayed", event, self.lives[event].lane, urgency, None, due, 1, 0, 0, None))
        for event, d in self.dead.items():
            rows.append(("dead", event, self.lives[event].lane, d.urgency, None, d.fingerprint, d.attempt, 0, 0, d.reason))
        return sorted(rows, key=lambda row: (row[1], row[0]))

    def state(self, event: int) -> tuple[str, str | None]:
        """P7: the state and why, as everybody is told."""
        lane = self.lives[event].lane
        row = self.busy.get(lane)
        if event in self.dead:
            return "dead", self.dead[event].reason
        if row is not None and row.event == event:
            return "pending", "running" if row.owner is not None else row.why
        if event in self.delayed:
            return "pending", "delayed"
        for urgency in (0, 1):
            if event in self.pending.get((urgency, lane), ()):
                ahead = row.event if row is not None else min(self.pending[urgency, lane])
                return "pending", "ready" if ahead == event else f"behind #{ahead} in its lane"
        _, outcome, note = max(self.attempts[event], key=lambda entry: (entry[0], entry[1] in "ds"))
        return {"d": "done", "s": "skipped"}[outcome], note

    def undone(self) -> int:
        """Pending, running, waiting and delayed: what a drain has to settle."""
        return sum(map(len, self.pending.values())) + len(self.busy) + len(self.delayed)

    def overtakings(self) -> list[tuple[int, int]]:
        """P5 in its exact words: (A, B) of one lane and urgency, B staged by a transaction that began after A's had committed, and yet
        B started before A was over (for the first time: a replayed event joins behind what has started)."""
        plain = [(event, life) for event, life in self.lives.items() if life.plain]
        return [
            (a, b)
            for a, first in plain
            for b, then in plain
            if (first.lane, first.urgency) == (then.lane, then.urgency) and first.committed < then.began
            if then.started is not None and (first.over is None or first.over > then.started)
        ]

    # ── inside

    def _joins(self, event: int, urgency: int, attempt: int) -> None:
        self.pending.setdefault((urgency, self.lives[event].lane), {})[event] = attempt

    def _leaves(self, event: int, urgency: int, lane: int) -> int:
        queue = self.pending[urgency, lane]
        attempt = queue.pop(event)
        if not queue:
            del self.pending[urgency, lane]
        return attempt

    def _starts(self, worker: int, urgency: int, lane: int) -> int:
        event = min(self.pending[urgency, lane])
        self.busy[lane] = Busy(event, urgency, self._leaves(event, urgency, lane), worker)
        life = self.lives[event]
        life.started = self.tick if life.started is None else life.started
        return event

    def _dies(self, lane: int, fingerprint: str, reason: str) -> None:
        row = self.busy.pop(lane)
        self.dead[row.event] = Dead(row.urgency, row.attempt, fingerprint, reason)
        self._over(row.event, row.attempt, "x", reason)

    def _over(self, event: int, attempt: int, outcome: str, note: str | None) -> None:
        self.attempts[event].append((attempt, outcome, note))
        life = self.lives[event]
        life.over = self.tick if life.over is None else life.over
