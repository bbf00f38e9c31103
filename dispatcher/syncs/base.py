"""What a sync is: a name, whom it asks, the types of its runs, when they are due, and the function that does one.

    async def pull(run: Run) -> None:                     a run is an event like any other: same retries, limits, dead letters
        thing = await run.ctx.ghl_for(run.account)
        while (found := await thing.next(run.checkpoint)):          the network first,
            async with run.page(found.checkpoint) as page:          then one transaction: rows, counts, checkpoint
                ...

Returning means that it went well: the watermark moves to `run.until`. How else it may end is raised: NeedsPerson, Unusable.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from outbox.cadence import Cadence
from outbox.db import Connection
from outbox.errors import PostroomError
from outbox.store.schedules import CatchUp

if TYPE_CHECKING:
    from dispatcher.context import Services
    from dispatcher.syncs.run import Run

RUN_S: Final = 12 * 3600.0  # a run that is cut off at its deadline goes on at its checkpoint


class RunType(StrEnum):
    """The usual types; a sync may have others. A run of type range has its `since` and `until` from whoever asked for it."""

    INCREMENTAL = "incremental"
    FULL = "full"
    RANGE = "range"  # over a span that is asked for


@dataclass(frozen=True, slots=True)
class Default:
    """A schedule as the code proposes it; what a person edited stays."""

    cadence: Cadence
    catch_up: CatchUp = CatchUp.ONE


def always_on(services: "Services") -> str | None:
    """For a sync that needs nothing."""
    return None


@dataclass(frozen=True, slots=True)
class Sync:
    """A row of the table. `off` says why it cannot run with these services ("GHL_API_KEY is missing"); None: it can.

    `destination` is whom its runs wait for. `schedules` by type of run; a type without one is run by hand only.
    Where there is one sync for each account, the runs are those of `<name>:<account>`; the name alone is that of the default account.
    `is_per_account`: there is no default one, and whoever adds an account writes its sync and its schedule down.
    `enrol` writes down the syncs of accounts that are there already. `waits_for_tick`: its first run is not due at once.
    `keeps_place`: a cancelled run that is replayed goes on at its page; for walks whose places never grow old, and that sweep nothing.
    `overlap`: so far behind the watermark an incremental run begins to look, for the far side's times or its index lag.
    `follows` names a sync that has to have succeeded once, for the same account, before a run of this one means anything.
    """

    name: str
    run: Callable[["Run"], Awaitable[None]]
    types: tuple[str, ...]
    destination: str | None = None
    schedules: Mapping[str, Default] = field(default_factory=dict)
    off: Callable[["Services"], str | None] = always_on
    deadline_s: float = RUN_S
    is_per_account: bool = False
    enrol: Callable[["Sync", "Services", Connection, datetime], Awaitable[None]] | None = None
    waits_for_tick: bool = False
    keeps_place: bool = False
    follows: str | None = None
    overlap: timedelta = timedelta(0)

    @property
    def first(self) -> str | None:
        """The type of run with which it begins where it has never run, without waiting for the first tick."""
        return None if self.waits_for_tick else next(iter(self.schedules), None)


class NeedsPerson(PostroomError):
    """The run stops at its brake and ends as such: a person has to decide. The message says about what, and how."""


class Unusable(PostroomError):
    """What the sync reads is not as it must be (no longer shared, a mapped property is gone): the run fails, and the sync pauses itself."""
