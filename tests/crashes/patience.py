"""How long is too long on a machine with other work: while a process of ours was ready to run and had no core, no time counts.

Linux tells how long that was, for each process (/proc/PID/schedstat). Elsewhere the clock alone counts. What waits for a lease, a time
limit or an answer waits with or without a core, so that slow healing is found on any machine.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import psutil

from tests.crashes.evidence import HEALS_WITHIN_S

Kinds: TypeAlias = Sequence[Iterable[int]]  # pids of processes that do the same beside each other, kind by kind


def starved_s(pid: int) -> float:
    """How long a process was ready to run without running, since it began. 0.0 when it has ended, or nobody counts."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


class Patience:
    """Counts from its making. Kinds of processes wait for each other by turns; of a kind the one that was starved longest counts."""

    def __init__(self, kinds: Kinds) -> None:
        self.at = time.monotonic()
        self._before = {pid: starved_s(pid) for kind in kinds for pid in kind}

    def starved_s(self, kinds: Kinds) -> float:
        """So much of the time that went by does not count. Who has come since then counts from its beginning."""
        return sum(max((max(0.0, starved_s(pid) - self._before.get(pid, 0.0)) for pid in kind), default=0.0) for kind in kinds)

    def is_over(self, within_s: float, kinds: Callable[[], Kinds]) -> bool:
        """Whether more than so much has gone by that counts. The processes are asked for when the clock says so."""
        waited_s = time.monotonic() - self.at
        return waited_s > within_s and waited_s - self.starved_s(kinds()) > within_s


def family() -> Kinds:
    """This process, and those that it started."""
    return [os.getpid()], [child.pid for child in psutil.Process().children(recursive=True)]


def heals_in_time(healed_s: float, *, starved_s: float) -> None:
    """P9, of what took so long by the clock."""
    told = f"healed in {healed_s:.1f} s, for {starved_s:.1f} s of which there was no core"
    assert healed_s - starved_s <= HEALS_WITHIN_S, told
