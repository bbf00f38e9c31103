"""Natural group commit: one statement in flight, and what arrives meanwhile is the next one. No timer, no window.

Owns the dedicated connection on which webhooks are staged, the bounded list of those that wait, and each one's answer. A request is
answered after the commit that holds its row (P1), or told to come again. Knows nothing of HTTP, signatures or counts.

    stage ─▶ waiting ─▶ in flight ─commit─▶ Staged
               │            ├─ connection lost: once more after reconnecting (a row with a key is idempotent)
               │            └─ one bad row: the batch one at a time; the bad one is Unstageable
               └─ full: Overloaded          3 s without a commit: DatabaseUnavailable, and the sender tries again
"""

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass

from outbox import db
from outbox.errors import DatabaseUnavailable, PostroomError
from outbox.log import get_logger
from outbox.store import events
from outbox.store.events import Arrival, Staged
from receiver.errors import origin

log = get_logger(__name__)

BATCH_ROWS = 500
BATCH_BYTES = 4 * 1024 * 1024
WAITING_BYTES = 64 * 1024 * 1024
ANSWER_S = 3.0  # longest wait of a request; also how long an outage lasts before requests are refused at once
LOOK_S = 0.25
STATEMENT_S = 5.0
CONNECT_S = 5.0
DURABLE = {"synchronous_commit": "on"}  # P1, whatever the server's default is
DATA_ERRORS = ("22", "23", "54")  # SQLSTATE classes that speak of a row and not of the server


class Overloaded(PostroomError):
    """The waiting list is full; come again in a second."""


class Unstageable(PostroomError):
    """Postgres will never take this row, whoever asks."""


@dataclass(slots=True)
class _Waiting:
    arrival: Arrival
    answer: "asyncio.Future[Staged]"
    since: float
    tries: int = 0


@dataclass(slots=True)
class Flushes:
    """What this intake has done, for the metrics. Seconds are those between sending and commit."""

    flushes: int = 0
    rows: int = 0
    seconds: float = 0.0
    retried: int = 0
    refused: int = 0


