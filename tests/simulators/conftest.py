"""The two simulators and a client to each."""

from collections.abc import AsyncIterator

import httpx
import pytest

from simulators.ghl import GhlSimulator
from simulators.notion import NotionSimulator
from tests.simulators.clients import GHL_HEADERS, NOTION_HEADERS, open_api


@pytest.fixture
def ghl() -> GhlSimulator:
    return GhlSimulator()


@pytest.fixture
async def ghl_api(ghl: GhlSimulator) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(ghl.app, GHL_HEADERS) as client:
        yield client


@pytest.fixture
def notion() -> NotionSimulator:
    return NotionSimulator()


@pytest.fixture
async def notion_api(notion: NotionSimulator) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(notion.app, NOTION_HEADERS) as client:
        yield client
