"""One run of a sync, as the function that does it sees it: its span, its checkpoint, its pages.

A page is one transaction: what it writes, what it stages, its counts and the checkpoint behind it exist together or not at all, and
only while this worker holds the run's event. So a run whose process was killed goes on behind its last page.
A rehearsal (dry_run) does all of it and takes back what a page wrote and staged, but not what it counted.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from dispatcher.clients.tally import Tally
from dispatcher.context import Context
from dispatcher.errors import scrub
from dispatcher.syncs.pace import Pace
from outbox.db import Connection
from outbox.errors import PostroomError
from outbox.event import Event
from outbox.staging import stage
from outbox.store import events, runs
from outbox.store.events import Arrival
from outbox.store.runs import Begun, Category, Entry, Numbers, RunState, What

MOST_LOGGED: Final = 1_000
MOST_ERRORS_LOGGED: Final = 200  # beside those: a run that does much still says what went wrong
NOTE_CHARS: Final = 300


class Cancelled(PostroomError):
    """Somebody asked that the run ends; it does so between two pages."""


class Stopping(PostroomError):
    """The dispatcher stops: the run goes on elsewhere, behind its last page."""


class Page:
    """Open inside `async with run.page(...)`. `connection` is for the store's functions; no network call belongs inside."""

    def __init__(self, connection: Connection, numbers: Numbers, *, room: int, room_for_errors: int) -> None:
        self.connection, self.numbers = connection, numbers
        self._room, self._room_for_errors = room, room_for_errors
        self.entries: list[Entry] = []
        self.errors: list[Entry] = []
        self.met: list[str] = []

    async def stage(self, event: Event) -> int:
        """Stages an event, which exists if and only if this page does."""
        return int(await stage(self.connection, event))

    async def stage_all(self, arrivals: Sequence[Arrival]) -> list[bool]:
        """As stage(), many in one statement and with their urgency; says of each whether it was new."""
        return await events.stage_page(self.connection, arrivals) if arrivals else []

    def found(self, what: str, *, changed: int, missed: int) -> None:
        """So many changed over there, and so many of them nobody had announced."""
        before = self.numbers.missed.get(what, {"changed": 0, "missed": 0})
        self.numbers.missed[what] = {"changed": before["changed"] + changed, "missed": before["missed"] + missed}

    def count(self, *, created: int = 0, updated: int = 0, unchanged: int = 0, skipped: int = 0, deleted: int = 0) -> None:
        """Counts records without naming them."""
        self.numbers.created += created
        self.numbers.updated += updated
        self.numbers.unchanged += unchanged
        self.numbers.skipped += skipped
        self.numbers.deleted += deleted

    def did(self, what: What, record: str, note: str | None = None) -> None:
        """Counts a record and keeps what became of it, while the run's log has room. The note holds no personal data."""
        self.count(**{what.value: 1})
        if len(self.entries) < self._room:
            self.entries.append(Entry(record, what, None, note))

    def error(self, category: Category, record: str | None, message: str) -> None:
        """This record could not be taken; the run goes on."""
        self.numbers.errors += 1
        self.numbers.errors_by[category] = self.numbers.errors_by.get(category, 0) + 1
        if len(self.errors) < self._room_for_errors:
            self.errors.append(error_of(category, record, message))

    def seen(self, records: Sequence[str]) -> None:
        """A full run met these: what it never met is gone over there."""
        self.met.extend(records)


def error_of(category: Category, record: str | None, message: str) -> Entry:
    """An error as the log of a run has it; `record` None: it is no single one's."""
    return Entry(record or "", What.ERROR, category, scrub(message, max_chars=NOTE_CHARS))


