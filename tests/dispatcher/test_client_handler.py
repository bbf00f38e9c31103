"""Notion page events → crm.clients: page and text are fetched and mapped by property id; nothing that is only hidden is deleted."""

import json
from typing import Any
from uuid import UUID

import pytest

from dispatcher.clients.notion_models import NotionPage, NotionProperty
from dispatcher.clients.notion_values import NotionDate, NotionFile, Value
from dispatcher.config import DispatcherSettings
from dispatcher.handlers.notion_pages import client_of
from outbox import Event
from outbox.testing import Drain, Postroom
from simulators import samples
from simulators.notion import NotionSimulator
from simulators.shapes import JsonObject, parse_instant
from tests.dispatcher.arriving import notion_webhook
from tests.dispatcher.handling import fate
from tests.dispatcher.running import stage_all

Notion = tuple[NotionSimulator, str]
MAPPED = ("name=title", "slug=bDf%5B", "contact_email=XGe%40", "products_services=ms%5E1")
VALUES: dict[str, object] = {
    "Name": "Example Salon",
    "Slug": "example-salon",
    "Contact email": "hello@example.com",
    "Products and services": ["Colour", "Cut"],
    "Visits": 12,
    "VIP": True,
    "Next visit": "2026-12-01",
}


@pytest.fixture
def mapped(simulated: DispatcherSettings) -> DispatcherSettings:
    """With all four columns mapped."""
    return simulated.model_copy(update={"notion_client_properties": MAPPED})


async def client(postroom: Postroom, page: JsonObject) -> dict[str, Any]:
    [row] = await postroom.rows("select * from crm.clients where notion_page_id = $1", UUID(page["id"]))
    return row


async def tell(postroom: Postroom, kind: str, page: JsonObject) -> int:
    return await notion_webhook(postroom, samples.notion_page_event(kind, page))


async def made(postroom: Postroom, drain: Drain, settings: DispatcherSettings, simulator: NotionSimulator, **values: object) -> JsonObject:
    """A page that is a client already."""
    page = simulator.put_page(values={**VALUES, **values}, content=["Likes it short.", {"type": "heading_1", "text": "History"}])
    await tell(postroom, "page.created", page)
    await drain(settings=settings)
    return page


async def test_a_new_page_becomes_a_client(postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion) -> None:
    page = notion[0].put_page(
        values=VALUES,
        content=[
            "Likes it short.",
            {"type": "toggle", "text": "History", "children": [{"type": "to_do", "text": "Call", "checked": True}]},
        ],
    )
    event_id = await tell(postroom, "page.created", page)
    await drain(settings=mapped)
    assert (await fate(postroom, event_id)).why == '{"client": "created"}'
    row = await client(postroom, page)
    assert {name: row[name] for name in ("name", "slug", "contact_email", "products_services", "client_page_info", "in_trash")} == {
        "name": "Example Salon",
        "slug": "example-salon",
        "contact_email": "hello@example.com",
        "products_services": ["Colour", "Cut"],
        "client_page_info": "Likes it short.\n- History\n  [x] Call",
        "in_trash": False,
    }
    assert (row["data_source_id"], row["url"]) == (UUID(samples.DEMO_DATA_SOURCE_ID), page["url"])
    assert row["edited_at"] == parse_instant(page["last_edited_time"])


