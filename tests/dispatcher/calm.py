"""Our syncs, which begin when they are asked: a tick of the real clock must not bring what a test is about to bring."""

from dataclasses import replace
from typing import Final

from dispatcher.syncs.base import Sync
from dispatcher.syncs.table import SYNCS
from outbox.cadence import Cron

HARDLY_EVER: Final = Cron("0 0 29 2 *")


def calm(sync: Sync) -> Sync:
    """The same without a tick before the next leap year."""
    return replace(sync, schedules={kind: replace(default, cadence=HARDLY_EVER) for kind, default in sync.schedules.items()})


CALM: Final = {name: calm(sync) for name, sync in SYNCS.items()}
