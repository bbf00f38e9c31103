"""Modules of the user's own: the routes and clients that they add to ours. Owns finding, importing and checking them.

A module is named by POSTROOM_MODULES, or by an installed package (entry point group `postroom.modules`). It has

    ROUTES    kind -> Route, as in dispatcher/routes.py
    CLIENTS   destination -> a function that opens its client for the life of the process; may be left out

Nothing of ours is replaced: a kind or a destination that is taken is a fault. With any fault nothing is loaded, because a dispatcher
without a route that it should have would settle that route's events as skipped.
"""

import importlib
import inspect
import re
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from dispatcher.context import BUILT_IN
from dispatcher.routes import ROUTES, Route
from dispatcher.services import OpenClient
from outbox.errors import ConfigError
from outbox.event import KIND
from outbox.log import scrub

GROUP = "postroom.modules"
VARIABLE = "POSTROOM_MODULES"
DESTINATION = re.compile(r"[a-z][a-z0-9_-]{0,59}")
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Own:
    """One module. `named_by`: the variable, or the package whose entry point it is. With a fault it adds nothing."""

    name: str
    named_by: str
    routes: Mapping[str, Route] = field(default_factory=dict)
    clients: Mapping[str, OpenClient] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a process works with: our routes and those of the modules."""

    routes: Mapping[str, Route]
    clients: Mapping[str, OpenClient]
    modules: tuple[Own, ...]


def load(names: Collection[str], *, installed: Collection[EntryPoint] | None = None) -> Loaded:
    """Our routes, and those of the named and of the installed modules. Raises ConfigError that lists every fault of every module."""
    modules = look(names, installed=installed)
    faults = [f"  {one.name} (named by {one.named_by}) {fault}" for one in modules for fault in one.faults]
    if faults:
        raise ConfigError("These modules of your own cannot be used:\n" + "\n".join(faults))
    routes, clients = dict(ROUTES), dict[str, OpenClient]()
    for one in modules:
        routes |= one.routes
        clients |= one.clients
    return Loaded(routes, clients, modules)


def look(names: Collection[str], *, installed: Collection[EntryPoint] | None = None) -> tuple[Own, ...]:
    """Every module with what it adds, or its faults. One that is named twice is looked at once. `installed`: None asks the packages."""
    points = entry_points(group=GROUP) if installed is None else installed
    wanted = dict.fromkeys(names, VARIABLE)
    for point in sorted(points, key=lambda point: point.value):
        wanted.setdefault(point.value, f"the package {point.dist.name}" if point.dist is not None else f"the entry point {point.name}")
    kinds, destinations = dict.fromkeys(ROUTES, "Postroom itself"), dict.fromkeys(BUILT_IN, "Postroom itself")
    found: list[Own] = []
    for name, named_by in wanted.items():
        own = _one(name, named_by, kinds, destinations)
        kinds |= dict.fromkeys(own.routes, name)
        destinations |= dict.fromkeys(own.clients, name)
        found.append(own)
    return tuple(found)


def _one(name: str, named_by: str, kinds: Mapping[str, str], destinations: Mapping[str, str]) -> Own:
    module = _imported(name)
    if isinstance(module, str):
        return Own(name, named_by, faults=(module,))
    routes, clients = getattr(module, "ROUTES", None), getattr(module, "CLIENTS", {})
    faults = [*_faults_of_routes(routes, kinds), *_faults_of_clients(clients, destinations)]
    return Own(name, named_by, faults=tuple(faults)) if faults else Own(name, named_by, dict(routes or {}), dict(clients))


def _imported(name: str) -> ModuleType | str:
    """The module, or why there is none."""
    if not MODULE.fullmatch(name):
        return "is no module's name: write package.module"
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as problem:  # noqa: BLE001 -- others' code, that runs when it is imported
        place = traceback.extract_tb(problem.__traceback__)[-1]
        where = "" if "importlib" in place.filename else f" ({Path(place.filename).name}, line {place.lineno})"
        return f"cannot be imported: {type(problem).__name__}: {scrub(str(problem))[:200]}{where}"


def _faults_of_routes(routes: Any, kinds: Mapping[str, str]) -> Iterator[str]:
    if not isinstance(routes, Mapping):
        yield "has no ROUTES, a dict of kind to Route"
        return
    for kind, route in routes.items():
        if not isinstance(kind, str) or not KIND.fullmatch(kind):
            yield f"routes {str(kind)[:60]!r}, which is no kind: letters, digits, dots, dashes or colons, at most 120"
        elif (owner := kinds.get(kind)) is not None:
            yield f"routes {kind}, which is taken by {owner}: an event has one handler"
        elif (fault := _fault_of_route(route)) is not None:
            yield f"routes {kind} to {fault}"


def _fault_of_route(route: Any) -> str | None:
    if not isinstance(route, Route):
        return f"a {type(route).__name__}, not a Route(handler, …)"
    handler: Any = route.handler  # what the type promises is what is checked here
    called = getattr(handler, "__qualname__", type(handler).__name__)
    if not callable(handler):
        return f"a {called}, which is no function"
    inner = inspect.unwrap(handler)
    if not inspect.iscoroutinefunction(inner) and not inspect.iscoroutinefunction(getattr(inner, "__call__", None)):  # noqa: B004 -- of an object
        return f"{called}, which is not async: async def {called}(event: Claimed, ctx: Context) -> Outcome | Settled"
    try:
        inspect.signature(handler).bind(None, None)
    except TypeError:
        return f"{called}{inspect.signature(handler)}, which does not take (event, ctx)"
    if route.destination is not None and not DESTINATION.fullmatch(str(route.destination)):
        return f"the destination {str(route.destination)[:60]!r}, which is no lower-case word"
    deadline: Any = route.deadline_s
    if not isinstance(deadline, int | float) or not 0 < deadline < float("inf"):
        return f"{called} with the deadline {deadline!r}, which is no number of seconds"
    return None


def _faults_of_clients(clients: Any, destinations: Mapping[str, str]) -> Iterator[str]:
    if not isinstance(clients, Mapping):
        yield "has CLIENTS that is no dict of destination to a function"
        return
    for name, opened in clients.items():
        if not isinstance(name, str) or not DESTINATION.fullmatch(name):
            yield f"has a client for {str(name)[:60]!r}, which is no lower-case word"
        elif (owner := destinations.get(name)) is not None:
            yield f"has a client for {name}, which is taken by {owner}"
        elif not callable(opened):
            yield f"has a client for {name} that is no function which opens it"
