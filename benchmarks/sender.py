"""The load: `python -m benchmarks.sender notion|ghl ROUNDS REQUESTS PORT_BARE PORT_POSTROOM`, over 64 keep-alive connections.

Both apps in turns, now one first and now the other, so that what else the machine does meets both alike. Each request has an id and a
signature of its own; all are built before a clock starts, and the connections stand. Prints one JSON line: a list of rounds.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import cast

from simulators.samples import DEMO_VERIFICATION_TOKEN, ghl_contact_event, notion_page_event
from simulators.shapes import compact
from simulators.signing import GhlSigner, sign_notion

CONNECTIONS = 64
APPS = ("bare", "postroom")


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

    def next(self) -> None:
        """The next request; none is left: the end."""
        request = next(self._queue, None)
        if request is None:
            self.finished.set_result(None)
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
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_exception(exc or ConnectionResetError("the app closed a connection"))

    def close(self) -> None:
        """Ends it."""
        self._transport.close()


async def send(port: int, waiting: Sequence[bytes]) -> dict[str, object]:
    """All of these, over fresh connections."""
    queue, taken_s, statuses = iter(waiting), list[float](), Counter[int]()
    loop = asyncio.get_running_loop()
    made = await asyncio.gather(
        *(loop.create_connection(lambda: Connection(queue, taken_s, statuses), "127.0.0.1", port) for _ in range(CONNECTIONS))
    )
    began = time.perf_counter()
    for _, connection in made:
        connection.next()
    await asyncio.gather(*(connection.finished for _, connection in made))
    seconds = time.perf_counter() - began
    for _, connection in made:
        connection.close()
    taken_s.sort()
    p50, p99 = (1000 * taken_s[int(len(taken_s) * share)] for share in (0.5, 0.99))
    return {"per_s": len(waiting) / seconds, "p50_ms": p50, "p99_ms": p99, "statuses": statuses}


async def main(source: str, rounds: int, count: int, ports: Sequence[int]) -> None:
    said = []
    built = requests(source, rounds * count)
    for n in range(rounds):
        waiting = built[n * count : (n + 1) * count]
        turns = list(zip(APPS, ports, strict=True))
        said.append({app: await send(port, waiting) for app, port in (turns if n % 2 else reversed(turns))})
    print(json.dumps(said))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), [int(port) for port in sys.argv[4:6]]))
