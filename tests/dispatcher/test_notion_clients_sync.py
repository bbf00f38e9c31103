"""notion-clients: whatever happens to the walk, in the end crm.clients has what Notion shows, and nothing is deleted."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import AnyHttpUrl, SecretStr

from dispatcher import services as services_module
from dispatcher.config import DispatcherSettings
from dispatcher.policy.ratelimit import Rate
from dispatcher.services import services
from dispatcher.syncs import notion_clients
from dispatcher.syncs.notion_clients import NOTION_CLIENTS, Place
from dispatcher.syncs.table import SYNCS
from outbox.cadence import Cron
from outbox.store import clients, runs
from outbox.testing import Postroom
from simulators import samples
from simulators.notion import NotionSettings, NotionSimulator
from simulators.notion_store import NotionStore
from simulators.serving import serve
from simulators.shapes import JsonObject, iso_ms
from tests.dispatcher.openapi import OpenApi
from tests.dispatcher.running import WorkerProcess
from tests.dispatcher.syncing import asked, carried_out, register, run_row
from tests.specs import specs_path

LONG_AGO = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
COLUMNS = ("name=title", "slug=bDf%5B", "contact_email=XGe%40", "products_services=ms%5E1")
NAME = "notion-clients"


class Workspace:
    """A simulated Notion with rows of known edit times, and the settings that lead to it."""

    def __init__(self, simulator: NotionSimulator, url: str) -> None:
        self.simulator = simulator
        self.settings = DispatcherSettings.model_construct(
            notion_api_key=SecretStr(simulator.settings.token),
            notion_api_base_url=AnyHttpUrl(url),
            notion_client_properties=COLUMNS,
            notion_clients_data_source=samples.DEMO_DATABASE_ID,
        )

    def row(self, name: str, *, minute: int = 0, content: list[Any] | None = None, page_id: str | None = None) -> JsonObject:
        """A row that was edited that many minutes after LONG_AGO."""
        page = self.simulator.put_page(page_id, values={"Name": name, "Slug": name.lower()}, content=content)
        self.edited(page["id"], LONG_AGO + timedelta(minutes=minute))
        return page

    def edited(self, page_id: str, at: datetime) -> None:
        self.simulator.store.pages[page_id]["last_edited_time"] = iso_ms(at.replace(second=0, microsecond=0))

    def asked_for(self, path: str) -> int:
        return self.simulator.requests.count(path=path)


@asynccontextmanager
async def workspace_of(settings: NotionSettings) -> AsyncIterator[Workspace]:
    simulator = NotionSimulator(settings)
    async with serve(simulator.app) as running:
        yield Workspace(simulator, running.base_url)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_module, "NOTION_RATE", Rate(per_s=1000, burst=1000))
    monkeypatch.setattr(notion_clients, "PAGE", 2)


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    async with workspace_of(NotionSettings(requests_per_minute=1_000_000, limit_rows=4)) as made:
        yield made


async def synced(postroom: Postroom, workspace: Workspace, type_: str = "incremental", **more: Any) -> dict[str, Any]:
    """A run of this type, carried out; its row."""
    await register(postroom, NOTION_CLIENTS, settings=workspace.settings)
    run_id = await asked(postroom, NAME, type_, **more)
    await carried_out(postroom, NOTION_CLIENTS, settings=workspace.settings)
    return await run_row(postroom, run_id)


async def names(postroom: Postroom) -> list[str]:
    return [row["name"] for row in await postroom.rows("select name from crm.clients order by name")]


async def client(postroom: Postroom, page: JsonObject) -> dict[str, Any]:
    [row] = await postroom.rows("select * from crm.clients where notion_page_id = $1", UUID(page["id"]))
    return row


def counts(row: dict[str, Any]) -> dict[str, int]:
    return {word: row[word] for word in ("total", "created", "updated", "unchanged", "skipped", "errors") if row[word]}


async def watermark(postroom: Postroom) -> Any:
    return await postroom.value("select watermark from outbox.syncs where name = $1", NAME)


@pytest.mark.parametrize("version", ["2026-03-11", "2025-09-03"])
async def test_rows_become_clients_with_their_texts_and_are_left_alone_when_nothing_changed(
    postroom: Postroom, workspace: Workspace, version: str, sent: list[Any]
) -> None:
    workspace.settings = workspace.settings.model_copy(update={"notion_api_version": version})
    page = workspace.row("Ada", content=["Likes it short."])
    workspace.row("Eve", minute=1)
    workspace.row("Zoe", minute=2)
    first = await synced(postroom, workspace)
    assert (first["state"], counts(first)) == ("done", {"total": 3, "created": 3})
    row = await client(postroom, page)
    assert (row["name"], row["slug"], row["client_page_info"]) == ("Ada", "ada", "Likes it short.")
    assert row["data_source_id"] == UUID(samples.DEMO_DATA_SOURCE_ID)
    assert await watermark(postroom) == first["until"]

    texts = workspace.asked_for("/v1/blocks/*/children")
    again = await synced(postroom, workspace, hours_back=87_600)
    assert counts(again) == {"total": 3, "unchanged": 3}
    assert workspace.asked_for("/v1/blocks/*/children") == texts, "texts that were read after their minute had ended are not read again"
    assert await watermark(postroom) == again["until"]
    assert {request.headers["notion-version"] for request in sent} == {version}


async def test_each_request_is_as_the_official_file_wants_it(postroom: Postroom, workspace: Workspace, sent: list[Any]) -> None:
    spec = OpenApi(specs_path("notion/notion-openapi.json"), unknown_to_it=("$.sorts",))
    page = workspace.row("Ada")
    await synced(postroom, workspace)
    workspace.simulator.put_page(page["id"], in_trash=True)
    await synced(postroom, workspace, "full")
    assert {spec.check(request) for request in sent} == {
        "GET /v1/databases/{database_id}",
        "GET /v1/data_sources/{data_source_id}",
        "POST /v1/data_sources/{data_source_id}/query",
        "GET /v1/blocks/{block_id}/children",
        "GET /v1/pages/{page_id}",
    }


async def test_only_what_was_edited_since_the_watermark_is_read(postroom: Postroom, workspace: Workspace) -> None:
    old, fresh = workspace.row("Ada"), workspace.row("Eve")
    await synced(postroom, workspace)
    await postroom.pool.execute("update crm.clients set name = 'untouched'")
    workspace.simulator.put_page(fresh["id"], values={"Name": "Evelyn"})
    row = await synced(postroom, workspace)
    assert counts(row) == {"total": 1, "updated": 1}
    assert (await client(postroom, fresh))["name"] == "Evelyn"
    assert (await client(postroom, old))["name"] == "untouched"


async def test_hours_back_say_from_when(postroom: Postroom, workspace: Workspace) -> None:
    workspace.row("Ada")
    recent = workspace.row("Eve")
    workspace.edited(recent["id"], datetime.now(UTC) - timedelta(hours=3))
    assert counts(await synced(postroom, workspace, hours_back=4)) == {"total": 1, "created": 1}
    assert await names(postroom) == ["Eve"]


async def test_a_second_edit_within_the_minute_of_the_last_run_is_found(postroom: Postroom, workspace: Workspace) -> None:
    page = workspace.simulator.put_page(values={"Name": "Ada"}, content=["first"])
    await synced(postroom, workspace)
    edited = workspace.simulator.store.pages[page["id"]]["last_edited_time"]
    workspace.simulator.put_page(page["id"], content=["second"])
    workspace.simulator.store.pages[page["id"]]["last_edited_time"] = edited
    assert counts(await synced(postroom, workspace)) == {"total": 1, "updated": 1}
    assert (await client(postroom, page))["client_page_info"] == "second"


async def test_more_rows_than_one_query_gives_are_all_read(postroom: Postroom, workspace: Workspace) -> None:
    """Eleven rows where a query ends at four: some of them share their minute, within what a query gives."""
    for number in range(11):
        workspace.row(f"Client {number:02}", minute=number * 2 // 3)
    row = await synced(postroom, workspace, "full")
    assert (row["state"], counts(row)) == ("done", {"total": 11, "created": 11})
    assert len(await names(postroom)) == 11


async def test_more_rows_in_one_minute_than_a_query_gives_are_said_and_the_watermark_stays(
    postroom: Postroom, workspace: Workspace
) -> None:
    for number in range(6):
        workspace.row(f"Client {number}", minute=3)
    workspace.row("Ada", minute=1)
    workspace.row("Zoe", minute=9)
    row = await synced(postroom, workspace)
    assert (row["state"], row["errors"], row["errors_by"]) == ("done", 1, '{"api": 1}')
    assert {"Ada", "Zoe"} < set(await names(postroom))
    assert await watermark(postroom) is None
    [error] = await runs.records(postroom.pool, row["id"], what=runs.What.ERROR)
    assert "more rows were edited within one minute than Notion gives" in error["note"]


async def once(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Does it before the first client is written."""
    real, did = clients.apply, list[object]()

    async def apply(*args: Any) -> Any:
        if not did:
            did.append(act())
        return await real(*args)

    monkeypatch.setattr(clients, "apply", apply)


