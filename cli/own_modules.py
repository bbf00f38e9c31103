"""Modules of the user's own, as a command finds them: also in the folder that it is called in."""

import sys
from pathlib import Path

from dispatcher import modules
from dispatcher.config import DispatcherSettings
from dispatcher.modules import Loaded, Own


def loaded(settings: DispatcherSettings) -> Loaded:
    """Our routes and theirs. Raises ConfigError that lists every fault of every module."""
    _find_here()
    return modules.load(settings.modules)


def found(settings: DispatcherSettings) -> tuple[Own, ...]:
    """Each with what it adds, or with its faults."""
    _find_here()
    return modules.look(settings.modules)


def destinations() -> set[str]:
    """Whom they write to."""
    every = found(DispatcherSettings.read())
    asked = {route.destination for one in every for route in one.routes.values()}
    asked |= {sync.destination for one in every for sync in one.syncs.values()}
    return {name for one in every for name in one.clients} | {name for name in asked if name is not None}


def _find_here() -> None:
    """As `python` does. Last, so that a file of that folder hides no installed package."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
