"""What the long-running commands share: their log, their event loop, and what a signal does."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from cli import lifeline
from outbox.config import DatabaseSettings
from outbox.log import configure

T = TypeVar("T")


def configure_log(settings: DatabaseSettings, *, quiet: bool = False) -> None:
    """As POSTROOM_LOG_FORMAT and POSTROOM_LOG_LEVEL say. `quiet`: where no level is set, only what somebody should look at."""
    level = "warning" if quiet and "log_level" not in settings.model_fields_set else settings.log_level
    configure(json=None if settings.log_format == "auto" else settings.log_format == "json", level=level)


def run(main: Coroutine[Any, Any, T], *, stop_with_parent: bool = False) -> T:
    """Runs it on uvloop where there is one. As a child of `postroom up` it ends with its parent."""
    if stop_with_parent:
        lifeline.watch()
    try:
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:  # not made for every platform
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def on_signals(asked: Callable[[], None]) -> None:
    """Calls `asked` for each SIGTERM and each Ctrl-C, in the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
