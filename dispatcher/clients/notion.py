"""Notion: pages with all their values, page text, data sources and their rows. Reads only; retries nothing.

A page answers only once: what comes back cut (long relations) or in pages (blocks, rows) is followed here, within bounds.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

from dispatcher.clients.answer import Json, items, member, text
from dispatcher.clients.http import Http, Params
from dispatcher.clients.notion_blocks import Reading
from dispatcher.clients.notion_models import NotionDataSource, NotionPage, PageText, QueryPage, read_data_source, read_page
from dispatcher.clients.notion_values import dashed
from dispatcher.errors import Failed, Gone, Refused

VERSION: Final = "2026-03-11"
PAGE_SIZE: Final = 100
CUT_AT: Final = 25
CUT_TYPES: Final = ("title", "rich_text", "relation", "people")
MAX_PAGES: Final = 100  # of one property: 10,000 references, as many as Notion's own queries give


class NotionClient:
    """`urgency` of every call: 0 = live, 1 = bulk; for_bulk() is the same client at the end of the queue."""

    def __init__(self, http: Http, version: str = VERSION, *, urgency: int = 0) -> None:
        self._http, self._version, self._urgency = http, version, urgency
        self._resolved: dict[str, str] = {}

    def for_bulk(self) -> "NotionClient":
        """This client for syncs and repairs; it shares the pool and the budget."""
        bulk = NotionClient(self._http, self._version, urgency=1)
        bulk._resolved = self._resolved
        return bulk

    async def whoami(self) -> str:
        """The id of the bot that the token belongs to."""
        return str(member(await self._call("GET", "v1", "users", "me"), "id"))

    async def get_page(self, page_id: str) -> NotionPage:
        """The page with every value whole: one call, and one more for each value that came back cut at 25 references.

        Gone: removed for good, or no longer shared with us; a page in the trash still comes, with in_trash.
        """
        return await self._whole_page(await self._call("GET", "v1", "pages", dashed(page_id)))

    async def _whole_page(self, page: Json) -> NotionPage:
        properties, identifier = member(page, "properties"), text(member(page, "id"))
        if isinstance(page, dict) and isinstance(properties, dict):
            cut = {name: await self._whole_value(identifier, value) for name, value in properties.items() if _is_cut(value)}
            page = {**page, "properties": {**properties, **cut}}
        return read_page(page, destination=self._http.destination)

    async def _whole_value(self, page_id: str, value: Json) -> Json:
        kind, identifier = text(member(value, "type")), text(member(value, "id"))
        # The id comes percent-encoded already; path() encodes, so it is decoded first, and a hostile one still cannot leave its segment.
        path = ("v1", "pages", dashed(page_id), "properties", unquote(identifier))
        whole: list[Json] = [member(item, kind) async for item in self._walk(path)]
        return {"id": identifier, "type": kind, kind: whole}

    async def _walk(self, path: tuple[str, ...]) -> AsyncIterator[Json]:
        """The items of a paginated list; Refused beyond MAX_PAGES, so that no answer keeps us busy for ever."""
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            answer = await self._call("GET", *path, params=_cursor_params(cursor))
            for item in self._results(answer):
                yield item
            cursor = self._next_cursor(answer)
            if cursor is None:
                return
        raise Refused(self._http.destination, f"a property has more than {MAX_PAGES * PAGE_SIZE:,} references")

    async def get_page_text(self, page_id: str, *, max_depth: int = 5, max_calls: int = 40, max_chars: int = 100_000) -> PageText:
        """The plain text of the page's blocks, nested ones indented, in reading order; sub-pages appear by title only.

        One call for a hundred blocks and one for each block with children: bounded by `max_calls`.
        """
        reading = Reading(max_depth=max_depth, max_calls=max_calls, max_chars=max_chars)
        await self._read_blocks(dashed(page_id), reading, depth=0)
        return PageText(reading.text(), reading.truncated)

    async def _read_blocks(self, parent: str, reading: Reading, *, depth: int) -> None:
        cursor: str | None = None
        while reading.may_call():
            answer = await self._call("GET", "v1", "blocks", parent, "children", params=_cursor_params(cursor))
            for block in self._results(answer):
                children_of = reading.add(block, depth)
                if children_of is not None:
                    await self._read_blocks(children_of, reading, depth=depth + 1)
                if reading.truncated:
                    return
            cursor = self._next_cursor(answer)
            if cursor is None:
                return

    async def query_data_source(
        self, data_source_id: str, *, edited_since: datetime | None = None, cursor: str | None = None, page_size: int = PAGE_SIZE
    ) -> QueryPage:
        """Up to `page_size` rows (at most 100) with every value whole, least recently edited first; rows in the trash are not among them.

        `edited_since` is inclusive, and Notion rounds times down to the minute: overlap by two minutes and compare contents.
        """
        body: dict[str, object] = {"page_size": page_size, "sorts": [{"timestamp": "last_edited_time", "direction": "ascending"}]}
        if edited_since is not None:
            since = edited_since.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            body["filter"] = {"timestamp": "last_edited_time", "last_edited_time": {"on_or_after": since}}
        if cursor is not None:
            body["start_cursor"] = cursor
        answer = await self._call("POST", "v1", "data_sources", dashed(data_source_id), "query", json=body)
        rows = [row for row in self._results(answer) if member(row, "object") != "data_source"]  # a wiki holds both
        pages = [await self._whole_page(row) for row in rows]
        return QueryPage(tuple(pages), self._next_cursor(answer), incomplete=member(answer, "request_status", "type") == "incomplete")

    async def get_data_source(self, data_source_id: str) -> NotionDataSource:
        """The schema of a data source."""
        answer = await self._call("GET", "v1", "data_sources", dashed(data_source_id))
        return read_data_source(answer, destination=self._http.destination)

    async def resolve_data_source(self, identifier: str) -> str:
        """The data source id for a database id (what a browser's address shows) or a data source id; asked once.

        Refused when the database has several data sources: `details` lists them, so that one can be chosen.
        """
        known = self._resolved.get(identifier)
        if known is None:
            known = self._resolved[identifier] = await self._resolve(dashed(identifier))
        return known

    async def _resolve(self, identifier: str) -> str:
        try:
            answer = await self._call("GET", "v1", "databases", identifier)
        except Gone:
            return (await self.get_data_source(identifier)).id
        sources = [
            (found, text(member(item, "name"))) for item in items(member(answer, "data_sources")) if (found := text(member(item, "id")))
        ]
        if len(sources) != 1:
            listed = tuple(f"{name}: {found}" for found, name in sources)
            raise Refused(self._http.destination, "the database has not exactly one data source; set the id of one", details=listed)
        return dashed(sources[0][0])

    def _results(self, answer: Json) -> list[Json]:
        """The list, which has to be there: taken for empty, it would end a walk early."""
        results = member(answer, "results")
        if not isinstance(results, list):
            raise Failed(self._http.destination, "the answer has no list of results")
        return results

    def _next_cursor(self, answer: Json) -> str | None:
        if member(answer, "has_more") is not True:
            return None
        cursor = member(answer, "next_cursor")
        if not isinstance(cursor, str) or not cursor:
            raise Failed(self._http.destination, "the answer has more, but does not say where")
        return cursor

    async def _call(self, method: str, *segments: str, params: Params | None = None, json: Mapping[str, object] | None = None) -> Json:
        path = self._http.path(*segments)
        return await self._http.call(
            method, path, params=params, json=json, headers={"notion-version": self._version}, urgency=self._urgency
        )


def _cursor_params(cursor: str | None) -> Params:
    return {"page_size": PAGE_SIZE} if cursor is None else {"page_size": PAGE_SIZE, "start_cursor": cursor}


def _is_cut(value: Json) -> bool:
    kind = member(value, "type")
    if not isinstance(kind, str) or kind not in CUT_TYPES:
        return False
    return member(value, "has_more") is True or len(items(member(value, kind))) >= CUT_AT
