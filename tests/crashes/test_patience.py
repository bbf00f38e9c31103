"""Patience: a machine with other work is no slow healing, and slow healing is no busy machine."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crashes.evidence import HEALS_WITHIN_S
from tests.crashes.patience import Patience, family, heals_in_time, starved_s

ENDLESS = (sys.executable, "-c", "print(flush=True)\nwhile True: pass")


@contextmanager
def sharing_a_core() -> Iterator[list[int]]:
    """Two processes that compute without end, on one core; their pids."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        processes = [subprocess.Popen(ENDLESS, stdout=subprocess.PIPE) for _ in range(2)]
    finally:
        os.sched_setaffinity(0, cores)
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system does not count how long a process waits for a core")
async def test_time_without_a_core_does_not_count_and_time_asleep_does() -> None:
    with sharing_a_core() as pids:
        patience = Patience([pids])
        while patience.starved_s([pids]) < 0.1:  # noqa: ASYNC110 -- a core has no event
            await asyncio.sleep(0.02)
        waited_s = time.monotonic() - patience.at
        assert not patience.is_over(waited_s - 0.05, lambda: [pids])
        assert set(pids) <= set(family()[1])
    asleep = Patience([[os.getpid()]])
    await asyncio.sleep(0.05)
    assert asleep.is_over(0.01, lambda: [[]])


def test_of_each_kind_of_process_the_one_that_was_starved_longest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    starved = {1: 10.0, 2: 20.0, 3: 30.0}
    monkeypatch.setattr("tests.crashes.patience.starved_s", lambda pid: starved.get(pid, 0.0))
    patience = Patience([[1, 2], [3]])
    starved |= {1: 11.0, 2: 24.0, 3: 30.5, 4: 3.0}
    assert patience.starved_s([[1, 2], [3, 4]]) == 4.0 + 3.0
    assert patience.starved_s([[], [5]]) == 0.0
    del starved[2]  # it has ended
    assert patience.starved_s([[1, 2], [3]]) == 1.0 + 0.5


def test_who_has_ended_was_not_starved() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert starved_s(done.pid) == 0.0


def test_healing_that_is_slow_by_itself_fails_and_healing_that_had_no_core_does_not() -> None:
    heals_in_time(HEALS_WITHIN_S, starved_s=0.0)
    heals_in_time(HEALS_WITHIN_S + 4, starved_s=5.0)
    with pytest.raises(AssertionError, match=r"healed in 15\.5 s, for 0\.1 s of which there was no core"):
        heals_in_time(HEALS_WITHIN_S + 0.5, starved_s=0.1)
