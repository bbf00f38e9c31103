"""An HTTP client of no provider, and far sides to call with it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pydantic import SecretStr

from dispatcher.clients.answer import Answer, by_status
from dispatcher.clients.http import Call, Http, Timeouts, Unlimited
from dispatcher.errors import RateLimited, RemoteError
from dispatcher.policy.ratelimit import Limits
from outbox.errors import DatabaseUnavailable

BASE = "https://api.example.com"
TOKEN = "pit-00000000-invented"


def classify(answer: Answer) -> RemoteError:
    return by_status(answer, "no")


class Ledger(Unlimited):
    """A budget that writes down what it is asked and told."""

    def __init__(self, *, refuses: bool = False, forgets: bool = False) -> None:
        self.refuses, self.forgets = refuses, forgets
        self.taken: list[int] = []
        self.learned: list[tuple[int, Limits]] = []

    async def take(self, *, urgency: int) -> None:
        self.taken.append(urgency)
        if self.refuses:
            raise RateLimited("there", "the day is used up", retry_after_s=60)

    async def learn(self, limits: Limits, *, status: int) -> None:
        self.learned.append((status, limits))
        if self.forgets:
            raise DatabaseUnavailable("away")


@asynccontextmanager
async def client(
    base_url: str = BASE, *, budget: Unlimited | None = None, token: str = TOKEN, total_s: float = 60, calls: list[Call] | None = None
) -> AsyncIterator[Http]:
    async with Http(
        "there",
        base_url,
        token=SecretStr(token),
        classify=classify,
        budget=budget or Unlimited(),
        observe=None if calls is None else calls.append,
        timeouts=Timeouts(total_s=total_s),
    ) as http:
        yield http


@asynccontextmanager
async def server(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> AsyncIterator[str]:
    """A raw server that reads one request's head and then does what it likes; its base address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        done = answer(reader, writer)
        if asyncio.iscoroutine(done):
            await done
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
