"""Signing a sample webhook as its provider would, and sending it to a receiver.

Parcel = where it goes and exactly what is sent; the same parcel sent again is a repeated delivery. Knows the schemes, not the samples.
"""

import asyncio
import shlex
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx

from simulators.signing import GhlSigner, sign_notion, sign_standard

DEMO_WORKFLOW_SECRET = "demo-workflow-not-a-secret"  # noqa: S105 (opens nothing but a demo)
DEMO_STANDARD_SECRET = "whsec_" + "ZGVtby1zdGFuZGFyZC1ub3QtYS1zZWNyZXQ="
TIMEOUT_S = 20.0
BODY_CHARS = 300


@dataclass(frozen=True, slots=True)
class Parcel:
    """One webhook as it goes over the wire. `path` begins at the receiver's root."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def curl(self, base: str, *, body_file: str | None = None) -> str:
        """The command that sends it. A body from a file stays in the file: no shell can hold every byte."""
        headers = [part for name, value in self.headers.items() for part in ("-H", shlex.quote(f"{name}: {value}"))]
        data = f"@{body_file}" if body_file is not None else self.body.decode()
        return " ".join(["curl", "-i", shlex.quote(base + self.path), *headers, "--data-binary", shlex.quote(data)])


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said. `status` None: nothing; then `said` holds why."""

    status: int | None
    event_id: int | None = None
    duplicate: bool | None = None
    said: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    def as_json(self) -> dict[str, object]:
        return {"status": self.status, "id": self.event_id, "duplicate": self.duplicate, "said": self.said}


def ghl(body: bytes, signer: GhlSigner, *, forged: bool = False) -> Parcel:
    """`forged`: signed over other bytes, as here and below."""
    return _parcel("ghl", signer.headers(_signed_bytes(body, forged=forged)), body)


def notion(body: bytes, token: str, *, forged: bool = False) -> Parcel:
    return _parcel("notion", sign_notion(_signed_bytes(body, forged=forged), token), body)


def ghl_workflow(body: bytes, secret: str, *, forged: bool = False) -> Parcel:
    """Unsigned: the secret is shown as it is, so a forged one is another secret."""
    return _parcel("ghl-workflow", {"X-Webhook-Secret": f"not-{secret}" if forged else secret}, body)


def standard(body: bytes, name: str, secret: str, *, forged: bool = False) -> Parcel:
    """With a new message id and the time of now."""
    signed = _signed_bytes(body, forged=forged)
    headers = sign_standard(signed, secret=secret, message_id=f"msg_{uuid.uuid4().hex}", timestamp=int(datetime.now(UTC).timestamp()))
    return _parcel(f"standard/{name}", headers, body)


def _signed_bytes(body: bytes, *, forged: bool) -> bytes:
    return body + b" " if forged else body


def _parcel(source: str, proof: Mapping[str, str], body: bytes) -> Parcel:
    return Parcel(f"/api/webhooks/{source}", {"Content-Type": "application/json", **proof}, body)


async def send(client: httpx.AsyncClient, parcel: Parcel) -> Answer:
    """One delivery; the client knows the receiver's address. Never raises for what the other side does."""
    try:
        response = await client.post(parcel.path, content=parcel.body, headers=dict(parcel.headers))
    except httpx.HTTPError as problem:
        return Answer(None, said=f"{type(problem).__name__}: {problem}".rstrip(": "))
    answer = Answer(response.status_code)
    try:
        told: Any = response.json()
    except ValueError:
        return replace(answer, said=response.text[:BODY_CHARS] or None)
    if not isinstance(told, dict):
        return answer
    event_id, duplicate = told.get("id"), told.get("duplicate")
    return Answer(
        response.status_code,
        event_id=event_id if isinstance(event_id, int) else None,
        duplicate=duplicate if isinstance(duplicate, bool) else None,
        said=_said(told, accepted=answer.accepted and isinstance(event_id, int)),
    )


def _said(told: dict[str, Any], *, accepted: bool) -> str | None:
    """What is worth showing: why it was turned away, or what became of a handshake, which is no event."""
    if accepted:
        return None
    words = told.get("detail") or told.get("title") or ", ".join(f"{name}: {value}" for name, value in told.items())
    return str(words)[:BODY_CHARS] or None


def client(base: str) -> httpx.AsyncClient:
    """For a receiver at this address. A proxy of the environment is for the outside world."""
    is_local = httpx.URL(base).host in ("127.0.0.1", "localhost", "::1")
    return httpx.AsyncClient(base_url=base, timeout=TIMEOUT_S, trust_env=not is_local)


async def send_all(base: str, parcel: Parcel, *, times: int) -> list[Answer]:
    """The same delivery several times, one after the other."""
    async with client(base) as to:
        return [await send(to, parcel) for _ in range(times)]


def send_now(base: str, parcel: Parcel, *, times: int) -> list[Answer]:
    """As send_all, for callers without a loop."""
    return asyncio.run(send_all(base, parcel, times=times))
