"""Where alerts go: chat rooms and other people's systems, each by its URL. Three shapes of message, one destination for each URL.

A URL is a setting that may be wrong, or written by somebody who should not reach our network: only public addresses are called, the
address that was checked is the one that is called, and redirects are not followed.
"""

import base64
import hashlib
import hmac
import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from dispatcher.clients.answer import Answer, by_status, encode
from dispatcher.clients.http import Http, Timeouts, Unlimited
from dispatcher.errors import Refused, RemoteError
from outbox.errors import ConfigError

PREFIX: Final = "alert"
WORDS: Final = {"ok": "✅", "degraded": "⚠️", "unhealthy": "🚨"}


class Shape(StrEnum):
    """How a message looks. Discord and Slack are known by their host."""

    SLACK = "slack"
    DISCORD = "discord"
    STANDARD = "standard"


@dataclass(frozen=True, slots=True)
class Channel:
    """One URL. `secret` signs messages of the Standard Webhooks shape; None: they go unsigned."""

    name: str
    shape: Shape
    url: SecretStr
    secret: SecretStr | None = None

    @property
    def destination(self) -> str:
        """As pauses, breakers and lanes name it."""
        return f"{PREFIX}:{self.name}"


@dataclass(frozen=True, slots=True)
class Alert:
    """What is told. `runbook`: where it says what to do."""

    name: str
    state: str
    was: str
    since: str
    detail: str
    runbook: str

    def text(self) -> str:
        """In one line and a link."""
        return f"{WORDS.get(self.state, '❗')} {self.name}: {self.state} (was {self.was}). {self.detail}\n{self.runbook}"


def read_channels(urls: tuple[SecretStr, ...], secrets: tuple[SecretStr, ...]) -> tuple[Channel, ...]:
    """From `name=url`, or `name=shape+url`, and `name=whsec_…`. Raises ConfigError, which quotes no URL."""
    signing = dict(_pair(entry, "POSTROOM_ALERT_SECRETS") for entry in secrets)
    channels: dict[str, Channel] = {}
    for entry in urls:
        name, text = _pair(entry, "POSTROOM_ALERT_URLS")
        if name in channels:
            raise ConfigError(f"POSTROOM_ALERT_URLS: {name} is there twice")
        shape, url = _shape(name, text)
        secret = signing.pop(name, None)
        if secret is not None:
            _key(secret, name)
        channels[name] = Channel(name, shape, SecretStr(url), None if secret is None else SecretStr(secret))
    if signing:
        raise ConfigError(f"POSTROOM_ALERT_SECRETS: there is no URL named {', '.join(sorted(signing))}")
    return tuple(channels.values())


def _pair(entry: SecretStr, variable: str) -> tuple[str, str]:
    name, _, value = entry.get_secret_value().partition("=")
    if not value or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum() or len(name) > 40:
        raise ConfigError(f"{variable}: each entry is name=value, with a name of letters, digits, - and _")
    return name, value


def _shape(name: str, text: str) -> tuple[Shape, str]:
    given, plus, url = text.partition("+")
    if plus and given in set(Shape):
        shape, text = Shape(given), url
    else:
        host = urlsplit(text).hostname or ""
        known = {"hooks.slack.com": Shape.SLACK, "discord.com": Shape.DISCORD, "discordapp.com": Shape.DISCORD}
        shape = known.get(host, Shape.STANDARD)
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or not text.isascii():
        raise ConfigError(f"POSTROOM_ALERT_URLS: {name} is no http or https URL")
    return shape, text


def _key(secret: str, name: str) -> bytes:
    try:
        if secret.startswith("whsec_") and len(key := base64.b64decode(secret[6:], validate=True)) >= 16:
            return key
    except ValueError:
        pass
    raise ConfigError(f"POSTROOM_ALERT_SECRETS: {name} is not whsec_ and base64 of at least 16 bytes")


def is_public(address: str) -> bool:
    """Whether an address belongs to the internet and to nobody's own network; also one written inside an IPv6 address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inside is not None:
            return is_public(str(inside))
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def classify_channel(answer: Answer) -> RemoteError:
    """A hook that is gone or forbids us is a wrong setting; the rest is as everywhere."""
    if answer.status in (401, 403, 404, 410):
        return Refused(answer.destination, "the URL is not, or no longer, that of a hook that takes this", status=answer.status)
    return by_status(answer, "it did not take the alert")


class Channels:
    """The configured ones, by name."""

    def __init__(self, channels: tuple[Channel, ...], clients: Mapping[str, Http]) -> None:
        self._channels = {channel.name: channel for channel in channels}
        self._clients = clients

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._channels)

    def has(self, destination: str) -> bool:
        """Whether that is one of them."""
        return destination.removeprefix(f"{PREFIX}:") in self._channels

    async def post(self, name: str, alert: Alert, *, message_id: str, now: datetime) -> None:
        """One message. Raises RemoteError."""
        channel = self._channels[name]
        body, headers = written(channel, alert, message_id=message_id, now=now)
        url = urlsplit(channel.url.get_secret_value())
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        await self._clients[name].call("POST", path, json=body, headers=headers)


@asynccontextmanager
async def opened(channels: tuple[Channel, ...], *, allow_private: bool) -> AsyncIterator[Channels]:
    """Open for the life of a process."""
    async with AsyncExitStack() as stack:
        clients = {
            channel.name: await stack.enter_async_context(
                Http(
                    channel.destination,
                    _origin(channel),
                    token=None,
                    classify=classify_channel,
                    budget=Unlimited(),
                    timeouts=Timeouts(total_s=15, read_s=10),
                    max_connections=2,
                    may_reach=None if allow_private else is_public,
                    answers_json=False,
                )
            )
            for channel in channels
        }
        yield Channels(channels, clients)


def _origin(channel: Channel) -> str:
    url = urlsplit(channel.url.get_secret_value())
    return f"{url.scheme}://{url.netloc}"


def written(channel: Channel, alert: Alert, *, message_id: str, now: datetime) -> tuple[dict[str, Any], dict[str, str]]:
    """The message in the shape of its channel, with its headers."""
    match channel.shape:
        case Shape.SLACK:
            return {"text": alert.text()}, {}
        case Shape.DISCORD:
            return {"content": alert.text(), "allowed_mentions": {"parse": []}}, {}
        case Shape.STANDARD:
            kind = "alert.cleared" if alert.state == "ok" else "alert.raised"
            data = {field: getattr(alert, field) for field in Alert.__slots__}
            body = {"type": kind, "timestamp": alert.since, "data": data}
            return body, _signed(channel, body, message_id=message_id, now=now)


def _signed(channel: Channel, body: Mapping[str, Any], *, message_id: str, now: datetime) -> dict[str, str]:
    """https://github.com/standard-webhooks/standard-webhooks: the receiver knows a repeated message by its id."""
    at = str(int(now.timestamp()))
    headers = {"webhook-id": message_id, "webhook-timestamp": at}
    if channel.secret is not None:
        signed = f"{message_id}.{at}.".encode() + encode(body)
        mac = hmac.new(_key(channel.secret.get_secret_value(), channel.name), signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(mac).decode()}"
    return headers