async def test_rows_that_are_edited_during_the_walk_are_met_at_its_end(
    postroom: Postroom, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [workspace.row(f"Client {number}", minute=number) for number in range(6)]

    def edit() -> None:
        for page in (pages[2], pages[3]):  # the very next ones
            workspace.simulator.put_page(page["id"], values={"Name": "Edited"})

    await once(monkeypatch, edit)
    row = await synced(postroom, workspace)
    assert row["state"] == "done"
    assert await names(postroom) == ["Client 0", "Client 1", "Client 4", "Client 5", "Edited", "Edited"]


async def test_a_cursor_whose_row_is_gone_begins_its_minute_again(
    postroom: Postroom, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = sorted((workspace.row(f"Client {number}", minute=1) for number in range(4)), key=lambda page: str(page["id"]))
    real, queries = NotionStore.rows, []

    def rows(store: NotionStore, data_source_id: str) -> list[JsonObject]:
        queries.append(data_source_id)
        if len(queries) == 3:  # the first page, the same by its minute, and then by the cursor
            store.remove_page(pages[2]["id"])
        return real(store, data_source_id)

    monkeypatch.setattr(NotionStore, "rows", rows)
    row = await synced(postroom, workspace)
    assert (row["state"], row["errors"]) == ("done", 0)
    assert len(await names(postroom)) == 3


async def test_what_is_not_shown_any_more_is_kept_and_what_lies_in_the_trash_is_marked(postroom: Postroom, workspace: Workspace) -> None:
    hidden, trashed, removed = (workspace.row(name, content=[f"{name}'s text"]) for name in ("Hid", "Tra", "Rem"))
    workspace.row("Ada", minute=1)
    await synced(postroom, workspace)
    workspace.simulator.put_page(hidden["id"], is_shared=False)
    workspace.simulator.put_page(trashed["id"], in_trash=True)
    workspace.simulator.remove_page(removed["id"])
    assert counts(await synced(postroom, workspace)) == {}, "a query shows none of them"
    row = await synced(postroom, workspace, "full")
    assert (row["updated"], row["skipped"], row["deleted"], row["errors"]) == (1, 2, 0, 0)
    assert len(await names(postroom)) == 4
    in_trash = await client(postroom, trashed)
    assert (in_trash["in_trash"], in_trash["client_page_info"]) == (True, "Tra's text")
    assert not (await client(postroom, hidden))["in_trash"]
    again = await synced(postroom, workspace, "full")
    assert (again["updated"], again["skipped"]) == (0, 2)
    assert await postroom.value("select count(*) from outbox.run_seen") == 0


async def test_a_row_that_is_un_shared_between_query_and_text_is_skipped(postroom: Postroom, workspace: Workspace) -> None:
    workspace.row("Ada")
    workspace.simulator.faults.add("answer", "/v1/blocks/*/children", status=404)
    row = await synced(postroom, workspace)
    assert (row["state"], counts(row)) == ("done", {"total": 1, "skipped": 1})


def un_share(workspace: Workspace) -> None:
    workspace.simulator.store.databases.clear()
    workspace.simulator.store.data_sources.clear()


def lose_a_property(workspace: Workspace) -> None:
    del workspace.simulator.store.data_sources[samples.DEMO_DATA_SOURCE_ID]["properties"]["Slug"]


def trash(workspace: Workspace) -> None:
    workspace.simulator.store.data_sources[samples.DEMO_DATA_SOURCE_ID]["in_trash"] = True


def add_another_source(workspace: Workspace) -> None:
    workspace.simulator.store.databases[samples.DEMO_DATABASE_ID]["data_sources"].append({"id": "x", "name": "Another"})


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (un_share, "Notion does not show what NOTION_CLIENTS_DATA_SOURCE names"),
        (lose_a_property, "has no property of that id: slug=bDf%5B; correct NOTION_CLIENT_PROPERTIES"),
        (trash, "lies in Notion's trash"),
        (add_another_source, "has not exactly one data source"),
    ],
    ids=["not shared", "a property lost", "in the trash", "several sources"],
)
async def test_a_data_source_that_is_not_as_it_must_be_pauses_the_sync_with_its_reason(
    postroom: Postroom, workspace: Workspace, spoil: Callable[[Workspace], None], why: str
) -> None:
    workspace.row("Ada")
    await synced(postroom, workspace)
    before = await watermark(postroom)
    spoil(workspace)
    row = await synced(postroom, workspace)
    assert row["state"] == "failed"
    [sync] = await postroom.rows("select paused_by, paused_why, watermark from outbox.syncs where name = $1", NAME)
    assert sync["paused_by"] == "postroom"
    assert why in sync["paused_why"]
    assert sync["watermark"] == before
    assert await names(postroom) == ["Ada"]


