"""A pretended standby: it speaks so much of the replication protocol that the server holds back for it what its readers would need.

A real one would need a second cluster. This one asks for a stream, says its oldest transaction (hot_standby_feedback), and listens.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

FEEDBACK = struct.Struct("!cqIIII")  # 'h', time, xmin and its epoch, catalog xmin and its epoch


class Standby:
    """One connection of a standby."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def begin(self, *, name: str, slot: str | None) -> None:
        """Connects for physical replication, and asks for everything from the slot's or the server's present place on."""
        words = ["user", "postgres", "replication", "true", "application_name", name]
        body = struct.pack("!i", 196608) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
        self._writer.write(struct.pack("!i", len(body) + 4) + body)
        await self._until(b"Z")
        place = (await self._ask("IDENTIFY_SYSTEM"))[2]
        await self._send(b"Q", f"START_REPLICATION {f'SLOT {slot} ' if slot else ''}PHYSICAL {place}".encode() + b"\0")
        await self._until(b"W")

    async def need(self, xmin: int) -> None:
        """Says that its readers need everything since transaction `xmin`; 0: nothing."""
        await self._send(b"d", FEEDBACK.pack(b"h", 0, xmin, 0, 0, 0))

    async def close(self) -> None:
        """Breaks off, as a standby does whose machine is switched off."""
        self._writer.close()
        await self._writer.wait_closed()

    async def _ask(self, command: str) -> list[str]:
        """The fields of the one row that answers."""
        await self._send(b"Q", command.encode() + b"\0")
        row = await self._until(b"D")
        await self._until(b"Z")
        fields, at = [], 2
        for _ in range(struct.unpack_from("!h", row)[0]):
            (length,) = struct.unpack_from("!i", row, at)
            fields.append(row[at + 4 : at + 4 + max(0, length)].decode())
            at += 4 + max(0, length)
        return fields

    async def _send(self, kind: bytes, body: bytes) -> None:
        self._writer.write(kind + struct.pack("!i", len(body) + 4) + body)
        await self._writer.drain()

    async def _until(self, wanted: bytes) -> bytes:
        """The body of the next message of that kind. Fails when the server says that it will not."""
        while True:
            kind = await self._reader.readexactly(1)
            body = await self._reader.readexactly(struct.unpack("!i", await self._reader.readexactly(4))[0] - 4)
            assert kind != b"E" or wanted == b"E", body
            if kind == wanted:
                return body


@asynccontextmanager
async def standby(socket: str, *, name: str = "reports-standby", slot: str | None = None) -> AsyncIterator[Standby]:
    """A standby on the server's socket, gone at the end."""
    reader, writer = await asyncio.open_unix_connection(socket)
    made = Standby(reader, writer)
    try:
        await made.begin(name=name, slot=slot)
        yield made
    finally:
        await made.close()
