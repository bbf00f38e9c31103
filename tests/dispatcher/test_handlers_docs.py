"""docs/handlers.md, run: its modules are loaded, its handlers do what the page says, at a simulated GHL and a mail service."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path_

import dispatcher
from dispatcher import handling
from dispatcher.config import DispatcherSettings
from dispatcher.modules import GROUP, load, look
from dispatcher.routes import told
from outbox import operators, sync_facts
from outbox.errors import NotNow
from outbox.kinds import ContactChange
from outbox.operators import Actor
from outbox.store import contacts, routes, wanted
from outbox.testing import Drain, Postroom, Pull
from simulators import samples
from simulators.ghl import GhlSimulator
from simulators.serving import serve
from tests.dispatcher.arriving import ghl_webhook
from tests.dispatcher.handling import fate

ROOT = Path(dispatcher.__file__).parents[1]
PAGE = (ROOT / "docs" / "handlers.md").read_text("utf-8")
EXAMPLES: dict[str, str] = dict(re.findall(r"<!-- example: ([\w -]+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
Ghl = tuple[GhlSimulator, str]


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules of the page, where Python finds them."""
    (tmp_path / "benefits.py").write_text(EXAMPLES["module"])
    (tmp_path / "welcome.py").write_text(EXAMPLES["client"])
    (tmp_path / "prices.py").write_text(EXAMPLES["sync"])
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("benefits", "welcome", "prices"):
        sys.modules.pop(name, None)


@pytest.fixture
async def shop(postroom: Postroom) -> AsyncIterator[Postroom]:
    """A database with the app's table of the page."""
    await postroom.pool.execute("drop table if exists benefits")
    await postroom.pool.execute(EXAMPLES["table"])
    yield postroom
    await postroom.pool.execute("drop table if exists benefits")


def with_module(settings: DispatcherSettings, name: str) -> DispatcherSettings:
    return settings.model_copy(update={"modules": (name,)})


async def benefits(shop: Postroom) -> list[Any]:
    return [row["benefit"] for row in await shop.rows("select benefit from benefits order by benefit")]


def test_every_block_of_code_is_an_example() -> None:
    assert len(EXAMPLES) == len(re.findall(r"^```(\w+)$", PAGE, re.MULTILINE)) == 10


