"""The load: `python -m benchmarks.sender PORT notion|ghl REQUESTS`, over 64 keep-alive connections.

Each request has an id and a signature of its own; all are built before the clock starts. Prints one JSON line: requests per
second, p50 and p99 in ms, and the answers by status.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import cast

from simulators.samples import DEMO_VERIFICATION_TOKEN, ghl_contact_event, notion_page_event
from simulators.shapes import compact
from simulators.signing import GhlSigner, sign_notion

CONNECTIONS = 64


def requests(source: str, count: int) -> list[bytes]:
    """Whole HTTP requests as bytes."""
    signer, made = GhlSigner.for_demo(), []
    for _ in range(count):
        if source == "notion":
            body = compact(notion_page_event())
            headers = sign_notion(body, DEMO_VERIFICATION_TOKEN)
        else:
            body = compact(ghl_contact_event("ContactUpdate"))
            headers = signer.headers(body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST /api/webhooks/{source} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        made.append(f"{head}{lines}content-length: {len(body)}\r\n\r\n".encode() + body)
    return made


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is whole."""

    def __init__(self, queue: Iterator[bytes], taken_s: list[float], statuses: Counter[int]) -> None:
        self._queue, self._taken_s, self._statuses = queue, taken_s, statuses
        self._buffer = b""
        self.finished = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._next()

    def _next(self) -> None:
        request = next(self._queue, None)
        if request is None:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = body[length:]
        self._taken_s.append(time.perf_counter() - self._began)
        self._statuses[int(head[9:12])] += 1
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)


async def main(port: int, source: str, count: int) -> None:
    queue, taken_s, statuses = iter(requests(source, count)), list[float](), Counter[int]()
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    made = await asyncio.gather(
        *(loop.create_connection(lambda: Connection(queue, taken_s, statuses), "127.0.0.1", port) for _ in range(CONNECTIONS))
    )
    await asyncio.gather(*(connection.finished for _, connection in made))
    seconds = time.perf_counter() - began
    taken_s.sort()
    p50, p99 = (1000 * taken_s[int(len(taken_s) * share)] for share in (0.5, 0.99))
    print(json.dumps({"per_s": count / seconds, "p50_ms": p50, "p99_ms": p99, "statuses": statuses}))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
