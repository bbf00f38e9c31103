"""How much of the machine others took while we measured, so that a reader can judge the figures."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class Moment:
    """CPU seconds so far: of the whole machine, stolen by other machines of its host, idle, and spent by this run. None: not told here."""

    total_s: float
    stolen_s: float
    idle_s: float
    ours_s: float

    @classmethod
    def now(cls, postmaster: int | None = None) -> Self | None:
        """`postmaster`: the pid of the run's Postgres, which is no child of ours. None where there is no /proc/stat."""
        try:
            fields = [int(field) / os.sysconf("SC_CLK_TCK") for field in STAT.read_text("ascii").splitlines()[0].split()[1:9]]
        except OSError:
            return None
        return cls(sum(fields), stolen_s=fields[7], idle_s=fields[3] + fields[4], ours_s=_own_s() + _tree_s(postmaster))


@dataclass(frozen=True, slots=True)
class Noise:
    """Shares of the machine's time: stolen by its host, and used by processes that are none of this run's."""

    stolen: float
    others: float

    @classmethod
    def between(cls, before: Moment | None, after: Moment | None) -> Self | None:
        """None where it cannot be known."""
        if before is None or after is None or after.total_s <= before.total_s:
            return None
        total_s = after.total_s - before.total_s
        stolen_s, idle_s, ours_s = after.stolen_s - before.stolen_s, after.idle_s - before.idle_s, after.ours_s - before.ours_s
        return cls(round(stolen_s / total_s, 3), round(max(0.0, total_s - stolen_s - idle_s - ours_s) / total_s, 3))


def load() -> float | None:
    """Processes that want to run, on average over the last minute; before a run it should be near zero."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _own_s() -> float:
    """This process and those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _tree_s(postmaster: int | None) -> float:
    """A Postgres with its processes, those that have ended included."""
    if postmaster is None:
        return 0.0
    try:
        root = psutil.Process(postmaster)
        spent = sum(root.cpu_times()[:4])
        for child in root.children():
            spent += sum(child.cpu_times()[:2])
    except psutil.Error:
        return 0.0
    return float(spent)
