"""How these tests talk to a simulator: real HTTP to a served app, with the headers that the provider wants."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
from starlette.types import ASGIApp

from simulators.samples import DEMO_GHL_TOKEN, DEMO_NOTION_TOKEN
from simulators.serving import serve

GHL_HEADERS = {"Authorization": f"Bearer {DEMO_GHL_TOKEN}", "Version": "2021-07-28"}
CALENDARS = {"Version": "2021-04-15"}
NOTION_HEADERS = {"Authorization": f"Bearer {DEMO_NOTION_TOKEN}", "Notion-Version": "2025-09-03"}


@asynccontextmanager
async def open_api(app: ASGIApp, headers: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that is served for as long as the block lasts."""
    async with (
        serve(app) as running,
        httpx.AsyncClient(base_url=running.base_url, headers=headers, trust_env=False, verify=False) as client,
    ):
        yield client
