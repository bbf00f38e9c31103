"""What the engine sends for a batch, taken from the store's own functions, so that a gate cannot explain what nobody sends."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from outbox.db import Connection
from outbox.event import Claimed
from outbox.queries import load, stems
from outbox.store import lanes
from outbox.store.lanes import LOWEST, Burial, End, Wait
from tests.gates.plans import Statement

STARTED_S: Final = 1_800_000_000.0
FILES: Final = ("pending", "busy")
LIVE, BULK = 0, 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Events at work at one worker, and the ids of what waits behind each, by lane."""

    worker: int
    events: list[Claimed]
    behind: Mapping[int, tuple[int, ...]]

    def first(self, count: int) -> "Batch":
        """A smaller one."""
        return Batch(self.worker, self.events[:count], self.behind)

    def ends(self, *, covering: bool = False) -> list[End]:
        """Settlements of all of them; with what they covered, when they coalesced."""
        return [End(e, STARTED_S, 5, "d", None, self.behind.get(e.lane_key, ()) if covering else ()) for e in self.events]

    def waits(self, delay_s: float | None) -> list[Wait]:
        """Retries, or holds until a destination flows."""
        return [Wait(e, STARTED_S, 5, "r", "it failed", delay_s, 1, e.attempt) for e in self.events]

    def burials(self) -> list[Burial]:
        """Dead letters of all of them."""
        return [Burial(e, STARTED_S, 5, "cause", "refused") for e in self.events]


Send: TypeAlias = Callable[[Connection, Batch, int], Awaitable[object]]

# The third is the size of the batch, where that is all that is said.
SENDS: Final[Mapping[str, Send]] = {
    "claim live": lambda c, b, n: lanes.claim(c, worker=b.worker, limit=n, cursor=LOWEST, urgency=LIVE),
    "claim bulk": lambda c, b, n: lanes.claim(c, worker=b.worker, limit=n, cursor=LOWEST, urgency=BULK),
    "look for followers": lambda c, b, n: lanes.followers(c, b.events),
    "promote delayed": lambda c, b, n: lanes.promote_delayed(c, limit=n),
    "take due": lambda c, b, n: lanes.take_due(c, worker=b.worker, limit=n, suspects=False),
    "finish": lambda c, b, n: lanes.finish(c, b.ends(), worker=b.worker),
    "finish with followers": lambda c, b, n: lanes.finish(c, b.ends(covering=True), worker=b.worker),
    "finish and take": lambda c, b, n: lanes.finish_and_take(c, b.ends(), take=[True] * n, worker=b.worker),
    "finish and take some": lambda c, b, n: lanes.finish_and_take(c, b.ends(), take=[k % 2 == 0 for k in range(n)], worker=b.worker),
    "retry": lambda c, b, n: lanes.wait(c, b.waits(60.0), worker=b.worker),
    "hold": lambda c, b, n: lanes.wait(c, b.waits(None), worker=b.worker),
    "bury": lambda c, b, n: lanes.bury(c, b.burials(), worker=b.worker),
    "release held": lambda c, b, n: lanes.release_held(c, "ghl", limit=n),
}


class Caught(Exception):
    """A statement on its way to the database."""

    def __init__(self, text: str, values: tuple[object, ...]) -> None:
        super().__init__(text)
        self.text, self.values = text, values


class Catcher:
    """Stands where a connection would be."""

    async def fetch(self, text: str, *values: object, timeout: float | None = None) -> Any:  # noqa: ASYNC109 -- asyncpg's signature
        raise Caught(text, values)

    fetchval = fetchrow = fetch


async def sent(send: Send, batch: Batch, count: int) -> tuple[Statement, tuple[object, ...]]:
    """The statement, and its values, that the store sends for the first `count` events of a batch."""
    connection: Any = Catcher()
    try:
        await send(connection, batch.first(count), count)
    except Caught as caught:
        [found] = [(stem, name) for stem in stems() for name, text in load(stem).items() if text == caught.text]
        return found, caught.values
    raise AssertionError("it sends nothing")


async def statements(sends: Mapping[str, Send] = SENDS) -> list[Statement]:
    """All of them, once each, in the order in which a worker would prepare them."""
    nobody = Claimed._make((1, 1, LIVE, 1, 0, 0, "app", "a", None, None, b"", None))
    batch = Batch(0, [nobody], {1: (2,)})
    return list(dict.fromkeys([(await sent(send, batch, 1))[0] for send in sends.values()]))