class Intake:
    """One for each process and database."""

    def __init__(self, dsn: str, *, max_waiting: int, name: str = "postroom:intake") -> None:
        self._dsn, self._name, self._max_waiting = dsn, name, max_waiting
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._flight: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._down_since: float | None = time.monotonic()
        self._told = False  # of this outage, in the log
        self._stopping = False
        self.done = Flushes()

    @property
    def waiting(self) -> int:
        """Requests that wait for a commit, those in flight included."""
        return len(self._waiting) + len(self._flight)

    @property
    def is_up(self) -> bool:
        """Whether its connection stands."""
        return self._down_since is None

    async def stage(self, arrival: Arrival) -> Staged:
        """Returns after the commit. Raises Overloaded, DatabaseUnavailable (also when stopping), Unstageable."""
        now = time.monotonic()
        if self._stopping or (self._down_since is not None and now - self._down_since > ANSWER_S):
            self.done.refused += 1
            raise DatabaseUnavailable("the database is away")
        size = len(arrival.payload)
        if len(self._waiting) >= self._max_waiting or self._waiting_bytes + size > WAITING_BYTES:
            self.done.refused += 1
            raise Overloaded(f"{len(self._waiting)} webhooks wait for their commit")
        waiting = _Waiting(arrival, asyncio.get_running_loop().create_future(), now)
        self._waiting.append(waiting)
        self._waiting_bytes += size
        self._wake.set()
        return await waiting.answer

    async def run(self) -> None:
        """Flushes for ever, through every outage."""
        failures = 0
        while True:
            connection = None
            try:
                connection = await db.connect(self._dsn, name=self._name, timeout_s=CONNECT_S, settings=DURABLE)
                connection.add_termination_listener(lambda *_: self._wake.set())
                self._stands()
                while True:
                    await self._next_batch()
                    if connection.is_closed():
                        raise DatabaseUnavailable("the connection was lost")
                    await self._flush(connection)
                    failures = 0
            except DatabaseUnavailable as problem:
                self._fell(problem)
            except Exception as problem:  # noqa: BLE001 -- the loop that accepts must outlive whatever it meets
                # A missing table, a revoked right: not the senders' fault, so they come again.
                log.error("webhooks cannot be staged", problem=origin(problem), do="run `postroom doctor`")
                self._answer_flight(DatabaseUnavailable("webhooks cannot be staged now"))
            finally:
                if connection is not None:
                    connection.terminate()
            failures += 1
            await asyncio.sleep(min(2.0, 0.05 * 2 ** min(failures - 1, 6)) * (1 + 0.3 * random.random()))  # noqa: S311 -- jitter

    async def watch(self) -> None:
        """Answers those that waited too long, for ever; their rows may still be committed, and a repeat then finds its key."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.expire(time.monotonic())

    def expire(self, now: float) -> None:
        """Ends the waits that began over ANSWER_S before `now`; in a known outage, all of them."""
        is_down = self._down_since is not None and now - self._down_since > ANSWER_S
        while self._waiting and (is_down or now - self._waiting[0].since > ANSWER_S or self._waiting[0].answer.done()):
            late = self._waiting.popleft()
            self._waiting_bytes -= len(late.arrival.payload)
            _fail(late, DatabaseUnavailable("no commit in time"))
        for late in self._flight:
            if is_down or now - late.since > ANSWER_S:
                _fail(late, DatabaseUnavailable("no commit in time"))

    async def stop(self, *, timeout_s: float = 5) -> None:
        """Takes no more, and returns when what waits was answered."""
        self._stopping = True
        answers = [waiting.answer for waiting in (*self._flight, *self._waiting) if not waiting.answer.done()]
        if answers:
            await asyncio.wait(answers, timeout=timeout_s)
        for waiting in (*self._flight, *self._waiting):
            _fail(waiting, DatabaseUnavailable("the receiver stops"))

    async def _next_batch(self) -> None:
        """Returns with something in flight, or when the connection ended."""
        if not self._flight and not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        size = sum(len(waiting.arrival.payload) for waiting in self._flight)
        while self._waiting and len(self._flight) < BATCH_ROWS and (size < BATCH_BYTES or not self._flight):
            waiting = self._waiting.popleft()
            self._waiting_bytes -= len(waiting.arrival.payload)
            if not waiting.answer.done():
                size += len(waiting.arrival.payload)
                self._flight.append(waiting)

    async def _flush(self, connection: db.Connection) -> None:
        """One statement, one commit, an answer for each row. Raises DatabaseUnavailable with the flight kept for one more try."""
        batch = self._flight = [waiting for waiting in self._flight if not waiting.answer.done()]
        if not batch:
            return
        began = time.monotonic()
        for waiting in batch:
            self.done.retried += waiting.tries
            waiting.tries += 1
        try:
            answers = await events.stage_many(connection, [waiting.arrival for waiting in batch], timeout_s=STATEMENT_S)
        except DatabaseUnavailable:
            raise
        except Exception as problem:
            if not _speaks_of_a_row(problem):
                raise
            await self._flush_singly(connection, batch)
        else:
            for waiting, staged in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(staged)
            self.done.rows += len(batch)
        self._flight = []
        self.done.flushes += 1
        self.done.seconds += time.monotonic() - began

    async def _flush_singly(self, connection: db.Connection, batch: list[_Waiting]) -> None:
        """After a batch that held a bad row: its neighbours get in, each by itself, and only the bad row is refused."""
        for waiting in batch:
            if waiting.answer.done():
                continue
            try:
                staged = (await events.stage_many(connection, [waiting.arrival], timeout_s=STATEMENT_S))[0]
            except DatabaseUnavailable:
                raise
            except Exception as problem:
                if not _speaks_of_a_row(problem):
                    raise
                log.warning("a webhook cannot be stored", source=waiting.arrival.source, kind=waiting.arrival.kind, problem=origin(problem))
                _fail(waiting, Unstageable("Postgres does not take this message"))
            else:
                self.done.rows += 1
                if not waiting.answer.done():
                    waiting.answer.set_result(staged)

    def _stands(self) -> None:
        if self._told:
            log.info("the intake has its database again", away_s=round(time.monotonic() - (self._down_since or time.monotonic()), 1))
        self._down_since, self._told = None, False

    def _fell(self, problem: DatabaseUnavailable) -> None:
        """What was sent is sent once more, if a key makes that safe; everything else that waits goes on waiting for its time."""
        if self._down_since is None:
            self._down_since = time.monotonic()
        if not self._told:
            self._told = True
            log.warning("the intake has no database and reconnects for ever", problem=problem, waiting=self.waiting)
        sent, self._flight = self._flight, []
        for waiting in sent:
            if waiting.tries == 0 or (waiting.tries == 1 and waiting.arrival.key is not None):
                self._flight.append(waiting)
            else:
                _fail(waiting, DatabaseUnavailable("whether it was committed is not known"))

    def _answer_flight(self, problem: PostroomError) -> None:
        for waiting in self._flight:
            _fail(waiting, problem)
        self._flight = []


def _fail(waiting: _Waiting, problem: PostroomError) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(problem)


def _speaks_of_a_row(problem: Exception) -> bool:
    """Whether Postgres, or the driver before it, refused the data rather than the work."""
    state = getattr(problem, "sqlstate", None)
    return state[:2] in DATA_ERRORS if isinstance(state, str) else isinstance(problem, ValueError)
