"""Modules of the user's own: the routes, syncs and clients that they add to ours. Owns finding, importing and checking them.

A module is named by POSTROOM_MODULES, or by an installed package (entry point group `postroom.modules`). It has

    ROUTES    kind -> Route, as in dispatcher/routes.py
    SYNCS     a list of Sync, as in dispatcher/syncs/table.py; one of the two may be left out
    CLIENTS   destination -> a function that opens its client for the life of the process; may be left out

Nothing of ours is replaced: a kind, a sync or a destination that is taken is a fault. With any fault nothing is loaded, because a
dispatcher without a route that it should have would settle that route's events as skipped.
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
from dispatcher.routes import ROUTES, Route, sync_routes
from dispatcher.services import OpenClient
from dispatcher.syncs.base import Default, Sync
from dispatcher.syncs.table import SYNCS
from outbox.errors import ConfigError
from outbox.event import KIND
from outbox.log import scrub

GROUP = "postroom.modules"
VARIABLE = "POSTROOM_MODULES"
DESTINATION = re.compile(r"[a-z][a-z0-9_-]{0,59}")
NAME = re.compile(r"[a-z][a-z0-9-]{0,59}")
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Own:
    """One module. `named_by`: the variable, or the package whose entry point it is. With a fault it adds nothing."""

    name: str
    named_by: str
    routes: Mapping[str, Route] = field(default_factory=dict)
    clients: Mapping[str, OpenClient] = field(default_factory=dict)
    syncs: Mapping[str, Sync] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a process works with: our routes and syncs, and those of the modules. `routes` has the runs of the syncs, too."""

    routes: Mapping[str, Route]
    syncs: Mapping[str, Sync]
    clients: Mapping[str, OpenClient]
    modules: tuple[Own, ...]


def load(names: Collection[str], *, installed: Collection[EntryPoint] | None = None) -> Loaded:
    """What is ours, and what the named and the installed modules add. Raises ConfigError that lists every fault of every module."""
    modules = look(names, installed=installed)
    faults = [f"  {one.name} (named by {one.named_by}) {fault}" for one in modules for fault in one.faults]
    if faults:
        raise ConfigError("These modules of your own cannot be used:\n" + "\n".join(faults))
    routes, syncs, clients = dict(ROUTES), dict(SYNCS), dict[str, OpenClient]()
    for one in modules:
        routes |= {**one.routes, **sync_routes(one.syncs)}
        syncs |= one.syncs
        clients |= one.clients
    return Loaded(routes, syncs, clients, modules)


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
        kinds |= dict.fromkeys((*own.routes, *sync_routes(own.syncs)), name)
        destinations |= dict.fromkeys(own.clients, name)
        found.append(own)
    return tuple(found)


def _one(name: str, named_by: str, kinds: Mapping[str, str], destinations: Mapping[str, str]) -> Own:
    module = _imported(name)
    if isinstance(module, str):
        return Own(name, named_by, faults=(module,))
    routes, syncs, clients = getattr(module, "ROUTES", {}), getattr(module, "SYNCS", ()), getattr(module, "CLIENTS", {})
    faults = [*_faults_of_routes(routes, kinds), *_faults_of_syncs(syncs, kinds), *_faults_of_clients(clients, destinations)]
    if not hasattr(module, "ROUTES") and not hasattr(module, "SYNCS"):
        faults = ["has neither ROUTES, a dict of kind to Route, nor SYNCS, a list of Sync"]
    if faults:
        return Own(name, named_by, faults=tuple(faults))
    return Own(name, named_by, dict(routes), dict(clients), {sync.name: sync for sync in syncs})


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
        yield "has ROUTES that is no dict of kind to Route"
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
    return _fault_of_terms(route, called)


def _fault_of_terms(one: Route | Sync, called: str) -> str | None:
    """Of what a route and a sync have in common."""
    if one.destination is not None and not DESTINATION.fullmatch(str(one.destination)):
        return f"the destination {str(one.destination)[:60]!r}, which is no lower-case word"
    deadline: Any = one.deadline_s
    if not isinstance(deadline, int | float) or not 0 < deadline < float("inf"):
        return f"{called} with the deadline {deadline!r}, which is no number of seconds"
    return None


def _faults_of_syncs(syncs: Any, kinds: Mapping[str, str]) -> Iterator[str]:
    if not isinstance(syncs, list | tuple):
        yield "has SYNCS that is no list of Sync"
        return
    taken = dict(kinds)
    for sync in syncs:
        if not isinstance(sync, Sync):
            yield f"has a {type(sync).__name__} among its SYNCS, not a Sync(name=…, run=…, types=…)"
        elif not NAME.fullmatch(str(sync.name)):
            yield f"has the sync {str(sync.name)[:60]!r}, whose name is no lower-case word with dashes"
        elif (owner := taken.get(f"sync.{sync.name}")) is not None:
            yield f"has the sync {sync.name}, whose name is taken by {owner}"
        elif (fault := _fault_of_sync(sync)) is not None:
            yield f"has the sync {sync.name} with {fault}"
        else:
            taken[f"sync.{sync.name}"] = "itself"


def _fault_of_sync(sync: Sync) -> str | None:
    run: Any = sync.run  # what the types promise is what is checked here
    called = getattr(run, "__qualname__", type(run).__name__)
    if not inspect.iscoroutinefunction(run) and not inspect.iscoroutinefunction(getattr(run, "__call__", None)):  # noqa: B004 -- of an object
        return f"{called}, which is not async: async def {called}(run: Run) -> None"
    try:
        inspect.signature(run).bind(None)
    except TypeError:
        return f"{called}{inspect.signature(run)}, which does not take (run)"
    types: Any = sync.types
    if not isinstance(types, list | tuple) or not types or not all(isinstance(one, str) and NAME.fullmatch(one) for one in types):
        return f"the types {str(types)[:60]}, which are no list of lower-case words such as incremental and full"
    for type_, default in sync.schedules.items():
        if type_ not in types or not isinstance(default, Default):
            return f"a schedule for {str(type_)[:40]!r}, which is none of its types or no Default(cadence)"
    if sync.is_per_account:
        return "a sync for each account, which only Postroom's own can be"
    return _fault_of_terms(sync, called)


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