async def test_a_property_that_is_renamed_goes_on_filling_its_column(postroom: Postroom, workspace: Workspace) -> None:
    page = workspace.row("Ada")
    await synced(postroom, workspace)
    schema = workspace.simulator.store.data_sources[samples.DEMO_DATA_SOURCE_ID]["properties"]
    schema["Handle"] = {**schema.pop("Slug"), "name": "Handle"}
    properties = workspace.simulator.store.pages[page["id"]]["properties"]
    properties["Handle"] = properties.pop("Slug")
    workspace.simulator.put_page(page["id"], values={"Handle": "countess"})
    assert counts(await synced(postroom, workspace)) == {"total": 1, "updated": 1}
    assert (await client(postroom, page))["slug"] == "countess"


@pytest.mark.parametrize(("kind", "status"), [("answer", 429), ("answer", 529), ("answer", 500), ("drop", 503), ("garble", 503)], ids=str)
async def test_a_run_that_notion_interrupts_goes_on_behind_its_last_page(
    postroom: Postroom, workspace: Workspace, kind: str, status: int
) -> None:
    for number in range(6):
        workspace.row(f"Client {number}", minute=number)
    times, headers = (1, {"retry-after": "1"}) if status in (429, 529) else (2, {})
    workspace.simulator.faults.add("garble", "/v1/data_sources/*/query", method="POST")
    workspace.simulator.faults.add(kind, "/v1/blocks/*/children", status=status, headers=headers, times=times)
    row = await synced(postroom, workspace)
    assert (row["state"], row["created"], row["errors"]) == ("done", 6, 0)
    assert sum(json.loads(row["errors_by"]).values()) == times + 1
    assert len(await names(postroom)) == 6


