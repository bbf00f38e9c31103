"""One destination over HTTP: a kept-alive pool, one budget, one observer, every failure mapped once onto dispatcher.errors.

Never retries (the engine does), never follows redirects, never logs a body. Knows no provider: what is special about
GHL or Notion comes in as functions.
"""

import asyncio
import ipaddress
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

import httpx
from pydantic import SecretStr

from dispatcher.clients.answer import Answer, Json, encode, parse
from dispatcher.clients.tally import tally
from dispatcher.clients.wire import MayReach, NotAllowed, Wire
from dispatcher.errors import AnswerLost, Failed, Misused, Refused, RemoteError, Unauthorised, Unavailable
from dispatcher.policy.ratelimit import Limits, retry_after_limits
from outbox.errors import PostroomError
from outbox.log import get_logger

log = get_logger(__name__)

MAX_ANSWER_BYTES: Final = 5 * 1024 * 1024
MAX_SEGMENT_CHARS: Final = 200
KEEPALIVE_S: Final = 5.0

_SAID: Final = {"accept": "application/json", "accept-encoding": "gzip, deflate", "connection": "keep-alive", "user-agent": "postroom"}
_VISIBLE: Final = re.compile(r"[!-~]+")

Params: TypeAlias = Mapping[str, str | int | bool | Sequence[str]]
Classify: TypeAlias = Callable[[Answer], RemoteError]
Token: TypeAlias = SecretStr | Callable[[], Awaitable[SecretStr]]
Renew: TypeAlias = Callable[[SecretStr], Awaitable[bool]]

# Asked as the last thing before the bytes of a request leave; raises when they must not. A budget's turn, or a machine that is paused,
# can lie between the decision to call and the call.
before_sending: ContextVar[Callable[[], None] | None] = ContextVar("before_sending", default=None)

# What httpx raises before a byte of the request can have been sent; everything else may have been sent.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class Budget(Protocol):
    """The share of one credential that calls may use; shared by all dispatchers."""

    async def take(self, *, urgency: int) -> None:
        """Returns when a call may start; RateLimited when it would have to wait too long."""

    async def learn(self, limits: Limits, *, status: int) -> None:
        """Takes note of what an answer said."""


class Unlimited:
    """A budget without limits, for tests and for destinations that have none."""

    async def take(self, *, urgency: int) -> None:
        return

    async def learn(self, limits: Limits, *, status: int) -> None:
        return


class ReadLimits(Protocol):
    def __call__(self, headers: Mapping[str, str], body: object = None, *, now: datetime) -> Limits: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One call that ended. `path` has no query; `status` is None when no whole answer came."""

    destination: str
    method: str
    path: str
    status: int | None
    took_ms: int


Observe: TypeAlias = Callable[[Call], None]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Each part of a call, and the whole: a far side that drips its answer byte by byte ends too."""

    connect_s: float = 5
    read_s: float = 30
    write_s: float = 10
    pool_s: float = 10
    total_s: float = 60