async def test_every_property_is_kept_by_its_id_as_plain_json(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    page = await made(postroom, drain, mapped, notion[0])
    properties = json.loads((await client(postroom, page))["properties"])
    assert properties["n%7C1"] == 12
    assert properties["ck%3A1"] is True
    assert properties["ms%5E1"] == ["Colour", "Cut"]
    assert properties["dt%401"] == {"start": "2026-12-01", "end": None, "time_zone": None}
    assert properties["DbAu"] is None


async def test_a_changed_property_changes_the_client(postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion) -> None:
    page = await made(postroom, drain, mapped, notion[0])
    notion[0].put_page(page["id"], values={"Slug": "salon-two", "Contact email": None, "Products and services": []})
    event_id = await tell(postroom, "page.properties_updated", page)
    await drain(settings=mapped)
    assert (await fate(postroom, event_id)).why == '{"client": "updated"}'
    row = await client(postroom, page)
    assert (row["slug"], row["contact_email"], row["products_services"]) == ("salon-two", None, [])


async def test_changed_text_within_the_same_minute_changes_the_client(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    """Notion's times know no seconds: equal means unknown."""
    page = await made(postroom, drain, mapped, notion[0])
    changed = notion[0].put_page(page["id"], content=["Likes it long."])
    notion[0].store.pages[page["id"]]["last_edited_time"] = page["last_edited_time"]
    await tell(postroom, "page.content_updated", changed)
    await drain(settings=mapped)
    assert (await client(postroom, page))["client_page_info"] == "Likes it long."


async def test_a_page_that_has_not_changed_is_skipped(postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion) -> None:
    page = await made(postroom, drain, mapped, notion[0])
    before = await client(postroom, page)
    event_id = await tell(postroom, "page.content_updated", page)
    await drain(settings=mapped)
    assert (await fate(postroom, event_id)).why == "the client is as new as Notion's page"
    assert await client(postroom, page) == before


async def test_an_answer_older_than_the_client_is_not_applied(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    page = await made(postroom, drain, mapped, notion[0])
    stored = notion[0].store.pages[page["id"]]
    notion[0].put_page(page["id"], values={"Slug": "stale"})
    stored["last_edited_time"] = "2020-01-01T00:00:00.000Z"
    event_id = await tell(postroom, "page.properties_updated", page)
    await drain(settings=mapped)
    assert (await fate(postroom, event_id)).state == "skipped"
    assert (await client(postroom, page))["slug"] == "example-salon"


# ── in the trash, gone, hidden


async def test_a_page_in_the_trash_is_marked_and_its_client_keeps_what_it_knows(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    page = await made(postroom, drain, mapped, notion[0])
    text = (await client(postroom, page))["client_page_info"]
    notion[0].put_page(page["id"], in_trash=True)
    calls = notion[0].requests.count("GET", "/v1/blocks/**")
    await tell(postroom, "page.deleted", page)
    await drain(settings=mapped)
    row = await client(postroom, page)
    assert (row["in_trash"], row["name"], row["client_page_info"]) == (True, "Example Salon", text)
    assert notion[0].requests.count("GET", "/v1/blocks/**") == calls  # the text of what lies in the trash is not asked for


async def test_a_page_taken_out_of_the_trash_is_a_client_again(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    page = await made(postroom, drain, mapped, notion[0])
    for in_trash, kind in ((True, "page.deleted"), (False, "page.undeleted")):
        notion[0].put_page(page["id"], in_trash=in_trash, content=["New text."])
        await tell(postroom, kind, page)
        await drain(settings=mapped)
    row = await client(postroom, page)
    assert (row["in_trash"], row["client_page_info"]) == (False, "New text.")


async def test_a_page_that_was_in_the_trash_when_first_seen_is_known_without_its_text(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    page = notion[0].put_page(values=VALUES, content=["Secret"], in_trash=True)
    await tell(postroom, "page.deleted", page)
    await drain(settings=mapped)
    row = await client(postroom, page)
    assert (row["in_trash"], row["client_page_info"]) == (True, None)


@pytest.mark.parametrize("how", ["removed for good", "no longer shared"])
async def test_a_page_that_is_not_shown_deletes_nothing(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion, how: str
) -> None:
    """Notion's answer is the same for both."""
    page = await made(postroom, drain, mapped, notion[0])
    before = await client(postroom, page)
    if how == "removed for good":
        notion[0].remove_page(page["id"])
    else:
        notion[0].put_page(page["id"], is_shared=False)
    event_id = await tell(postroom, "page.deleted", page)
    await drain(settings=mapped)
    assert (
        await fate(postroom, event_id)
    ).why == "Notion does not show the page: removed for good, or no longer shared; the client is kept"
    assert await client(postroom, page) == before


async def test_a_page_removed_between_the_page_and_its_text_is_skipped(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    page = notion[0].put_page(values=VALUES, content=["Text"])
    notion[0].faults.add("answer", "/v1/blocks/**", status=404)
    event_id = await tell(postroom, "page.created", page)
    await drain(settings=mapped)
    assert (await fate(postroom, event_id)).state == "skipped"
    assert await postroom.value("select count(*) from crm.clients") == 0


# ── the mapping


async def test_a_renamed_property_is_still_the_same_property(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    page = await made(postroom, drain, mapped, notion[0])
    stored = notion[0].store.pages[page["id"]]
    stored["properties"]["Short name"] = {**stored["properties"].pop("Slug"), "rich_text": [{"plain_text": "renamed"}]}
    await tell(postroom, "page.properties_updated", page)
    await drain(settings=mapped)
    assert (await client(postroom, page))["slug"] == "renamed"


@pytest.mark.parametrize(
    "properties",
    [MAPPED, ("name=title", "slug=bDf[", "contact_email=XGe@", "products_services=ms^1")],
    ids=["as the API writes it", "decoded, as a person reads it"],
)
async def test_property_ids_may_be_given_percent_encoded_or_not(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, notion: Notion, properties: tuple[str, ...]
) -> None:
    settings = simulated.model_copy(update={"notion_client_properties": properties})
    row = await client(postroom, await made(postroom, drain, settings, notion[0]))
    assert (row["name"], row["slug"], row["contact_email"]) == ("Example Salon", "example-salon", "hello@example.com")
    assert row["products_services"] == ["Colour", "Cut"]


async def test_without_a_mapping_the_title_is_the_name(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, notion: Notion
) -> None:
    row = await client(postroom, await made(postroom, drain, simulated, notion[0]))
    assert (row["name"], row["slug"], row["contact_email"], row["products_services"]) == ("Example Salon", None, None, [])


async def test_a_mapping_to_a_property_that_is_not_there_leaves_the_column_empty(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, notion: Notion
) -> None:
    settings = simulated.model_copy(update={"notion_client_properties": ("name=title", "slug=nope")})
    row = await client(postroom, await made(postroom, drain, settings, notion[0]))
    assert (row["name"], row["slug"]) == ("Example Salon", None)


def page_with(kind: str, value: Value) -> NotionPage:
    at = parse_instant("2026-11-01T10:00:00Z")
    assert at is not None
    return NotionPage(samples.DEMO_PAGE_ID, at, at, None, in_trash=False, properties={"p": NotionProperty("p", "P", kind, value)}, url=None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("text", "text"), ("", None), ("a\x00b", "ab"), (7, "7"), (1.5, "1.5"), (True, None), (("a",), None), (None, None)],
)
def test_a_text_column_takes_texts_and_numbers(value: Value, expected: str | None) -> None:
    assert client_of(page_with("any", value), "", {"slug": "p"}).slug == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(("Cut", "Colour"), ("Cut", "Colour")), ("Cut", ("Cut",)), ("", ()), (None, ()), (7, ()), ((1, "a"), ("1", "a"))],
)
def test_the_list_column_takes_lists_and_a_single_choice(value: Value, expected: tuple[str, ...]) -> None:
    assert client_of(page_with("any", value), "", {"products_services": "p"}).products_services == expected


def test_values_of_every_shape_become_plain_json() -> None:
    day = parse_instant("2026-12-01T09:30:00Z")
    assert day is not None
    value: Value = (NotionDate(day.date(), None, None), day, ("a", None))
    kept = client_of(page_with("rollup", value), "", {}).properties
    assert kept == {"p": [{"start": "2026-12-01", "end": None, "time_zone": None}, "2026-12-01T09:30:00+00:00", ["a", None]]}


def test_the_signed_address_of_a_file_is_neither_kept_nor_a_change() -> None:
    """It is another one at each reading."""
    one, other = (client_of(page_with("files", (NotionFile("plan.pdf", f"https://files.example.com/{n}"),)), "", {}) for n in "ab")
    assert one == other
    assert one.properties == {"p": ["plan.pdf"]}


# ── which pages


async def test_rows_of_the_named_database_only_become_clients(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    """Named as a browser shows it, without dashes."""
    settings = mapped.model_copy(update={"notion_clients_data_source": samples.DEMO_DATABASE_ID.replace("-", "")})
    ours = await made(postroom, drain, settings, notion[0])
    other = notion[0].put_page(values=VALUES)
    notion[0].store.pages[other["id"]]["parent"] = {"type": "data_source_id", "data_source_id": "0da7a500-ce00-4000-8000-00000000000f"}
    event_id = await tell(postroom, "page.created", other)
    await drain(settings=settings)
    assert (await fate(postroom, event_id)).why == "the page is a row of another data source"
    assert [row["notion_page_id"] for row in await postroom.rows("select notion_page_id from crm.clients")] == [UUID(ours["id"])]


async def test_a_named_data_source_that_notion_does_not_show_is_a_matter_for_a_person(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    """Skipped, every page would be lost without a word."""
    settings = mapped.model_copy(update={"notion_clients_data_source": "0da7a500-ce00-4000-8000-00000000000f"})
    event_id = await tell(postroom, "page.created", notion[0].put_page(values=VALUES))
    await drain(settings=settings)
    found = await fate(postroom, event_id)
    assert found.state == "dead"
    assert found.why is not None
    assert found.why.startswith("Notion does not show what NOTION_CLIENTS_DATA_SOURCE names")


async def test_a_page_that_is_no_row_is_skipped(postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion) -> None:
    page = notion[0].put_page(values=VALUES)
    notion[0].store.pages[page["id"]]["parent"] = {"type": "page_id", "page_id": samples.DEMO_PAGE_ID}
    event_id = await tell(postroom, "page.created", page)
    await drain(settings=mapped)
    assert (await fate(postroom, event_id)).why == "the page is no row of a data source"
    assert await postroom.value("select count(*) from crm.clients") == 0


async def test_an_event_that_names_no_page_is_skipped_without_a_call(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    ids = await stage_all(
        postroom,
        Event("notion.page.created", {}, source="notion"),
        Event("notion.page.created", {}, lane=f"notion:database:{samples.DEMO_DATABASE_ID}", source="notion"),
    )
    await drain(settings=mapped)
    assert {(await fate(postroom, event_id)).why for event_id in ids} == {"the event names no page"}
    assert notion[0].requests.total == 0


# ── the text


async def test_a_text_too_long_to_be_read_whole_ends_with_an_ellipsis(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    page = notion[0].put_page(values=VALUES, content=["x" * 60_000, "y" * 60_000])
    await tell(postroom, "page.created", page)
    await drain(settings=mapped)
    text = (await client(postroom, page))["client_page_info"]
    assert text.endswith("\n…")
    assert 99_000 < len(text) <= 100_010


async def test_a_text_of_many_blocks_is_read_page_by_page(
    postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion
) -> None:
    page = notion[0].put_page(values=VALUES, content=[f"line {n}" for n in range(230)])
    await tell(postroom, "page.created", page)
    await drain(settings=mapped)
    assert (await client(postroom, page))["client_page_info"] == "\n".join(f"line {n}" for n in range(230))
    assert notion[0].requests.count("GET", "/v1/blocks/*/children") == 3


async def test_an_empty_page_has_no_text(postroom: Postroom, drain: Drain, mapped: DispatcherSettings, notion: Notion) -> None:
    page = notion[0].put_page(values={"Name": ""})
    await tell(postroom, "page.created", page)
    await drain(settings=mapped)
    row = await client(postroom, page)
    assert (row["name"], row["client_page_info"]) == (None, None)
