"""Builds what the handlers of a process share: the pool, and a client for each destination whose credentials are set."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from dispatcher.budget import SharedBudget
from dispatcher.clients.ghl import GhlClient
from dispatcher.clients.ghl_errors import classify_ghl
from dispatcher.clients.http import Http
from dispatcher.clients.notion import NotionClient
from dispatcher.clients.notion_errors import classify_notion
from dispatcher.config import DispatcherSettings
from dispatcher.context import Services
from dispatcher.policy.ratelimit import GHL_RATE, NOTION_RATE, ghl_limits, notion_limits
from outbox import db
from outbox.seal import fingerprint


@asynccontextmanager
async def services(dsn: str, settings: DispatcherSettings, *, pool_size: int = 16) -> AsyncIterator[Services]:
    """Open for the life of a dispatcher process. A database that is away does not stop the start."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(db.pool(dsn, name="postroom:handlers", size=pool_size))
        ghl = notion = None
        if settings.ghl_api_key is not None and settings.ghl_location_id is not None:
            budget = SharedBudget(pool, destination="ghl", credential=f"ghl:{settings.ghl_location_id}", rate=GHL_RATE)
            http = await stack.enter_async_context(
                Http(
                    "ghl",
                    str(settings.ghl_api_base_url),
                    token=settings.ghl_api_key,
                    classify=classify_ghl,
                    budget=budget,
                    read_limits=ghl_limits,
                )
            )
            ghl = GhlClient(http, settings.ghl_location_id)
        if settings.notion_api_key is not None:
            credential = f"notion:{fingerprint(settings.notion_api_key.get_secret_value())}"
            budget = SharedBudget(pool, destination="notion", credential=credential, rate=NOTION_RATE)
            http = await stack.enter_async_context(
                Http(
                    "notion",
                    str(settings.notion_api_base_url),
                    token=settings.notion_api_key,
                    classify=classify_notion,
                    budget=budget,
                    read_limits=notion_limits,
                )
            )
            notion = NotionClient(http)
        yield Services(pool, settings, ghl, notion)
