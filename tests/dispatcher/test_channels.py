"""Where alerts may go: settings are read strictly, and no address but a public one is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dispatcher.clients.channels import Alert, Channel, Shape, is_public, opened, read_channels, written
from dispatcher.config import DispatcherSettings
from dispatcher.errors import Refused
from outbox.errors import ConfigError
from outbox.store.events import clock
from outbox.testing import Postroom
from simulators.hooks import HookSimulator
from simulators.serving import serve

ALERT = Alert("health", "unhealthy", "ok", "2026-01-01T00:00:00.000Z", "60 dead letters", "docs/runbooks/health.md")


def secrets(*texts: str) -> tuple[SecretStr, ...]:
    return tuple(SecretStr(text) for text in texts)


def test_the_shape_is_known_by_the_host_or_said() -> None:
    read = read_channels(
        secrets(
            "a=https://hooks.slack.com/services/x",
            "b=https://discord.com/api/webhooks/1/x",
            "c=https://example.com/x",
            "d=slack+http://a/b",
        ),
        (),
    )
    assert [(one.name, one.shape) for one in read] == [("a", Shape.SLACK), ("b", Shape.DISCORD), ("c", Shape.STANDARD), ("d", Shape.SLACK)]


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://example.com", None),
        ("a=ftp://example.com", None),
        ("a=https://user:pw@example.com/", None),
        ("a b=https://example.com", None),
        ("a=https://example.com", "b=whsec_aW52ZW50ZWQtc2VjcmV0LWZvci10ZXN0cw=="),
        ("a=https://example.com", "a=short"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start_without_being_quoted(url: str, secret: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        read_channels(secrets(url), secrets(secret) if secret else ())
    assert "user:pw" not in str(refused.value)
    assert "example.com" not in str(refused.value)
    with pytest.raises(ConfigError):
        DispatcherSettings.read(alert_urls=url, alert_secrets=secret or "")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1",
        "fe80::1%eth0",
        "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "255.255.255.255", "::", "192.0.2.1",
    ],
)  # fmt: skip
def test_addresses_of_somebodys_own_network_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_every_address_is_judged_without_a_failure(address: object) -> None:
    assert is_public(str(address)) in (True, False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_a_url_into_this_machine_is_refused_before_a_byte_is_sent(host: str, postroom: Postroom) -> None:
    hooks = HookSimulator()
    async with serve(hooks.app) as at:
        url = f"http://{host}:{at.base_url.rpartition(':')[2]}/slack/x"
        async with opened((Channel("a", Shape.SLACK, SecretStr(url)),), allow_private=False) as channels:
            with pytest.raises(Refused, match="not a public one"):
                await channels.post("a", ALERT, message_id="msg_1", now=await clock(postroom.pool))
    assert hooks.taken == []


async def test_a_redirect_is_not_followed(postroom: Postroom) -> None:
    hooks = HookSimulator(refusals={"slack": [(307, {"location": "/standard/x"})]})
    async with (
        serve(hooks.app) as at,
        opened((Channel("a", Shape.SLACK, SecretStr(f"{at.base_url}/slack/x")),), allow_private=True) as channels,
    ):
        with pytest.raises(Exception, match="307"):
            await channels.post("a", ALERT, message_id="msg_1", now=await clock(postroom.pool))
    assert hooks.taken == []


async def test_a_message_names_no_secret(postroom: Postroom) -> None:
    channel = Channel("a", Shape.STANDARD, SecretStr("https://example.com/hook/token-1"))
    body, headers = written(channel, ALERT, message_id="msg_1", now=await clock(postroom.pool))
    assert "token-1" not in f"{body}{headers}{channel!r}"
    assert "webhook-signature" not in headers