@pytest.mark.long
async def test_a_run_whose_process_was_killed_goes_on_behind_its_last_page(postroom: Postroom, workspace: Workspace) -> None:
    """The process has the real budget of three calls a second; so only the last of the rows, where it dies, need a call for their text."""
    texts = [workspace.row(f"Client {number:02}", minute=number)["id"] for number in range(51)]
    # What is known of the first fifty needs no call for its text, so that the first page is quick.
    await postroom.pool.execute(
        """insert into crm.clients (notion_page_id, edited_at, content_hash)
           select id, $2::timestamptz + interval '1 minute' * (n - 1), '' from unnest($1::uuid[]) with ordinality t(id, n)""",
        [UUID(page_id) for page_id in texts[:50]],
        LONG_AGO,
    )
    await register(postroom, *SYNCS.values(), settings=workspace.settings)
    run_id = await asked(postroom, NAME)
    hang = workspace.simulator.faults.add("hang", "/v1/blocks/*/children")
    async with WorkerProcess(postroom.dsn, workspace.settings) as first:
        await asyncio.wait_for(workspace.simulator.faults.wait_hanging(), 20)
        await first.end(signal.SIGKILL)
    before = await run_row(postroom, run_id)
    assert before["state"] == "running"
    assert before["updated"] > 40
    workspace.simulator.faults.release(hang)
    await carried_out(postroom, NOTION_CLIENTS, settings=workspace.settings, within_s=40)
    row = await run_row(postroom, run_id)
    assert (row["state"], row["updated"], row["created"], row["errors"]) == ("done", 50, 1, 0), "each of them once"
    assert len(await names(postroom)) == 51
    outcomes = await postroom.rows("select outcome::text from outbox.attempts where event_id = $1 order by attempt", run_id)
    assert [one["outcome"] for one in outcomes] == ["c", "d"]


