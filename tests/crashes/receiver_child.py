"""A receiver process for crash tests: settings from the environment, a free port, armed points from CRASH_POINTS. As dispatcher_child."""

import asyncio
import os
import signal

import uvicorn
from pydantic import SecretStr

from cli import running
from outbox.log import configure
from outbox.seal import Sealer
from receiver.app import create_app
from receiver.config import ReceiverSettings
from tests.crashes import arming


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, arming.go_on)
    sealer = Sealer([SecretStr(key) for key in os.environ.get("POSTROOM_ENCRYPTION_KEYS", "").split(",") if key])
    app = create_app(os.environ["DATABASE_URL"], ReceiverSettings.read(), sealer=sealer)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, timeout_graceful_shutdown=20))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        assert not serving.done()
    arming.say(f"port {server.servers[0].sockets[0].getsockname()[1]}")
    await serving


def run() -> None:
    """In a process that was forked for it."""
    configure(json=True, level=os.environ.get("POSTROOM_LOG_LEVEL", "info"))
    arming.arm(os.environ.get("CRASH_POINTS", ""))
    running.run(main())