class Http:
    """Use as `async with Http("ghl", "https://…", token=…, classify=…, budget=…) as http`. One per destination and process.

    `observe` is told of each call that ended, by an answer or without one; a call that was cancelled did not.
    `token` is text, or a function that returns the token of the moment where tokens are refreshed; None: calls go without one.
    `scheme`: how it is sent, `Bearer`, or `Basic` with a token of base64.
    `renew` is told of a token that was not taken, and says whether there is another by now: then the call is made once more, for
    a 401 proves that it did not happen.
    `may_reach` is asked of each address before a connection to it; Refused when none may be. `answers_json` False: any text may come.
    """

    def __init__(
        self,
        destination: str,
        base_url: str,
        *,
        token: Token | None,
        scheme: str = "Bearer",
        classify: Classify,
        budget: Budget,
        read_limits: ReadLimits = retry_after_limits,
        observe: Observe | None = None,
        timeouts: Timeouts | None = None,
        max_connections: int = 64,  # more than a dispatcher has at work for one destination
        may_reach: MayReach | None = None,
        answers_json: bool = True,
    ) -> None:
        self.destination = destination
        self._token, self._classify, self._budget, self._read_limits, self._observe = token, classify, budget, read_limits, observe
        self._scheme = scheme
        self._answers_json = answers_json
        self._renew: Renew | None = None
        limits = timeouts or Timeouts()
        self._total_s = limits.total_s
        self._base = base_url.rstrip("/")
        timeout = httpx.Timeout(connect=limits.connect_s, read=limits.read_s, write=limits.write_s, pool=limits.pool_s)
        self._extensions = {"timeout": timeout.as_dict()}
        self._client = httpx.AsyncClient(
            # Several accounts share the client: what an answer to one of them set must not go out with a call of another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            transport=_transport(httpx.URL(base_url), max_connections, may_reach),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections; calls in flight fail."""
        await self._client.aclose()

    def for_account(
        self,
        destination: str,
        *,
        token: Token | None,
        budget: Budget,
        classify: Classify | None = None,
        renew: Renew | None = None,
        total_s: float | None = None,
    ) -> "Http":
        """The same far side under another name, token and budget, over the same connections: this one owns and closes them."""
        other = copy(self)
        other._total_s = total_s or self._total_s
        other.destination, other._token, other._budget, other._renew = destination, token, budget, renew
        other._classify = classify or self._classify
        return other

    def path(self, *segments: str) -> str:
        """A path of literal names and foreign ids, each one segment for certain, whatever it contains; Refused where that cannot be."""
        return "".join("/" + self._segment(segment) for segment in segments)

    def _segment(self, segment: str) -> str:
        # Dots are the one thing that percent-encoding leaves alone and that servers take for directions.
        if not segment.strip(".") or len(segment) > MAX_SEGMENT_CHARS:
            raise Refused(self.destination, "an id is empty, too long or made of dots", details=(segment[:40],))
        try:
            return quote(segment, safe="")
        except UnicodeEncodeError:
            raise Refused(self.destination, "an id is not valid text") from None

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: Mapping[str, object] | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        urgency: int = 0,
    ) -> Json:
        """The JSON of the answer (None for an empty one); every failure is a RemoteError. `path` comes from path().

        The body is `json`, or the fields of a `form`.
        """
        content, ours = self._content(json, form)
        ours |= headers or {}
        token = self._token if self._token is None or isinstance(self._token, SecretStr) else await self._token()
        try:
            return await self._once(method, path, token, params=params, content=content, headers=ours, urgency=urgency)
        except Unauthorised as problem:
            if self._renew is None or token is None or not problem.is_stale or not await self._renew(token):
                raise
        assert callable(self._token)  # what renews a token gives it out as well
        return await self._once(method, path, await self._token(), params=params, content=content, headers=ours, urgency=urgency)

    async def _once(
        self,
        method: str,
        path: str,
        token: SecretStr | None,
        *,
        params: Params | None,
        content: bytes | None,
        headers: Mapping[str, str],
        urgency: int,
    ) -> Json:
        request = self._build(method, path, token, params=params, content=content, headers=headers)
        await self._budget.take(urgency=urgency)
        if (counted := tally.get()) is not None:
            counted.calls += 1
        started = time.perf_counter()

        def ended(status: int | None) -> None:
            if self._observe is not None:
                self._observe(Call(self.destination, method, path, status, round((time.perf_counter() - started) * 1000)))

        try:
            response, raw = await self._send(request)
        except RemoteError:
            ended(None)
            raise
        ended(response.status_code)
        answer = self._read(response, raw)
        if counted is not None and answer.limits.daily_remaining is not None:
            counted.quota_left, counted.quota = answer.limits.daily_remaining, answer.limits.daily_max
        await self._learn(answer)
        if not response.is_success:
            raise self._classify(answer)
        if not answer.is_json and raw and self._answers_json:
            raise Failed(self.destination, "the answer is not JSON", status=answer.status)
        return answer.body

    def _content(self, json: Mapping[str, object] | None, form: Mapping[str, str] | None) -> tuple[bytes | None, dict[str, str]]:
        try:
            if form is not None:
                return urlencode(form).encode("ascii"), {"content-type": "application/x-www-form-urlencoded"}
            return (None, {}) if json is None else (encode(json), {"content-type": "application/json"})
        except ValueError:
            raise Refused(self.destination, "the request cannot be written as JSON, or as a form") from None

    def _build(
        self,
        method: str,
        path: str,
        token: SecretStr | None,
        *,
        params: Params | None,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> httpx.Request:
        ours = dict(_SAID)
        if token is not None:
            if not _VISIBLE.fullmatch(token.get_secret_value()):
                raise Misused(self.destination, "the token is empty or has characters that no token has; copy it again")
            ours["authorization"] = f"{self._scheme} {token.get_secret_value()}"
        try:
            # Not by the client, which would put it together from parts that are the same for each call: a tenth of the call's CPU.
            return httpx.Request(
                method, self._base + path, params=params, content=content, headers={**ours, **headers}, extensions=self._extensions
            )
        except (ValueError, TypeError, httpx.InvalidURL):  # `from None`: the cause can hold the token
            raise Misused(
                self.destination, "the request cannot be built; check the base address and the token for stray characters"
            ) from None

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        try:
            if (check := before_sending.get()) is not None:
                request.extensions = {**request.extensions, "trace": _asking(check)}
            async with asyncio.timeout(self._total_s):
                response = await self._client.send(request, stream=True)
                try:
                    return response, await self._body(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise AnswerLost(self.destination, f"no whole answer within {self._total_s:g} s") from None
        except NotAllowed:
            raise Refused(self.destination, "its address is not a public one, and such are not called") from None
        except _NOT_SENT as exc:
            raise Unavailable(self.destination, f"could not be reached ({type(exc).__name__})", happened=False) from exc
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise Misused(
                self.destination, "the request cannot be sent; check the base address and the token for stray characters"
            ) from None
        except httpx.DecodingError as exc:
            raise Failed(self.destination, "the answer is compressed wrongly") from exc
        except httpx.HTTPError as exc:
            raise AnswerLost(self.destination, f"the connection broke during the call ({type(exc).__name__})") from exc

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes(64 * 1024):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise Failed(self.destination, "the answer is larger than 5 MiB", status=response.status_code)
        return bytes(body)

    def _read(self, response: httpx.Response, raw: bytes) -> Answer:
        try:
            body, is_json = parse(raw), True
        except ValueError:
            body, is_json = None, False
        limits = self._read_limits(response.headers, body, now=datetime.now(UTC))
        return Answer(self.destination, response.status_code, response.headers, body, is_json, limits)

    async def _learn(self, answer: Answer) -> None:
        """The answer is worth more than the bookkeeping: a known effect must not become an unknown one because a limit was not stored."""
        try:
            await self._budget.learn(answer.limits, status=answer.status)
        except PostroomError as exc:
            log.warning("limits not recorded", destination=answer.destination, status=answer.status, error=exc)


def _asking(check: Callable[[], None]) -> Callable[[str, object], Awaitable[None]]:
    """For httpx, which tells what it is about to do. A request whose body is not sent is never carried out."""

    async def trace(event: str, info: object) -> None:
        if event.endswith((".send_request_headers.started", ".send_request_body.started")):
            check()

    return trace


def _transport(base_url: httpx.URL, max_connections: int, may_reach: MayReach | None) -> httpx.AsyncBaseTransport:
    """Straight to the far side, or through the proxy that the environment names for it. A proxy would reach what we may not."""
    # A proxy set in the environment is for the outside world, not for a simulator on this machine.
    is_near = _is_loopback(base_url.host)
    if is_near or may_reach is not None or (proxy := _proxy(base_url)) is None:
        verify = _certificates(trust_env=not is_near) if base_url.scheme == "https" else None
        return Wire(verify=verify, max_connections=max_connections, keepalive_s=KEEPALIVE_S, may_reach=may_reach)
    limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections, keepalive_expiry=KEEPALIVE_S)
    return httpx.AsyncHTTPTransport(verify=_certificates(trust_env=True), limits=limits, proxy=proxy)


@cache
def _certificates(*, trust_env: bool) -> ssl.SSLContext:
    """Read once in a process: they are those of the whole world."""
    context = httpx.create_ssl_context(trust_env=trust_env)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _proxy(url: httpx.URL) -> str | None:
    if proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