class Run:
    """`ctx` is the event's context: clients, steps for writes elsewhere, services. `account` None: the default one.

    `since` is the watermark, or what was asked for by hours (None: from the beginning); `until` is when the run first began.
    `kept` is what the sync remembers between runs; what is put there counts when the run ends well.
    """

    def __init__(self, ctx: Context, begun: Begun, tally: Tally) -> None:
        self.ctx, self.id, self.sync, self.type, self.trigger = ctx, begun.id, begun.sync, begun.type, begun.trigger
        self.since, self.until, self.started_at, self.dry_run = begun.since, begun.until, begun.started_at, begun.dry_run
        self.account = begun.sync.partition(":")[2] or None
        self.may_delete = begun.may_delete
        self.kept: dict[str, Any] = dict(begun.kept)
        self.watermark: datetime | None = begun.until
        self._tally, self._logged, self._logged_errors = tally, begun.logged, begun.logged_errors
        self._pace = Pace(begun.numbers.worked_ms, phase=begun.numbers.phase, done=begun.numbers.progress)
        self._numbers, self._before, self._committed = begun.numbers, begun.numbers, begun.numbers
        self._page_open = False

    @property
    def checkpoint(self) -> Any:
        """What the last committed page left: JSON; None: there was none."""
        return self._numbers.checkpoint

    @property
    def room_for_errors(self) -> int:
        """So many more of them its log takes."""
        return max(0, MOST_ERRORS_LOGGED - self._logged_errors)

    @property
    def numbers(self) -> Numbers:
        """The counts so far."""
        return self._numbers

    def phase(self, name: str, *, expected: int | None = None) -> None:
        """From now on the run is in this phase; stored with the next page. Going on in the same phase keeps its progress."""
        if self._numbers.phase != name:
            self._numbers = replace(self._numbers, phase=name, progress=0)
        self._numbers = replace(self._numbers, expected=expected)

    def progress(self, done: int, expected: int | None = None) -> None:
        """How far it is, for people; stored with the next page."""
        self._numbers = replace(self._numbers, progress=done, expected=expected)

    @asynccontextmanager
    async def page(self, checkpoint: Any) -> AsyncIterator[Page]:
        """One page's transaction; a run that is interrupted later goes on with `checkpoint`.

        Raises Cancelled and Stopping behind the page, OwnershipLost and DatabaseUnavailable instead of it.
        """
        numbers = self.current()
        numbers.errors_by, numbers.missed = dict(numbers.errors_by), dict(numbers.missed)
        is_progress = checkpoint != numbers.checkpoint
        numbers.checkpoint, numbers.pages = checkpoint, numbers.pages + 1
        numbers.pace = self._pace.behind_page(numbers.worked_ms, phase=numbers.phase, done=numbers.progress)
        async with self.ctx.part(is_progress=is_progress) as connection:
            page = Page(
                connection,
                numbers,
                room=max(0, MOST_LOGGED - self._logged),
                room_for_errors=self.room_for_errors,
            )
            rehearsal = connection.transaction()
            if self.dry_run:
                await rehearsal.start()
            yield page
            if self.dry_run:
                await rehearsal.rollback()
            if page.met:
                await runs.saw(connection, self.id, page.met)
            if logged := [*page.entries, *page.errors]:
                await runs.log(connection, self.id, logged)
            cancel_by = await runs.keep(connection, self.id, numbers, state=RunState.RUNNING)
        self._numbers = self._committed = numbers
        self._logged += len(page.entries)
        self._logged_errors += len(page.errors)
        await self.ctx.heard()
        if cancel_by is not None:
            raise Cancelled(f"cancelled by {cancel_by}")
        if self.ctx.is_stopping:
            raise Stopping("its dispatcher stops")

    def current(self) -> Numbers:
        """A copy of the numbers, with the calls and the time of this attempt."""
        worked_ms = self._before.worked_ms + self.ctx.took_ms()
        left = self._numbers.quota_left if self._tally.quota_left is None else self._tally.quota_left
        quota = self._numbers.quota if self._tally.quota is None else self._tally.quota
        return replace(self._numbers, calls=self._before.calls + self._tally.calls, quota_left=left, quota=quota, worked_ms=worked_ms)

    def committed(self) -> Numbers:
        """As current(), but as far as the last page: what was told of the next one never came."""
        last = self._committed
        return replace(self.current(), phase=last.phase, progress=last.progress, expected=last.expected)

    def result(self) -> Mapping[str, object]:
        """For the event's timeline."""
        names = ("created", "updated", "unchanged", "skipped", "deleted", "errors")
        return {name: number for name in names if (number := getattr(self._numbers, name))} or {"changes": 0}
