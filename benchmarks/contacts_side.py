"""A GHL that has many contacts: `python -m benchmarks.contacts_side HOW_MANY [LATENCY_MS]`.

Prints its port, serves until its input ends. Answers after LATENCY_MS, to each request of its own.

Knows contact search by `searchAfter` and the custom fields, and no rate limit. What it says is made from one text that was written
before the first request, and costs next to nothing: its time must not become ours.
"""

import asyncio
import json
import sys
from typing import Any, cast

import uvloop

ADDED_MS = 1_700_000_000_000
FIELDS = json.dumps(
    {"customFields": [{"id": f"field{n}", "fieldKey": f"contact.field_{n}", "model": "contact"} for n in range(6)]}
).encode()


def contact(n: int) -> dict[str, Any]:
    """One of them, of the size that GHL's have."""
    return {
        "id": f"contact{n:012}",
        "locationId": "bench",
        "firstName": f"First {n}",
        "lastName": f"Last {n}",
        "email": f"person{n}@example.com",
        "phone": "+15550100",
        "companyName": "Example Salon",
        "source": "website",
        "tags": ["vip", "colour", f"tag {n % 50}"],
        "customFields": [{"id": f"field{m}", "value": f"value {n % 97} of {m}"} for m in range(6)],
        "dateAdded": "2026-01-01T00:00:00.000Z",
        "dateUpdated": "2026-01-02T00:00:00.000Z",
        "address": "1 Example Street",
        "dnd": False,
        "additionalEmails": [],
        "attributions": [{"utmSessionSource": "Direct traffic", "medium": "form", "isFirst": True}],
        "searchAfter": [ADDED_MS + n, f"contact{n:012}"],
    }


# Each %d is the contact's number: a page of two hundred is ready in a tenth of a millisecond.
NUMBER = 987_654_321_012
TEXT = json.dumps(contact(NUMBER)).replace("%", "%%").replace(str(ADDED_MS + NUMBER), "%(at)d").replace(str(NUMBER), "%(n)012d").encode()


class Connection(asyncio.Protocol):
    """Requests of one kept-alive connection, one after the other."""

    def __init__(self, how_many: int, latency_s: float) -> None:
        self._how_many, self._latency_s, self._buffer = how_many, latency_s, b""

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
            said = FIELDS if head.startswith(b"GET") else self._page(json.loads(body[:length]))
            asyncio.get_running_loop().call_later(self._latency_s, self._answer, said)

    def _page(self, asked: dict[str, Any]) -> bytes:
        after = asked.get("searchAfter")
        first = 0 if after is None else after[0] - ADDED_MS + 1
        last = min(first + asked["pageLimit"], self._how_many)
        contacts = b",".join([TEXT % {b"n": n, b"at": ADDED_MS + n} for n in range(first, last)])
        return b'{"contacts":[%b],"total":%d}' % (contacts, self._how_many)

    def _answer(self, body: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


async def main(how_many: int, latency_ms: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(how_many, latency_ms / 1000), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    server.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0))
