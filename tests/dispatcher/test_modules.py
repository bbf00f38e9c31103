"""Modules of the user's own: found, imported, checked whole, and refused with a reason before anything is claimed."""

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dispatcher import handling, modules
from dispatcher.config import DispatcherSettings
from dispatcher.modules import GROUP, load, look
from dispatcher.routes import ROUTES
from dispatcher.services import services
from dispatcher.syncs.table import SYNCS
from outbox import ConfigError, Event
from outbox.testing import Drain, Postroom
from tests.dispatcher.handling import fate
from tests.dispatcher.running import stage_all

GOOD = """
from dispatcher.handling import Done, Route
async def greet(event, ctx):
    return Done()
ROUTES = {"salon.booked": Route(greet)}
"""
SYNC = """
from dispatcher.handling import Default, Every, Sync
async def pull(run):
    return
SYNCS = [Sync(name="rates", run=pull, types=('full',), schedules={'full': Default(Every(60))})]
"""
Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def writing(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        made.append(name)
        return name

    yield writing
    for name in made:
        sys.modules.pop(name, None)


def of_package(value: str) -> EntryPoint:
    return EntryPoint(name="shop", value=value, group=GROUP)


def faults(*names: str) -> list[str]:
    return [fault for one in look(names, installed=()) for fault in one.faults]


def test_without_any_there_are_only_our_routes() -> None:
    loaded = load((), installed=())
    assert (loaded.routes, loaded.syncs, loaded.clients, loaded.modules) == (ROUTES, SYNCS, {}, ())


def test_its_routes_stand_beside_ours(write: Write) -> None:
    loaded = load([write("own_good", GOOD)], installed=())
    assert loaded.routes.keys() - ROUTES.keys() == {"salon.booked"}
    assert [(one.name, one.named_by) for one in loaded.modules] == [("own_good", "POSTROOM_MODULES")]


def test_its_syncs_stand_beside_ours_with_a_route_for_their_runs(write: Write) -> None:
    loaded = load([write("own_rates", SYNC)], installed=())
    assert loaded.syncs.keys() - SYNCS.keys() == {"rates"}
    assert loaded.routes.keys() - ROUTES.keys() == {"sync.rates"}


def test_a_sync_that_two_modules_want_is_taken_by_the_first(write: Write) -> None:
    assert faults(write("own_first", SYNC), write("own_second", SYNC)) == ["has the sync rates, whose name is taken by own_first"]


def test_an_installed_package_needs_no_variable_and_is_loaded_once(write: Write) -> None:
    name = write("own_installed", GOOD)
    [own] = look((), installed=[of_package(name)])
    assert (own.name, own.named_by, set(own.routes)) == (name, "the entry point shop", {"salon.booked"})
    [own] = look([name], installed=[of_package(name)])
    assert (own.named_by, own.faults) == ("POSTROOM_MODULES", ())


BROKEN = {
    "from nowhere import nothing": "cannot be imported: ModuleNotFoundError: No module named 'nowhere' (own_broken.py, line 1)",
    "def": "cannot be imported: SyntaxError",
    "raise SystemExit(3)": "cannot be imported: SystemExit: 3 (own_broken.py, line 1)",
    "X = 1\nraise RuntimeError('password=hunter2 is wrong')": "cannot be imported: RuntimeError",
    "X = 1": "has neither ROUTES, a dict of kind to Route, nor SYNCS, a list of Sync",
    "ROUTES = [1]": "has ROUTES that is no dict of kind to Route",
    GOOD.replace("salon.booked", "salon booked"): "routes 'salon booked', which is no kind",
    GOOD.replace("salon.booked", "ghl.ContactUpdate"): "routes ghl.ContactUpdate, which is taken by Postroom itself",
    GOOD.replace("Route(greet)", "greet"): "routes salon.booked to a function, not a Route(handler, …)",
    GOOD.replace("async def", "def"): "routes salon.booked to greet, which is not async",
    GOOD.replace("(event, ctx)", "(event)"): "routes salon.booked to greet(event), which does not take (event, ctx)",
    GOOD.replace("(event, ctx)", "(event, ctx, more)"): "routes salon.booked to greet(event, ctx, more), which does not take (event, ctx)",
    GOOD.replace("(event, ctx)", "(event, *, ctx)"): "routes salon.booked to greet(event, *, ctx), which does not take (event, ctx)",
    GOOD.replace("Route(greet)", "Route(7)"): "routes salon.booked to a int, which is no function",
    GOOD.replace("Route(greet)", "Route(greet, destination='Mail!')"): "the destination 'Mail!', which is no lower-case word",
    GOOD.replace("Route(greet)", "Route(greet, deadline_s=0)"): "with the deadline 0, which is no number of seconds",
    GOOD + "CLIENTS = 7": "has CLIENTS that is no dict",
    GOOD + "CLIENTS = {'ghl': greet}": "has a client for ghl, which is taken by Postroom itself",
    GOOD + "CLIENTS = {'mailer': 7}": "has a client for mailer that is no function which opens it",
    "SYNCS = 7": "has SYNCS that is no list of Sync",
    "SYNCS = [7]": "has a int among its SYNCS, not a Sync(name=…, run=…, types=…)",
    SYNC.replace("rates", "My rates"): "has the sync 'My rates', whose name is no lower-case word with dashes",
    SYNC.replace("rates", "ghl-contacts"): "has the sync ghl-contacts, whose name is taken by Postroom itself",
    SYNC.replace("SYNCS = [", "SYNCS = [Sync(name='rates', run=pull, types=('full',)), "): "whose name is taken by itself",
    SYNC.replace("async def", "def"): "has the sync rates with pull, which is not async",
    SYNC.replace("(run)", "()"): "has the sync rates with pull(), which does not take (run)",
    SYNC.replace("types=('full',)", "types='full'"): "has the sync rates with the types full, which are no list",
    SYNC.replace("{'full'", "{'nightly'"): "has the sync rates with a schedule for 'nightly', which is none of its types",
    SYNC.replace(
        "Default(Every(60))", "Every(60)"
    ): "has the sync rates with a schedule for 'full', which is none of its types or no Default",
    SYNC.replace("types=(", "is_per_account=True, types=("): "has the sync rates with a sync for each account",
    SYNC.replace("types=(", "destination='Rates!', types=("): "has the sync rates with the destination 'Rates!'",
}


@pytest.mark.parametrize(("text", "said"), BROKEN.items(), ids=[said[:50] for said in BROKEN.values()])
def test_a_fault_is_said_and_the_module_adds_nothing(write: Write, text: str, said: str) -> None:
    [own] = look([write("own_broken", text)], installed=())
    assert len(own.faults) == 1
    assert own.faults[0].startswith(said) or said in own.faults[0]
    assert (own.routes, own.syncs, own.clients) == ({}, {}, {})
    assert "hunter2" not in own.faults[0]


@pytest.mark.parametrize("name", ["", "../shop", "shop:ROUTES", "shop.", "own_nowhere", "own.nowhere"])
def test_a_name_that_leads_nowhere_is_a_fault(name: str) -> None:
    assert len(faults(name)) == 1


@pytest.mark.parametrize(
    "handler",
    [
        "class Greet:\n    async def __call__(self, event, ctx): ...\ngreet = Greet()\n",
        "import functools\nasync def greeting(word, event, ctx): ...\ngreet = functools.partial(greeting, 'hello')\n",
        "import functools\nasync def greeting(event, ctx): ...\n@functools.wraps(greeting)\ndef greet(*args): return greeting(*args)\n",
        "async def greet(event, ctx, more=None): ...\n",
    ],
    ids=["an object", "a partial", "decorated", "a default"],
)
def test_whatever_can_be_awaited_with_an_event_and_a_context_is_a_handler(write: Write, handler: str) -> None:
    text = f"from dispatcher.handling import Route\n{handler}ROUTES = {{'salon.booked': Route(greet)}}\n"
    assert faults(write("own_callable", text)) == []


def test_a_kind_that_two_modules_want_is_taken_by_the_first(write: Write) -> None:
    first, second = write("own_first", GOOD), write("own_second", GOOD)
    assert faults(first, second) == ["routes salon.booked, which is taken by own_first: an event has one handler"]


def test_all_faults_of_all_modules_are_said_together(write: Write) -> None:
    two_faults = GOOD.replace('{"salon.booked"', '{"a b": 1, "salon.moved": 2, "salon.booked"')
    with pytest.raises(ConfigError) as caught:
        load([write("own_one", two_faults), "own_nowhere", write("own_three", GOOD)], installed=())
    told = str(caught.value).splitlines()
    assert len(told) == 4
    assert [line.split()[0] for line in told[1:]] == ["own_one", "own_one", "own_nowhere"]


def test_what_is_promised_to_modules_is_there() -> None:
    assert all(hasattr(handling, name) for name in handling.__all__)
    assert modules.GROUP == "postroom.modules"


CLIENT = """
from contextlib import asynccontextmanager
from dispatcher.handling import Done, Route
opened = []
@asynccontextmanager
async def open_mailer():
    opened.append("opened")
    yield {client}
    opened.append("closed")
async def mail(event, ctx):
    return Done({{"mail": ctx.client("mailer", list)[0]}})
CLIENTS = {{"mailer": open_mailer}}
ROUTES = {{"salon.booked": Route(mail, destination="mailer")}}
"""


def settings(name: str) -> DispatcherSettings:
    return DispatcherSettings.model_construct(modules=(name,))


async def test_its_client_is_opened_for_the_life_of_the_process(postroom: Postroom, drain: Drain, write: Write) -> None:
    name = write("own_client", CLIENT.format(client="['mail 7']"))
    [event] = await stage_all(postroom, Event("salon.booked", {}))
    await drain(settings=settings(name))
    assert (await fate(postroom, event)).why == '{"mail": "mail 7"}'
    assert sys.modules[name].opened == ["opened", "closed"]


async def test_events_of_a_client_that_is_not_set_up_wait(postroom: Postroom, drain: Drain, write: Write) -> None:
    [event] = await stage_all(postroom, Event("salon.booked", {}))
    await drain(settings=settings(write("own_unset", CLIENT.format(client="None"))))
    became = await fate(postroom, event)
    assert (became.state, became.why, became.is_held) == ("pending", "held for mailer", True)


async def test_a_client_of_another_class_is_a_failure_that_says_so(postroom: Postroom, drain: Drain, write: Write) -> None:
    [event] = await stage_all(postroom, Event("salon.booked", {}))
    await drain(settings=settings(write("own_other", CLIENT.format(client="{}"))))
    assert "has a list as its client 'mailer', but dict" in ((await fate(postroom, event)).why or "")


async def test_a_client_that_cannot_be_opened_stops_the_start(postroom: Postroom, write: Write) -> None:
    loaded = load([write("own_closed", CLIENT.format(client="1 / 0"))], installed=())
    with pytest.raises(ConfigError, match="your own client 'mailer' cannot be opened: ZeroDivisionError"):
        async with services(postroom.dsn, DispatcherSettings.model_construct(), own=loaded.clients):
            pass
