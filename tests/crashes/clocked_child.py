"""A dispatcher process on a host whose clock is set while it runs: dispatcher_child, with another wall clock.

What is stepped is what Python reads of the wall clock: time.time, time.time_ns and now, utcnow and today of datetime, everywhere, because
they are replaced before anything else is imported. The monotonic clock goes on evenly, as it does on a host whose clock is set. Each
SIGUSR2 takes the next step, in seconds, of CLOCK_STEPS, and says `stepped` with the time that the process then believes in.
"""

import datetime
import os
import signal
import time
from datetime import datetime as _real_datetime
from itertools import accumulate
from typing import Any

_real_time, _real_time_ns = time.time, time.time_ns
_offset_s = 0


class _Kind(type):
    """Every datetime is one of ours, whoever made it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real_datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _real_datetime)


class _Stepped(_real_datetime, metaclass=_Kind):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _real_datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return _real_datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:
        return _real_datetime.fromtimestamp(time.time(), datetime.UTC).astimezone().replace(tzinfo=None)


def step_with(offsets: list[int]) -> None:
    """Replaces the clocks, and sets them further by a signal."""
    time.time = lambda: _real_time() + _offset_s
    time.time_ns = lambda: _real_time_ns() + _offset_s * 1_000_000_000
    datetime.datetime = _Stepped  # type: ignore[misc]
    coming = iter(offsets)

    def step(*_: object) -> None:
        global _offset_s  # noqa: PLW0603 -- a host has one clock
        _offset_s = next(coming)
        os.write(1, f"stepped {datetime.datetime.now(datetime.UTC).isoformat()}\n".encode())

    signal.signal(signal.SIGUSR2, step)


if __name__ == "__main__":
    step_with(list(accumulate(int(step) for step in os.environ["CLOCK_STEPS"].split(","))))
    from tests.crashes import dispatcher_child

    dispatcher_child.run()
