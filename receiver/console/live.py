"""Live updates: one reader for all who look, and a stream of server-sent events for each of them.

    topic   totals, newest, event-18422, run-811: what a page wants to hear of; receiver/console/topics.py reads it
    value   small JSON, told when it is another than before

The reader reads what somebody looks at, and nothing while nobody does. It asks again and again instead of listening: half of what pages
show is changed by statements that notify nobody, and a transaction pooler lets no notification through. A viewer holds a flag, not a
queue: a slow one misses values in between and gets the newest, so memory is flat.
"""

import asyncio
import json
import random
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from outbox.db import Pool
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from receiver.errors import origin

log = get_logger(__name__)

Value: TypeAlias = Mapping[str, Any]
Read: TypeAlias = Callable[[Pool, Sequence[int]], Awaitable[Mapping[str, Value]]]

EVERY_S: Final = 1.0
READ_LIMIT_S: Final = 3.0
BEAT_S: Final = 5.0  # a page says that it is out of date when it hears nothing for twice as long
LASTS_S: Final = 600.0  # then the browser comes back by itself: to another process, if there is a newer one
SESSION_EVERY_S: Final = 60.0
RETRY_MS: Final = (2000, 5000)  # when a browser comes back whose line was cut: not all at once
MOST_STREAMS, MOST_TOPICS = 50, 8
MOST_OF_SESSION = 4  # a browser opens six connections to a host: two are for pages, or one more tab would not load at all


@dataclass(eq=False, slots=True)
class Viewer:
    """An open page."""

    session: bytes
    topics: frozenset[str]
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Live:
    """One for each process. `words` are the topics' first parts, with what reads them."""

    def __init__(self, words: Mapping[str, Read]) -> None:
        self._words = words
        self._boot = secrets.token_hex(4)
        self._viewers: set[Viewer] = set()
        self._latest: dict[str, tuple[int, str]] = {}
        self._version = 0
        self._read_at = 0.0
        self._wanted = asyncio.Event()
        self._stopping = False

    @property
    def viewers(self) -> int:
        """How many streams are open."""
        return len(self._viewers)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is read and nothing kept."""
        return not self._viewers and not self._latest

    def topics(self, text: str) -> frozenset[str] | None:
        """The topics of a comma-separated list; None when one of them is none, or there are too many."""
        names = [name for name in text.split(",") if name]
        known = 0 < len(names) <= MOST_TOPICS and all(_parts(name)[0] in self._words for name in names)
        return frozenset(names) if known else None

    @property
    def is_stopping(self) -> bool:
        """Whether the process is about to end: another one takes its place."""
        return self._stopping

    def has_room(self, session: bytes) -> bool:
        """Whether this session may have another stream."""
        of_session = sum(viewer.session == session for viewer in self._viewers)
        return not self._stopping and len(self._viewers) < MOST_STREAMS and of_session < MOST_OF_SESSION

    @contextmanager
    def watching(self, viewer: Viewer) -> Iterator[None]:
        """Counts a viewer while the block lasts; the reader begins with the first and rests after the last."""
        self._viewers.add(viewer)
        self._wanted.set()
        viewer.wake.set()
        try:
            yield
        finally:
            self._viewers.discard(viewer)

    def stop(self) -> None:
        """Ends every stream. To be called before a server waits for its connections, which would take minutes."""
        self._stopping = True
        for viewer in self._viewers:
            viewer.wake.set()

    async def run(self, pool: Pool) -> None:
        """Reads for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._viewers:
                await self._look(pool)
                try:
                    async with asyncio.timeout(EVERY_S):
                        await self._wanted.wait()
                    self._wanted.clear()
                except TimeoutError:
                    continue
            self._latest.clear()

    async def _look(self, pool: Pool) -> None:
        topics = frozenset[str]().union(*(viewer.topics for viewer in self._viewers))
        found = await self.read(pool, topics)
        if found is None:
            return
        self._read_at = time.monotonic()
        changed: set[str] = set()
        for topic, value in found.items():
            body = json.dumps(value, separators=(",", ":"))
            if topic not in self._latest or self._latest[topic][1] != body:
                self._version += 1
                self._latest[topic] = (self._version, body)
                changed.add(topic)
        for gone in self._latest.keys() - topics:
            del self._latest[gone]
        for viewer in self._viewers:
            if viewer.topics & changed:
                viewer.wake.set()

    async def read(self, pool: Pool, topics: Iterable[str]) -> dict[str, Value] | None:
        """The topics' values; None while the database is away. What there is not, or cannot be read, is empty."""
        by_word: dict[str, list[int]] = defaultdict(list)
        for topic in topics:
            word, number = _parts(topic)
            by_word[word].append(number)
        found: dict[str, Value] = {topic: {} for topic in topics}
        for word, numbers in by_word.items():
            try:
                async with asyncio.timeout(READ_LIMIT_S):
                    found.update(await self._words[word](pool, numbers))
            except (DatabaseUnavailable, TimeoutError):
                return None
            except Exception as problem:  # noqa: BLE001 -- one topic must not silence the others
                log.error("a live topic could not be read", topic=word, problem=origin(problem))
        return found

    async def stream(self, viewer: Viewer, *, since: int, is_signed_in: Callable[[], Awaitable[bool]]) -> AsyncGenerator[str, None]:
        """Server-sent events newer than version `since`. Ends after about 10 minutes, with the session, and when the process stops."""
        ends = time.monotonic() + LASTS_S + random.uniform(0, 60)  # noqa: S311 -- spreads the browsers' coming back
        ask_again = time.monotonic() + SESSION_EVERY_S
        yield f"retry: {random.randint(*RETRY_MS)}\n\n"  # noqa: S311
        while not self._stopping and time.monotonic() < ends:
            try:
                async with asyncio.timeout(BEAT_S):
                    await viewer.wake.wait()
            except TimeoutError:
                yield self._beat()
            if time.monotonic() > ask_again:
                if not await is_signed_in():
                    return
                ask_again = time.monotonic() + SESSION_EVERY_S
            viewer.wake.clear()
            for version, topic, body in self._newer(viewer.topics, since):  # in order, or a cut between two would lose one
                yield f"id: {self._boot}-{version}\nevent: {topic}\ndata: {body}\n\n"
                since = version

    def since(self, last_event_id: str) -> int:
        """The version that a browser heard last; 0 when it heard it of another process."""
        boot, _, version = last_event_id.partition("-")
        return int(version) if boot == self._boot and version.isascii() and version.isdigit() and len(version) < 16 else 0

    def _newer(self, topics: frozenset[str], since: int) -> list[tuple[int, str, str]]:
        return sorted((v, topic, body) for topic, (v, body) in self._latest.items() if topic in topics and v > since)

    def _beat(self) -> str:
        """Whether what was told is true still."""
        fresh = time.monotonic() - self._read_at < 2 * BEAT_S
        return f"event: beat\ndata: {json.dumps({'fresh': fresh})}\n\n"


def _parts(topic: str) -> tuple[str, int]:
    """`run-811` is (run-, 811); `totals` is (totals, 0)."""
    word, dash, number = topic.partition("-")
    if not dash:
        return word, 0
    return (f"{word}-", int(number)) if number.isascii() and number.isdigit() and 0 < len(number) < 17 else ("", 0)
