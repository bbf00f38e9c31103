"""The webhook endpoint: read, verify, stage, answer. Bare ASGI, because this is the one route that must be fast.

Owns what is answered to a sender; leaves who may send to receiver.sources, and the commit to the intake. Every refusal that has to do
with who sent it has one and the same body, so that a stranger learns nothing from it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from starlette.types import Receive, Scope, Send

from outbox.db import Pool
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from outbox.store.events import Arrival
from outbox.timeline import SIGNED_BY
from receiver.errors import Problem, answer, answer_problem, bad_request, busy, method_not_allowed, origin, unavailable
from receiver.handshakes import NotionTokens
from receiver.intake import Intake, Overloaded, Unstageable
from receiver.ledger import Ledger
from receiver.limits import BodyRefused, Disconnected, network_of, read_body
from receiver.sources.base import Handshake, Headers, Incoming, Reason, Rejected, Source

log = get_logger(__name__)

PREFIX = "/api/webhooks/"
RETRY_OVERLOADED_S = 2
RETRY_AWAY_S = 10
_STANDARD = re.compile(r"standard/([a-z0-9][a-z0-9_-]{0,39})")

UNAUTHORISED = Problem(
    401, "unauthorised", "Not accepted", "The signature or secret of this message does not fit.", headers={"www-authenticate": "Signature"}
)
_JSON = (b"content-type", b"application/json")


class Door(Protocol):
    """Something with a current source: a fixed one, or Notion's, which is replaced when a token is promoted."""

    @property
    def source(self) -> Source:
        """Who may send here now."""
        ...


@dataclass(frozen=True, slots=True)
class FixedDoor:
    """A source that stays as the settings made it."""

    source: Source


class Webhooks:
    """All webhook routes of one process."""

    def __init__(
        self, fixed: Mapping[str, Source], notion: NotionTokens, *, pool: Pool, intake: Intake, ledger: Ledger, limit_bytes: int
    ) -> None:
        self.doors: dict[str, Door] = {**{name: FixedDoor(source) for name, source in fixed.items()}, "notion": notion}
        self._paths = {PREFIX + name: door for name, door in self.doors.items()}
        self._notion, self._pool, self._intake, self._ledger, self._limit_bytes = notion, pool, intake, ledger, limit_bytes

    def takes(self, path: str) -> bool:
        """Whether a webhook may be sent to this path. Every well-formed name of a standard sender may: strangers learn no names."""
        return path in self._paths or (path.startswith(PREFIX) and _STANDARD.fullmatch(path, len(PREFIX)) is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One delivery. Never raises for what a sender did."""
        try:
            await self._serve(scope, receive, send)
        except Problem as problem:
            await answer_problem(scope, send, problem, with_instance=False)
        except Disconnected:
            return
        except Exception as problem:  # noqa: BLE001 -- the last resort of the front door: our fault, so the sender tries again
            log.error("a webhook failed", path=scope["path"], problem=origin(problem))
            await answer_problem(scope, send, _come_again(scope["path"], "Something went wrong here."), with_instance=False)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            raise method_not_allowed(["POST"])
        door = self._paths.get(scope["path"])
        # Counted under one name, or a stranger could fill the table of sources.
        source = "standard" if door is None else door.source.name
        try:
            body = await read_body(scope, receive, limit_bytes=self._limit_bytes)
        except BodyRefused as refused:
            self._ledger.rejected(
                source, refused.reason, str(refused.detail), network=network_of(scope), body=refused.head, body_bytes=refused.read_bytes
            )
            raise
        now = datetime.now(UTC)
        try:
            if door is None:
                raise Rejected(Reason.NOT_CONFIGURED, "no secret for a sender of this name: set STANDARD_WEBHOOK_SECRETS")
            taken = door.source.accept(Headers(scope["headers"]), body, now=now)
        except Rejected as rejected:
            raise self._turned_away(scope, source, rejected, body) from None
        if isinstance(taken, Handshake):
            await self._handshake(scope, send, taken, body)
        else:
            await self._stage(scope, send, taken, now)

    async def _stage(self, scope: Scope, send: Send, incoming: Incoming, now: datetime) -> None:
        kept = {**incoming.headers, SIGNED_BY: incoming.fingerprint}
        arrival = Arrival(incoming.source, incoming.kind, incoming.key, incoming.lane, incoming.body, kept)
        try:
            staged = await self._intake.stage(arrival)
        except Overloaded:
            raise busy("More webhooks wait than may; nothing of this one was kept.", retry_after_s=RETRY_OVERLOADED_S) from None
        except DatabaseUnavailable:
            raise _away(scope["path"]) from None
        except Unstageable as problem:
            rejected = Rejected(Reason.MALFORMED, str(problem))
            raise self._turned_away(scope, incoming.source, rejected, incoming.body) from None
        self._ledger.accepted(incoming.source, incoming.fingerprint, duplicate=staged.duplicate, now=now)
        body = b'{"id": %d, "duplicate": %s}' % (staged.id, b"true" if staged.duplicate else b"false")
        await send({"type": "http.response.start", "status": 202, "headers": [_JSON, (b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def _handshake(self, scope: Scope, send: Send, handshake: Handshake, body: bytes) -> None:
        network = network_of(scope)
        try:
            await self._notion.offer(self._pool, handshake, network=network)
        except DatabaseUnavailable:
            raise _away(scope["path"]) from None
        except Problem as problem:
            # The body is the token: nothing of it is kept.
            self._ledger.rejected(handshake.source, problem.word, str(problem.detail), network=network, body_bytes=len(body))
            raise
        await answer(scope, send, 200, b"{}")

    def _turned_away(self, scope: Scope, source: str, rejected: Rejected, body: bytes) -> Problem:
        if source == "notion" and not self._notion.is_known and rejected.reason in (Reason.BAD_SIGNATURE, Reason.NOT_CONFIGURED):
            # It may well be signed with a promoted token that could not be read yet.
            return _away(scope["path"])
        self._ledger.rejected(source, rejected.reason, rejected.detail, network=network_of(scope), body=body)
        return bad_request(rejected.detail) if rejected.status == 400 else UNAUTHORISED


def _away(path: str) -> Problem:
    return _come_again(path, "The database is away; nothing of this message was kept.")


def _come_again(path: str, detail: str) -> Problem:
    """GHL's guide promises another try after a 429 and was long silent about a 503, which every other sender understands."""
    if path.startswith(PREFIX + "ghl"):
        return busy(detail, retry_after_s=RETRY_AWAY_S)
    return unavailable(detail, retry_after_s=RETRY_AWAY_S)
