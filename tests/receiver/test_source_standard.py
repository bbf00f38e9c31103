"""What messages by the Standard Webhooks specification become."""

import base64

import pytest

from outbox.errors import ConfigError
from outbox.event import KIND, SOURCE
from receiver.sources.base import Incoming, Reason, Rejected
from receiver.sources.standard_webhooks import StandardWebhooksSource, standard_sources
from tests.receiver.senders import (
    NOW,
    STANDARD,
    STANDARD_SECRET,
    as_headers,
    packed,
    rejected,
    sign_standard,
)


def standard(body: bytes, **signing: str) -> Incoming:
    return STANDARD.accept(body, sign_standard(body, **signing))


def test_a_standard_message_is_keyed_by_its_id_and_named_by_its_sender_and_type() -> None:
    taken = standard(packed({"type": "order.paid"}), message_id="msg_2KWPBgLlAfxdpx2AI54pPJ85f4W")
    assert (taken.source, taken.kind, taken.key, taken.lane) == (
        "standard:shop",
        "standard.shop.order.paid",
        "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
        None,
    )
    assert standard(b"{}").kind == "standard.shop.message"


def test_the_standard_reference_message_is_accepted_at_its_time() -> None:
    source = StandardWebhooksSource("svix", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    now = NOW.fromtimestamp(1614265330, tz=NOW.tzinfo)
    assert source.accept(as_headers(headers), b'{"test": 2432232314}', now=now).key == headers["webhook-id"]


def test_while_a_standard_secret_is_replaced_both_count() -> None:
    other = "whsec_" + base64.b64encode(bytes(24)).decode()
    sources = standard_sources([("shop", STANDARD_SECRET), ("crm", other), ("shop", other)])
    assert [(name, source.name, len(source.describe().keys)) for name, source in sources.items()] == [
        ("shop", "standard:shop", 2),
        ("crm", "standard:crm", 1),
    ]
    for secret, fingerprint in zip((STANDARD_SECRET, other), sources["shop"].describe().keys, strict=True):
        assert sources["shop"].accept(as_headers(sign_standard(b"{}", secret=secret)), b"{}", now=NOW).fingerprint == fingerprint


def test_a_standard_message_waits_as_long_as_the_limit_either_way_and_no_longer() -> None:
    base = int(NOW.timestamp())
    for seconds in (-2 * 86400, -600, 600, 2 * 86400):
        assert standard(b"{}", timestamp=str(base + seconds)).key == "msg_1"
    for seconds, reason in ((-2 * 86400 - 1, Reason.TOO_OLD), (2 * 86400 + 1, Reason.TOO_NEW)):
        body = b"{}"
        refusal = rejected(STANDARD, body, sign_standard(body, timestamp=str(base + seconds)))
        assert (refusal.reason, refusal.status) == (reason, 401)


@pytest.mark.parametrize("timestamp", ["", "soon", "-1", "1e9", "1.5", "+1", "1 2", "0x10", "\xb2", "9" * 13, "2026-10-05T09:05:00Z"])
def test_a_standard_timestamp_that_is_no_whole_number_is_refused(timestamp: str) -> None:
    assert rejected(STANDARD, b"{}", sign_standard(b"{}", timestamp=timestamp)).reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_standard_header_is_needed_and_only_once(header: str) -> None:
    right = sign_standard(b"{}")
    without = {name: value for name, value in right.items() if name != header}
    assert rejected(STANDARD, b"{}", without).reason is Reason.BAD_SIGNATURE
    twice = as_headers(right, [(header.encode(), right[header].encode())])
    assert rejected(STANDARD, b"{}", twice).reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("message_id", ["x" * 201, "a\x80b", "\xa0\x85"])
def test_a_signed_standard_id_that_is_unfit_as_a_key_is_malformed(message_id: str) -> None:
    assert rejected(STANDARD, b"{}", sign_standard(b"{}", message_id=message_id)).reason is Reason.MALFORMED


def test_a_signed_text_cannot_be_cut_into_another_id_time_and_body() -> None:
    signature = sign_standard(b"{}", message_id="msg.1791190000", timestamp="1791191100")["webhook-signature"]
    moved = {"webhook-id": "msg", "webhook-timestamp": "1791190000", "webhook-signature": signature}
    assert rejected(STANDARD, b"1791191100.{}", moved).reason is Reason.MALFORMED


def test_a_standard_kind_fits_the_outbox_however_long_the_sender_is_called() -> None:
    source = StandardWebhooksSource("x" * 40, [STANDARD_SECRET])
    assert SOURCE.fullmatch(source.name)
    for length, fits in ((70, True), (71, False)):
        body = packed({"type": "t" * length})
        if fits:
            assert KIND.fullmatch(source.accept(as_headers(sign_standard(body)), body, now=NOW).kind)
        else:
            with pytest.raises(Rejected) as caught:
                source.accept(as_headers(sign_standard(body)), body, now=NOW)
            assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("sender", ["", "Shop", "a.b", "a/b", "a b", "x" * 41, "é"])
def test_a_standard_sender_needs_a_name_fit_for_a_path(sender: str) -> None:
    with pytest.raises(ConfigError, match="STANDARD_WEBHOOK_SECRETS"):
        StandardWebhooksSource(sender, [STANDARD_SECRET])