async def test_a_rehearsal_says_what_it_would_do(postroom: Postroom, workspace: Workspace) -> None:
    workspace.row("Ada")
    row = await synced(postroom, workspace, dry_run=True)
    assert counts(row) == {"total": 1, "created": 1}
    assert await names(postroom) == []
    assert await watermark(postroom) is None


async def test_without_a_key_or_a_data_source_it_is_off_and_says_what_is_missing(postroom: Postroom, workspace: Workspace) -> None:
    async def off(**without: Any) -> str | None:
        async with services(postroom.dsn, workspace.settings.model_copy(update=without)) as shared:
            return NOTION_CLIENTS.off(shared)

    assert await off() is None
    assert await off(notion_api_key=None) == "NOTION_API_KEY is missing"
    assert await off(notion_clients_data_source=None) == "NOTION_CLIENTS_DATA_SOURCE is missing"


def test_it_runs_every_two_hours_of_a_working_day_in_new_york() -> None:
    cadence = NOTION_CLIENTS.schedules["incremental"].cadence
    assert isinstance(cadence, Cron)
    new_york = ZoneInfo("America/New_York")
    friday = datetime(2026, 3, 6, 8, 0, tzinfo=new_york)  # the clocks change on that weekend
    ticks = [tick.astimezone(new_york) for tick in islice(cadence.after(friday), 6)]
    assert [(tick.strftime("%a"), tick.hour) for tick in ticks] == [*(("Fri", hour) for hour in (9, 11, 13, 15, 17)), ("Mon", 9)]


def test_the_place_of_a_walk_survives_a_checkpoint() -> None:
    place = Place(since=LONG_AGO.isoformat(), cursor="c", met=["p"], done=7, again=1, has_gap=True)
    assert Place(**json.loads(json.dumps(asdict(place)))) == place
