"""A far side that is slow and nothing else: `python -m benchmarks.far_side MILLISECONDS`. Prints its port, serves until its input ends.

Answers every request after that time, also 50 at once, and costs little while it does: its time must not become ours.
"""

import asyncio
import itertools
import json
import sys
from typing import cast

import uvloop

IDS = itertools.count(1)


class Connection(asyncio.Protocol):
    """Requests of one kept-alive connection, one after the other."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        if len(body) >= length:
            self._buffer = body[length:]
            asyncio.get_running_loop().call_later(self._delay_s, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            body = json.dumps({"id": f"note-{next(IDS)}"}).encode()
            head = f"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


async def main(delay_ms: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(delay_ms / 1000), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    server.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
