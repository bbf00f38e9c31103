"""Both simulators as one process of their own: what `postroom simulate` runs.

Owns assembling and the one line that says where they are; says nothing about how the process was started.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass

from simulators.ghl import GhlSettings, GhlSimulator
from simulators.notion import NotionSettings, NotionSimulator
from simulators.samples import DEMO_VERIFICATION_TOKEN
from simulators.serving import serve
from simulators.signing import GhlSigner
from simulators.webhooks import WebhookSender


@dataclass(frozen=True, slots=True)
class Addresses:
    """Base URLs of what is up."""

    ghl: str
    notion: str


def print_addresses(addresses: Addresses) -> None:
    """One JSON line on standard output, for a parent that waits for it."""
    sys.stdout.write(json.dumps(asdict(addresses)) + "\n")
    sys.stdout.flush()


async def run(
    ghl_port: int,
    notion_port: int,
    *,
    host: str = "127.0.0.1",
    ghl: GhlSettings | None = None,
    notion: NotionSettings | None = None,
    ghl_webhooks_to: str | None = None,
    notion_webhooks_to: str | None = None,
    notion_verification_token: str = DEMO_VERIFICATION_TOKEN,
    ready: Callable[[Addresses], None] = print_addresses,
) -> None:
    """Serve both until cancelled; port 0 takes a free one. Webhooks go out when a target is named, signed with the demo key and token.

    OSError when a port is taken.
    """
    async with AsyncExitStack() as stack:
        ghl_sender = notion_sender = None
        if ghl_webhooks_to is not None:
            ghl_sender = await stack.enter_async_context(WebhookSender.ghl(ghl_webhooks_to, GhlSigner.for_demo()))
        if notion_webhooks_to is not None:
            notion_sender = await stack.enter_async_context(WebhookSender.notion(notion_webhooks_to, notion_verification_token))
        at_ghl = await stack.enter_async_context(serve(GhlSimulator(ghl, webhooks=ghl_sender).app, host=host, port=ghl_port))
        at_notion = await stack.enter_async_context(serve(NotionSimulator(notion, webhooks=notion_sender).app, host=host, port=notion_port))
        ready(Addresses(at_ghl.base_url, at_notion.base_url))
        await asyncio.get_running_loop().create_future()
