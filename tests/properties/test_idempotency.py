"""P2 under fire: the same deliveries come to several receivers and apps at once, over lines that are cut, and each is one event.

Senders do what senders do: whatever is not accepted is sent again, the same id and body. Whatever was accepted, by whomever, was
answered with the id of the one event.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outbox import Event, KeyReused, stage
from outbox.db import UNAVAILABLE
from outbox.errors import DatabaseUnavailable
from outbox.store.events import Arrival
from outbox.testing import Postroom
from receiver.intake import Intake
from tests.properties.ground import Ground, ground_on
from tests.receiver.relay import Relay, relay_to
from tests.receiver.running import until

KIND = "test.delivered"
RECEIVERS, APPS = 3, 2
PATIENCE_S = 20


def name_of(line: int) -> str:
    """The application that Postgres sees at the other end."""
    return f"postroom:line {line}"


def body(key: int) -> dict[str, int]:
    """What a key names. As JSON just as Postgres writes it, because outbox.stage() compares the bytes."""
    return {"n": key}


class Receiver:
    """An intake of its own, as each receiver process has one."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    @property
    def is_up(self) -> bool:
        return self._intake.is_up

    async def take(self, key: str, n: int) -> int | None:
        """The id it answered; None: come again."""
        try:
            return (await self._intake.stage(Arrival("app", KIND, key, None, b'{"n": %d}' % n))).id
        except DatabaseUnavailable:
            return None


class App:
    """outbox.stage() on a connection of its own, in the app's transaction."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn, self._name, self._lock = dsn, name, asyncio.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    @property
    def is_up(self) -> bool:
        return not self._lock.locked()

    async def take(self, key: str, n: int) -> int | None:
        """As a receiver answers. One request at a time: a connection has one transaction."""
        async with self._lock:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(
                        self._dsn, timeout=5, command_timeout=5, server_settings={"application_name": self._name}
                    )
                async with self._connection.transaction():
                    event: int = await stage(self._connection, Event(KIND, body(n), key=key))
                return event
            except UNAVAILABLE:
                self.close()
                return None
            except asyncio.CancelledError:
                self.close()  # an example that failed leaves no transaction open for the next
                raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()


@dataclass(frozen=True)
class Cut:
    """When so many deliveries have been answered, Postgres ends this line; or the next answer on it is lost."""

    after: int
    line: int
    only_the_answer: bool


@dataclass(frozen=True)
class Delivery:
    key: int
    to: int


deliveries = st.lists(st.builds(Delivery, st.integers(0, 5), st.integers(0, RECEIVERS + APPS - 1)), min_size=2, max_size=40)
cuts = st.lists(st.builds(Cut, st.integers(0, 30), st.integers(0, RECEIVERS + APPS - 1), st.booleans()), max_size=4)


@dataclass
class Town:
    """Who takes deliveries, each over a line that can be cut."""

    ground: Ground
    takers: list[Receiver | App]
    lines: list[Relay]
    examples: int = 0
    answers: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    answered: asyncio.Condition = field(default_factory=asyncio.Condition)
    happened: Counter[str] = field(default_factory=Counter)

    async def deliver(self, key: str, delivery: Delivery) -> None:
        """Again and again until it is accepted. What one taker cannot take now is offered to the next, as a load balancer does."""
        to = delivery.to
        async with asyncio.timeout(PATIENCE_S):
            while (event := await self.takers[to % len(self.takers)].take(key, delivery.key)) is None:
                to += 1
                self.happened["turned away"] += 1
                await asyncio.sleep(0)
        async with self.answered:
            self.answers[key].append(event)
            self.answered.notify_all()

    async def cut(self, cut: Cut, out_of: int) -> None:
        """In the middle of it all. The taker finds another line by itself."""
        async with self.answered:
            await self.answered.wait_for(lambda: self.answers_so_far() >= min(cut.after, out_of))
        if cut.only_the_answer:
            self.lines[cut.line].lose_next_answer()
            return
        await self.ground.postroom.pool.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and datname = current_database()",
            name_of(cut.line),
        )

    def answers_so_far(self) -> int:
        return sum(map(len, self.answers.values()))


@asynccontextmanager
async def town_on(ground: Ground) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(relay_to(ground.postroom.dsn)) for _ in range(RECEIVERS + APPS)]
        takers: list[Receiver | App] = []
        for n, line in enumerate(lines[:RECEIVERS]):
            intake = Intake(line.dsn, max_waiting=1000, name=name_of(n))
            tasks = [asyncio.create_task(intake.run()), asyncio.create_task(intake.watch())]
            stack.push_async_callback(end, intake, tasks)
            takers.append(Receiver(intake))
        for n, line in enumerate(lines[RECEIVERS:], RECEIVERS):
            app = App(line.dsn, name_of(n))
            stack.callback(app.close)
            takers.append(app)
        yield Town(ground, takers, lines)
        for taker in takers:  # a line that is being repaired is not closed in the middle of it
            await until(lambda taker=taker: taker.is_up)  # type: ignore[misc]


async def end(intake: Intake, tasks: "list[asyncio.Task[None]]") -> None:
    await intake.stop(timeout_s=0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="module")
def town(postroom_database: str) -> Iterator[Town]:
    with ground_on(postroom_database) as ground:
        ground.run(ground.empty())
        opened = town_on(ground)
        yield ground.run(opened.__aenter__())
        ground.run(opened.__aexit__(None, None, None))


async def flood(town: Town, sent: list[Delivery], fallen: list[Cut]) -> list[str]:
    """Every delivery at once, with cuts in between. The keys, of this example alone."""
    town.examples += 1
    town.answers.clear()
    keys = [f"{town.examples}:{delivery.key}" for delivery in sent]
    async with asyncio.TaskGroup() as tasks:
        for key, delivery in zip(keys, sent, strict=True):
            tasks.create_task(town.deliver(key, delivery))
        for one in fallen:
            tasks.create_task(town.cut(one, len(sent)))
    for relay in town.lines:
        town.happened["answer lost"] += relay.lost.is_set()
        relay.lost.clear()
    return keys


async def refuses_another_body(postroom: Postroom, keys: set[str]) -> None:
    async with postroom.pool.acquire() as connection:
        for key in keys:
            with pytest.raises(KeyReused):
                await stage(connection, Event(KIND, {"n": "another"}, key=key))


def prove(town: Town, *, examples: int) -> None:
    postroom = town.ground.postroom

    @settings(deadline=None, max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(sent=deliveries, fallen=cuts)
    def is_one_event(sent: list[Delivery], fallen: list[Cut]) -> None:
        keys = town.ground.run(flood(town, sent, fallen))
        rows = town.ground.run(postroom.rows("select key, id from outbox.events where key = any($1::text[])", keys))
        assert sorted(row["key"] for row in rows) == sorted(set(keys)), "one event for each delivery id"
        for row in rows:
            assert town.answers[row["key"]] == [row["id"]] * keys.count(row["key"]), "every answer names it"
        town.ground.run(refuses_another_body(postroom, set(keys)))

    is_one_event()


def test_p2_concurrent_identical_deliveries_are_one_event_and_every_answer_names_it(town: Town) -> None:
    prove(town, examples=25)


@pytest.mark.long
def test_p2_the_same_for_longer(town: Town) -> None:
    prove(town, examples=500)
    assert town.happened["turned away"] > 20
    assert town.happened["answer lost"] > 20
