"""A process for tests that kill one in the middle of a refresh: GHL has answered, the pair is not stored. Says "answered" and waits."""

import asyncio
import os
import sys
from typing import Any

from pydantic import SecretStr

from dispatcher.clients import oauth
from dispatcher.config import DispatcherSettings
from dispatcher.services import services
from outbox.seal import Sealer
from outbox.store import connections


async def never(*_: Any, **__: Any) -> int:
    print("answered", flush=True)  # noqa: T201 -- the parent waits for it
    await asyncio.Event().wait()
    raise AssertionError


async def main() -> None:
    oauth.LEASE_S = 0.5  # type: ignore[misc] # the parent need not wait for the true one
    connections.store = never
    async with services(os.environ["DATABASE_URL"], DispatcherSettings.read(), sealer=Sealer([SecretStr(os.environ["KEY"])])) as shared:
        assert shared.accounts is not None
        await (await shared.accounts.client(os.environ["LOCATION"])).custom_fields()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
