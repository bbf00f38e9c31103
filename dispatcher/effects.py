"""The step journal: a remote effect happens once (P6).

intent ─▶ call ─▶ done                       known done: never repeated
   │        ├──▶ not done   (refused, rate limited, never sent)
   │        ├──▶ done       (it failed, but said that it was done; its answer is looked for)
   │        └──▶ (nothing)   answer lost, or the process died
   └ next run: a moment later, find ─▶ found, or the call again
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from dispatcher.clients.http import before_sending
from dispatcher.errors import RemoteError
from dispatcher.journal import Journal
from outbox.errors import OwnershipLost
from outbox.event import Claimed
from outbox.log import get_logger
from outbox.store import steps
from outbox.store.steps import Entry

T = TypeVar("T")
log = get_logger(__name__)
ANSWER_BYTES = 2048
# A request that was cut off may still be under way: looked for too early, its effect is not there yet, and is made twice.
SETTLING_S = 5.0


class Steps:
    """The steps of one run of one event."""

    def __init__(self, journal: Journal, event: Claimed, *, worker: int, still_ours: Callable[[], bool]) -> None:
        self._journal, self._event, self._worker, self._still_ours = journal, event, worker, still_ours
        self._is_read = False
        self._reading = asyncio.Lock()
        self._done: dict[str, Any] = {}
        self._unknown: dict[str, float] = {}

    async def step(
        self,
        name: str,
        call: Callable[[], Awaitable[T]],
        *,
        find: Callable[[], Awaitable[T | None]] | None = None,
        repeatable: bool = False,
    ) -> T:
        """See Context.step."""
        if find is None and not repeatable:
            raise TypeError(f"step {name!r} brings a `find`, or says that it is repeatable")
        if not await self._begin(name):
            if name in self._done:
                return cast("T", self._done[name])
            if name in self._unknown and find is not None and (found := await self._look(name, find)) is not None:
                return found
            await self._write(name, "i")
        self._check(name)
        started = time.perf_counter()
        asked = before_sending.set(lambda: self._check(name))
        try:
            answer = await call()
        except RemoteError as problem:
            if problem.happened is False:
                await self._write(name, "n", started=started, note=str(problem))
            if not problem.happened:
                raise
            answer = cast("T", await find() if find is not None else None)  # it was done; only its answer has to be looked for
        finally:
            before_sending.reset(asked)
        await self._write(name, "d", started=started, answer=answer)
        return answer

    async def _begin(self, name: str) -> bool:
        """The intent of the event's first step, whose writing finds out whether earlier runs left anything; False: it is not written."""
        async with self._reading:
            if self._is_read:
                return False
            if not (is_first := await self._write(name, "i", only_first=True)):
                await self._read()
            self._is_read = True
            return is_first

    async def _read(self) -> None:
        """What earlier runs left in the journal."""
        for row in await steps.journal(self._journal.pool, self._event.id):
            name = row["name"]
            match row["entry"]:
                case "d" | "f":
                    self._done[name] = None if row["answer"] is None else json.loads(row["answer"])
                    self._unknown.pop(name, None)
                case "i":
                    self._unknown[name] = time.monotonic() - row["age_s"]
                case _:
                    self._unknown.pop(name, None)

    def _check(self, name: str) -> None:
        """Before the call, and once more before its bytes leave: who was frozen in between must not send what another has sent by now."""
        if not self._still_ours():
            raise OwnershipLost(f"the lease ran out before step {name} of event {self._event.id}")

    async def _look(self, name: str, find: Callable[[], Awaitable[T | None]]) -> T | None:
        """The answer to this step was lost: did it happen?"""
        await asyncio.sleep(max(0.0, self._unknown[name] + SETTLING_S - time.monotonic()))
        started = time.perf_counter()
        found = await find()
        log.info("lost answer looked up", event_id=self._event.id, step=name, found=found is not None)
        if found is not None:
            await self._write(name, "f", started=started, answer=found)
        return found

    async def _write(
        self, name: str, entry: str, *, started: float | None = None, answer: Any = None, note: str | None = None, only_first: bool = False
    ) -> bool:
        took_ms = None if started is None else int((time.perf_counter() - started) * 1000)
        text = None if answer is None else _bounded(answer)
        is_written = await self._journal.write(Entry(self._event, self._worker, name, entry, took_ms, text, note, only_first))
        if entry in ("d", "f"):
            self._done[name] = answer
        elif not is_written:
            return False
        elif entry == "i":
            self._unknown[name] = time.monotonic()
        else:
            self._unknown.pop(name, None)
        return True


def _bounded(answer: Any) -> str:
    """What the journal keeps of an answer: all of it when it is small and storable, else only that there was one.

    Never an error: the effect has happened, and an entry that is not written would make it unknown.
    """
    try:
        text = json.dumps(answer, allow_nan=False, ensure_ascii=False)
        if len(text.encode()) <= ANSWER_BYTES and r"\u0000" not in text:
            return text
        log.error("a step's answer is too large for the journal, or holds NUL; return an id from the call instead")
    except (TypeError, ValueError, RecursionError) as problem:
        log.error("a step's answer is no JSON; return an id from the call instead", problem=problem)
    return '{"kept": false}'
