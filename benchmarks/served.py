"""The two apps that the ingest case compares: `python -m benchmarks.served bare|postroom notion|ghl [DSN]`.

Prints its port, serves until its input ends.

`bare` is a Starlette route that reads the body, verifies the same signature and answers 202: no parsing, no database.
"""

import asyncio
import base64
import hashlib
import hmac
import sys

import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from outbox.seal import Sealer
from receiver.app import create_app
from receiver.config import ReceiverSettings
from simulators.samples import DEMO_VERIFICATION_TOKEN
from simulators.signing import GhlSigner

GHL_KEY = load_pem_public_key(GhlSigner.for_demo().public_key_pem.encode())


async def bare_notion(request: Request) -> Response:
    """What Notion's own documentation shows."""
    body = await request.body()
    wanted = "sha256=" + hmac.new(DEMO_VERIFICATION_TOKEN.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, request.headers.get("x-notion-signature", "")):
        return Response(status_code=401)
    return JSONResponse({"id": 1, "duplicate": False}, 202)


async def bare_ghl(request: Request) -> Response:
    """The same for Ed25519."""
    body = await request.body()
    try:
        assert isinstance(GHL_KEY, Ed25519PublicKey)
        GHL_KEY.verify(base64.b64decode(request.headers.get("x-ghl-signature", "")), body)
    except (InvalidSignature, ValueError):
        return Response(status_code=401)
    return JSONResponse({"id": 1, "duplicate": False}, 202)


def app(which: str, source: str, dsn: str) -> Starlette:
    """The app under test."""
    if which == "bare":
        return Starlette(routes=[Route(f"/api/webhooks/{source}", bare_notion if source == "notion" else bare_ghl, methods=["POST"])])
    settings = ReceiverSettings.read(notion_secrets=DEMO_VERIFICATION_TOKEN, ghl_public_keys=GhlSigner.for_demo().public_key_pem)
    return create_app(dsn, settings, sealer=Sealer(()))


async def main(which: str, source: str, dsn: str) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app(which, source, dsn), host="127.0.0.1", port=0, loop="uvloop", http="httptools", access_log=False, log_level="error"
        )
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    server.should_exit = True
    await serving


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))
