"""The calls of the simulated Notion API, as functions from a call to the body of its answer, and their table.

They raise Refusal for any other answer. No I/O, no headers: `notion` does that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from starlette.datastructures import QueryParams

from simulators.effects import Effects
from simulators.notion_blocks import markdown
from simulators.notion_query import page_of, query
from simulators.notion_rules import (
    DATA_SOURCES_SINCE,
    MARKDOWN_SINCE,
    MAX_PAGE_SIZE,
    NO_ARCHIVED_SINCE,
    Code,
    Refusal,
    check_properties_of_body,
    checked_id,
    invalid,
    not_found,
)
from simulators.notion_store import NotionStore, PageChange
from simulators.notion_values import written_value
from simulators.samples import DEMO_BOT_ID
from simulators.shapes import JsonObject

_PATCHABLE = {"properties", "in_trash", "archived", "icon", "cover", "is_locked"}


@dataclass(frozen=True, slots=True)
class NotionCall:
    """A request that passed token, version and limits."""

    store: NotionStore
    effects: Effects
    changed: Callable[[PageChange], None]
    path: Mapping[str, str]
    query: QueryParams
    body: JsonObject
    version: str
    limit_rows: int

    def page(self) -> JsonObject:
        """The page of the path; one in the trash can still be fetched."""
        page_id = checked_id(self.path["page_id"], "page_id")
        page = self.store.visible_page(page_id)
        if page is None:
            raise not_found("page", page_id)
        return page

    def data_source(self) -> JsonObject:
        """A database's id is not a data source's: 404."""
        if self.version < DATA_SOURCES_SINCE:
            raise Refusal(400, Code.INVALID_URL, "Invalid request URL.")
        data_source_id = checked_id(self.path["data_source_id"], "data_source_id")
        if data_source_id not in self.store.data_sources:
            raise not_found("data_source", data_source_id)
        return self.store.data_sources[data_source_id]


Endpoint: TypeAlias = Callable[[NotionCall], JsonObject]


def get_me(_: NotionCall) -> JsonObject:
    owner = {"type": "workspace", "workspace": True}
    bot = {"owner": owner, "workspace_name": "Example Salon"}
    return {"object": "user", "id": DEMO_BOT_ID, "name": "Postroom demo", "avatar_url": None, "type": "bot", "bot": bot}


def get_page(call: NotionCall) -> JsonObject:
    return _shown(call, call.page())


def update_page(call: NotionCall) -> JsonObject:
    """Property values by name or id; all are checked before any is written."""
    page, body = call.page(), call.body
    check_properties_of_body(body, _PATCHABLE if call.version < NO_ARCHIVED_SINCE else _PATCHABLE - {"archived"})
    in_trash = body.get("in_trash", body.get("archived"))
    if in_trash is not None and not isinstance(in_trash, bool):
        raise invalid("body failed validation: body.in_trash should be a boolean.")
    given = body.get("properties", {})
    if not isinstance(given, dict):
        raise invalid("body failed validation: body.properties should be an object.")
    change = call.store.write_page(page, _written(call, page, given), in_trash=in_trash)
    page |= {name: body[name] for name in ("icon", "cover", "is_locked") if name in body}
    call.effects.add("page.update", page["id"], page_id=page["id"])
    call.changed(change)
    return _shown(call, page)


def get_markdown(call: NotionCall) -> JsonObject:
    if call.version < MARKDOWN_SINCE:
        raise invalid(f"Notion-Version header failed validation: the page-markdown endpoints require {MARKDOWN_SINCE} or later.")
    page_id = call.page()["id"]
    text, unknown = markdown(call.store.children_of(page_id), call.store.children_of)
    return {"object": "page_markdown", "id": page_id, "markdown": text, "truncated": False, "unknown_block_ids": unknown}


def get_children(call: NotionCall) -> JsonObject:
    """Of a page or of a block."""
    block_id = checked_id(call.path["block_id"], "block_id")
    if call.store.visible_page(block_id) is None and not _is_visible_block(call.store, block_id):
        raise not_found("block", block_id)
    rows, has_more, cursor = page_of(
        call.store.children_of(block_id), call.query.get("page_size", str(MAX_PAGE_SIZE)), call.query, where="query"
    )
    if call.version >= NO_ARCHIVED_SINCE:
        rows = [{name: value for name, value in row.items() if name != "archived"} for row in rows]
    return {"object": "list", "results": rows, "has_more": has_more, "next_cursor": cursor, "type": "block", "block": {}}


def get_data_source(call: NotionCall) -> JsonObject:
    return call.data_source()


def query_data_source(call: NotionCall) -> JsonObject:
    found = query(call.store.rows(call.data_source()["id"]), call.body, limit_rows=call.limit_rows)
    return {**found, "results": [_shown(call, page) for page in found["results"]]}


def get_database(call: NotionCall) -> JsonObject:
    """Before 2025-09-03 a database showed its only source's properties, and one with several could not be read at all."""
    database_id = checked_id(call.path["database_id"], "database_id")
    database = call.store.databases.get(database_id)
    if database is None:
        raise not_found("database", database_id)
    if call.version >= DATA_SOURCES_SINCE:
        return database
    sources = database["data_sources"]
    if len(sources) > 1:
        raise invalid("Databases with multiple data sources are not supported in this API version.")
    shown = {name: value for name, value in database.items() if name != "data_sources"}
    return {**shown, "properties": call.store.data_sources[sources[0]["id"]]["properties"]}


def _shown(call: NotionCall, page: JsonObject) -> JsonObject:
    """A page in the caller's version, with only the properties asked for by `filter_properties`."""
    shown = {name: value for name, value in page.items() if name != "archived" or call.version < NO_ARCHIVED_SINCE}
    wanted = call.query.getlist("filter_properties")
    if wanted:
        shown["properties"] = {name: value for name, value in page["properties"].items() if value["id"] in wanted or name in wanted}
    return shown


def _written(call: NotionCall, page: JsonObject, given: JsonObject) -> dict[str, JsonObject]:
    schema = call.store.schema_of(page)
    name_of = {entry["id"]: name for name, entry in schema.items()} | {name: name for name in schema}
    unknown = [key for key in given if key not in name_of]
    if unknown:
        raise invalid(" ".join(f"{key} is not a property that exists." for key in unknown))
    return {name_of[key]: written_value(key, schema[name_of[key]], value) for key, value in given.items()}


def _is_visible_block(store: NotionStore, block_id: str) -> bool:
    while block_id in store.blocks:
        parent = store.blocks[block_id]["parent"]
        block_id = parent[parent["type"]]
        if store.visible_page(block_id) is not None:
            return True
    return False


RULES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/v1/users/me", get_me),
    ("GET", "/v1/pages/{page_id}", get_page),
    ("PATCH", "/v1/pages/{page_id}", update_page),
    ("GET", "/v1/pages/{page_id}/markdown", get_markdown),
    ("GET", "/v1/blocks/{block_id}/children", get_children),
    ("GET", "/v1/data_sources/{data_source_id}", get_data_source),
    ("POST", "/v1/data_sources/{data_source_id}/query", query_data_source),
    ("GET", "/v1/databases/{database_id}", get_database),
)
