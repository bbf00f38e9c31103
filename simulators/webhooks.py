"""Sends webhooks as the providers do: signed, retried, and on demand doubled, shuffled and in batches.

Owns delivery only; the bodies come from `samples` or from a simulator's changes. Must be entered before it sends:

    async with WebhookSender.ghl(url, signer) as sender:
        simulator = GhlSimulator(webhooks=sender)
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

import httpx

from simulators.shapes import JsonObject, compact
from simulators.signing import GhlLegacySigner, GhlSigner, sign_notion

Sign: TypeAlias = Callable[[bytes], Mapping[str, str]]

# The real ones stretch over days. Short here: tests and demos wait for the end.
RETRY_DELAYS_S = (0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one event: the statuses answered, None for an attempt without an answer."""

    event_id: str
    statuses: tuple[int | None, ...]

    @property
    def was_accepted(self) -> bool:
        return bool(self.statuses) and self.statuses[-1] is not None and 200 <= self.statuses[-1] < 300


class WebhookSender:
    """Delivers events to one URL. With `holds` the events of `send` wait for `flush`, so that a test can double and shuffle them."""

    def __init__(
        self,
        url: str,
        sign: Sign,
        *,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
        timeout_s: float = 5.0,
        holds: bool = False,
    ) -> None:
        self.url = url
        self.deliveries: list[Delivery] = []
        self.held: list[JsonObject] = []
        self._sign = sign
        self._retry_delays_s = tuple(retry_delays_s)
        self._timeout_s = timeout_s
        self._holds = holds
        self._client: httpx.AsyncClient | None = None
        # No TaskGroup: that must be left by the task that entered it, which a pytest fixture cannot promise.
        self._under_way: set[asyncio.Task[Delivery]] = set()

    @classmethod
    def ghl(
        cls, url: str, signer: GhlSigner | GhlLegacySigner, *, retry_delays_s: Sequence[float] = RETRY_DELAYS_S, holds: bool = False
    ) -> Self:
        """GHL repeats the very same bytes."""
        return cls(url, signer.headers, retry_delays_s=retry_delays_s, holds=holds)

    @classmethod
    def notion(cls, url: str, token: str, *, retry_delays_s: Sequence[float] = RETRY_DELAYS_S, holds: bool = False) -> Self:
        """Notion counts `attempt_number` up inside the body, so each attempt has other bytes and another signature."""
        return cls(url, lambda body: sign_notion(body, token), retry_delays_s=retry_delays_s, holds=holds)

    async def __aenter__(self) -> Self:
        # Waiting for a free connection has no limit: a burst must not look like a dead receiver.
        # TLS costs 10 ms to set up, and plain HTTP needs none.
        timeout = httpx.Timeout(self._timeout_s, pool=None)
        self._client = httpx.AsyncClient(timeout=timeout, trust_env=False, verify=self.url.startswith("https://"))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Waits for what is under way to be delivered or given up; an error in the block cancels it instead. What is held is forgotten."""
        client = self._entered()
        try:
            if error is None:
                await self.drain()
            else:
                await self._cancel()
        finally:
            self._client = None
            await client.aclose()

    def send(self, event: JsonObject) -> None:
        """Deliver in the background, or hold. `drain` waits for the end."""
        if self._holds:
            self.held.append(event)
            return
        self._entered()
        task = asyncio.create_task(self.deliver(event), name=f"webhook {_event_id(event)}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def drain(self) -> None:
        """Return when nothing is under way any more."""
        while self._under_way:
            await asyncio.gather(*self._under_way)

    async def flush(self, *, copies: int = 1, shuffle: random.Random | None = None, at_once: int = 1) -> list[Delivery]:
        """Deliver what was held, oldest first unless shuffled."""
        events, self.held = self.held, []
        return await self.send_all(events, copies=copies, shuffle=shuffle, at_once=at_once)

    async def send_all(
        self, events: Sequence[JsonObject], *, copies: int = 1, shuffle: random.Random | None = None, at_once: int = 1
    ) -> list[Delivery]:
        """Deliver each event `copies` times, in order or shuffled, in batches of `at_once` sent together."""
        queue = [event for event in events for _ in range(copies)]
        if shuffle is not None:
            shuffle.shuffle(queue)
        delivered: list[Delivery] = []
        for start in range(0, len(queue), at_once):
            delivered += await asyncio.gather(*(self.deliver(event) for event in queue[start : start + at_once]))
        return delivered

    async def deliver(self, event: JsonObject) -> Delivery:
        """Send one event until it is accepted or the schedule is at its end."""
        statuses: list[int | None] = []
        for attempt, delay_s in enumerate((0.0, *self._retry_delays_s), start=1):
            if attempt > 1:
                await asyncio.sleep(delay_s)
            statuses.append(await self._attempt({**event, "attempt_number": attempt} if "attempt_number" in event else event))
            if Delivery("", (statuses[-1],)).was_accepted:
                break
        delivery = Delivery(_event_id(event), tuple(statuses))
        self.deliveries.append(delivery)
        return delivery

    async def _attempt(self, event: JsonObject) -> int | None:
        body = compact(event)
        headers = {"Content-Type": "application/json", **self._sign(body)}
        try:
            return (await self._entered().post(self.url, content=body, headers=headers)).status_code
        except httpx.TransportError:
            return None

    async def _cancel(self) -> None:
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _entered(self) -> httpx.AsyncClient:
        if self._client is None:
            raise RuntimeError("this WebhookSender is not entered: use it as `async with WebhookSender(…) as sender`")
        return self._client


def _event_id(event: JsonObject) -> str:
    return str(event.get("webhookId") or event.get("id") or "")