async def test_tags_grant_and_revoke_benefits(shop: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator, settings = ghl[0], with_module(simulated, "benefits")

    async def webhook(kind: str, *tags: str) -> None:
        contact = simulator.put_contact("c1", firstName="Ada", tags=list(tags))
        await ghl_webhook(shop, samples.ghl_contact_event(kind, contact, app_id=samples.DEMO_APP_ID))
        await drain(settings=settings)

    await webhook("ContactCreate", "member-gold", "vip")
    assert await benefits(shop) == ["lounge"]
    await webhook("ContactTagUpdate", "member-spa", "vip")
    assert await benefits(shop) == ["spa"]
    await webhook("ContactTagUpdate", "member-spa")
    assert [event["why"] for event in await shop.staged("contact.changed")] == [
        '{"granted": ["lounge"], "revoked": []}',
        '{"granted": ["spa"], "revoked": ["lounge"]}',
        "no tag that is worth anything",
    ]
    contact = simulator.store.contacts.pop("c1")
    await ghl_webhook(shop, samples.ghl_contact_event("ContactDelete", contact, app_id=samples.DEMO_APP_ID))
    await drain(settings=settings)
    assert await benefits(shop) == []
    assert (await shop.totals())["dead"] == 0


async def test_all_contacts_that_are_here_already_are_gone_over_by_the_statement(shop: Postroom, drain: Drain) -> None:
    await shop.pool.execute(
        """insert into crm.contacts (ghl_contact_id, changed_at, content_hash, tags, deleted_at)
           values ('c1', now(), '', '{member-gold}', null), ('c2', now(), '', '{}', null), ('c3', now(), '', '{member-spa}', now())"""
    )
    await shop.pool.execute(EXAMPLES["all"])
    await drain(settings=with_module(DispatcherSettings.model_construct(), "benefits"))
    assert await shop.rows("select contact_id, benefit from benefits") == [{"contact_id": "c1", "benefit": "lounge"}]


async def test_the_test_example_passes(shop: Postroom, drain: Drain, simulated: DispatcherSettings) -> None:
    defined: dict[str, Any] = {}
    exec(compile(EXAMPLES["test"], "docs/handlers.md: test", "exec"), defined)
    await defined["test_a_tag_grants_a_benefit"](shop, drain, simulated)


async def test_the_payload_on_the_page_is_what_is_staged(postroom: Postroom) -> None:
    shown = json.loads(EXAMPLES["payload"])
    assert ContactChange.model_validate(shown).tags.added == {"member-gold"}
    await wanted.want(postroom.pool, {"contact.changed"})
    change = ContactChange.model_validate(shown)
    before = contacts.Contact("c1", change.changed_at, location_id=shown["location_id"], tags=tuple(change.tags.before))
    after = contacts.Contact(
        "c1",
        change.changed_at,
        location_id=shown["location_id"],
        tags=tuple(change.tags.after),
        email="ada@example.com",
        custom_fields={"membership": "gold"},
    )
    async with postroom.pool.acquire() as connection:
        await contacts.apply(connection, before)
        await contacts.apply(connection, after)
    assert json.loads((await postroom.staged())[1]["payload"]) == shown


@pytest.mark.parametrize("status", [200, 400, 401, 429, 503])
async def test_the_mailer_example_sends_one_mail_or_says_what_it_costs(
    postroom: Postroom, drain: Drain, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    asked: list[str] = []

    async def mails(request: Request) -> Response:
        asked.append(request.headers["idempotency-key"])
        return JSONResponse({"id": "m1"} if status == 200 else {}, status)

    async with serve(Starlette(routes=[Path_("/mails", mails, methods=["POST"])])) as running:
        monkeypatch.setenv("MAILER_URL", running.base_url)
        await wanted.want(postroom.pool, {"contact.changed"})
        await postroom.pool.execute("insert into crm.contacts (ghl_contact_id, changed_at, content_hash) values ('c1', now(), '')")
        await postroom.pool.execute("update crm.contacts set tags = '{vip}'")
        await drain(settings=with_module(DispatcherSettings.model_construct(), "welcome"))
    first, second = await postroom.staged()
    became = await fate(postroom, first["id"])
    assert len(asked) == 1
    match status:
        case 200:
            assert (became.state, became.why) == ("done", '{"mail": "m1"}')
            assert (second["state"], second["why"]) == ("skipped", "not new")
        case 400:
            assert (became.state, second["state"]) == ("dead", "skipped")
        case 401:
            assert (became.state, became.why, became.is_held) == ("pending", "held for mailer", True)
        case _:
            assert (became.state, became.failures, second["state"]) == ("pending", 0, "pending")


async def test_the_mailer_example_is_tested_by_its_own_call(postroom: Postroom, drain: Drain, monkeypatch: pytest.MonkeyPatch) -> None:
    async def account(request: Request) -> Response:
        return Response()

    with pytest.raises(NotNow):
        await operators.test(postroom.pool, Actor("otto", "cli"), "mailer")  # no dispatcher has said yet that it routes one
    own = with_module(DispatcherSettings.model_construct(), "welcome")
    async with postroom.pool.acquire() as connection:
        await routes.tell(connection, told(load(own.modules).routes))
    event = await operators.test(postroom.pool, Actor("otto", "cli"), "mailer")
    async with serve(Starlette(routes=[Path_("/account", account)])) as running:
        monkeypatch.setenv("MAILER_URL", running.base_url)
        await drain(settings=own)
    became = await fate(postroom, event)
    assert became.state == "done"
    assert '"works": true' in str(became.why)


async def test_without_an_address_the_mails_wait(postroom: Postroom, drain: Drain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILER_URL", raising=False)
    await wanted.want(postroom.pool, {"contact.changed"})
    await postroom.pool.execute("insert into crm.contacts (ghl_contact_id, changed_at, content_hash) values ('c1', now(), '')")
    await drain(settings=with_module(DispatcherSettings.model_construct(), "welcome"))
    assert [event["why"] for event in await postroom.staged()] == ["held for mailer"]


async def test_the_sync_example_keeps_the_prices_in_step(postroom: Postroom, pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: dict[str, Any] = {"apron": 900, "brush": 250, "cape": 1200}

    async def prices(request: Request) -> Response:
        after = request.query_params["after"]
        there = [{"item": item, "cents": cents} for item, cents in sorted(listed.items()) if item > after][:2]
        return JSONResponse({"items": there})

    await postroom.pool.execute("drop table if exists prices;" + EXAMPLES["prices table"])
    settings = with_module(DispatcherSettings.model_construct(), "prices")
    async with serve(Starlette(routes=[Path_("/prices", prices)])) as running:
        monkeypatch.setenv("SUPPLIER_URL", running.base_url)
        first = await pull("prices", settings=settings)
        assert (first["state"], first["counts"]["created"], first["pages"]) == ("done", 3, 2)
        listed |= {"brush": 300, "cape": "soon"}
        second = await pull("prices", "full", settings=settings)
        assert (second["counts"]["updated"], second["counts"]["unchanged"], second["errors_by"]) == (1, 1, {"validation": 1})
    assert await postroom.value("select sum(cents) from prices") == 900 + 300 + 1200
    facts = await sync_facts.one(postroom.pool, "prices")
    assert facts is not None
    assert (facts["destination"], facts["light"], [one["zone"] for one in facts["schedules"]]) == ("supplier", "green", ["Europe/Vienna"])
    await postroom.pool.execute("drop table prices")


def test_the_package_example_is_found_by_its_entry_point() -> None:
    [(name, value)] = tomllib.loads(EXAMPLES["package"])["project"]["entry-points"][GROUP].items()
    [own] = look((), installed=[EntryPoint(name=name, value=value, group=GROUP)])
    assert (own.faults, set(own.routes)) == ((), {"contact.changed"})
    assert EXAMPLES["run"].count("POSTROOM_MODULES=benefits postroom") == 2
    assert load(["benefits"], installed=()).routes["contact.changed"].handler.__name__ == "contact_changed"


def test_what_the_page_imports_is_what_is_promised() -> None:
    trees = [ast.walk(ast.parse(EXAMPLES[name])) for name in ("module", "client", "sync", "test")]
    imports = [node for tree in trees for node in tree if isinstance(node, ast.ImportFrom)]
    ours = {node.module: [alias.name for alias in node.names] for node in imports if str(node.module).startswith(("dispatcher", "outbox"))}
    assert ours.keys() == {"dispatcher.handling", "outbox"}
    assert set(ours["dispatcher.handling"]) <= set(handling.__all__)
