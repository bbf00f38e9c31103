"""A receiver process for tests that kill one: settings from the environment, its port on standard output."""

import asyncio
import os
import sys

import uvicorn

from outbox.seal import Sealer
from receiver.app import create_app
from receiver.config import ReceiverSettings


async def main() -> None:
    app = create_app(os.environ["DATABASE_URL"], ReceiverSettings.read(), sealer=Sealer(()))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, timeout_graceful_shutdown=20))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        assert not serving.done()
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)  # noqa: T201 -- the parent waits for it
    await serving


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
