"""Our syncs, of which none waits for another: a tick of the real clock must not leave a run that waits for a pull that no test begins."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from dispatcher.syncs.base import Default, RunType
from dispatcher.syncs.ghl_missed import GHL_MISSED
from dispatcher.syncs.table import SYNCS
from outbox.cadence import Cron

HARDLY_EVER: Final[Mapping[str, Default]] = {RunType.INCREMENTAL: Default(Cron("0 0 29 2 *"))}
CALM: Final = {**SYNCS, GHL_MISSED.name: replace(GHL_MISSED, schedules=HARDLY_EVER)}
