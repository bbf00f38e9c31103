"""The contract of every source, run over all of them: what is taken, what is refused and how, and how old a message may be."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from outbox.event import KIND, SOURCE
from receiver.sources.base import Incoming, Reason, Rejected, Source
from receiver.sources.fields import check_age, moment_of
from receiver.sources.ghl import GhlSource
from receiver.sources.notion import NotionSource
from receiver.sources.standard_webhooks import StandardWebhooksSource
from tests.receiver.senders import (
    GHL,
    GHL_EVENT,
    GHL_KEY,
    NOTION,
    NOTION_EVENT,
    NOTION_TOKEN,
    NOW,
    SENDERS,
    STANDARD_SECRET,
    STRANGER_SECRET,
    WORKFLOW_SECRET,
    Sender,
    as_headers,
    packed,
    rejected,
    sign_ghl,
    sign_notion,
    sign_standard,
    spki,
)

every_sender = pytest.mark.parametrize("sender", SENDERS, ids=[sender.label for sender in SENDERS])


@every_sender
def test_a_rightly_signed_message_becomes_an_event_with_its_bytes_untouched(sender: Sender) -> None:
    body = b" " + packed(sender.event) + b"\n"
    taken = sender.accept(body)
    assert (taken.source, taken.kind, taken.body) == (sender.source.name, sender.kind, body)
    assert KIND.fullmatch(taken.kind)
    assert SOURCE.fullmatch(taken.source)
    assert any(key.split()[-1] == taken.fingerprint for key in sender.source.describe().keys)
    assert sender.accept(body) == taken


@every_sender
def test_every_fault_of_the_signature_is_the_same_401(sender: Sender) -> None:
    body = packed(sender.event)
    right = sender.sign(body)
    proof = right[sender.proof]
    bare = {name: value for name, value in right.items() if name != sender.proof}
    faults = [
        "",
        "N/A",
        "garbage",
        proof[:-1],
        proof[1:],
        proof + "A",
        "sha256=" + "0" * 64,
        "v1," + "A" * 43 + "=",
        "\xff\xfe",
        "=" * 88,
        "Bearer",
        "Bearer ",
    ]
    for headers in [{}, bare, sender.forge(body), *({**bare, sender.proof: fault} for fault in faults)]:
        refusal = rejected(sender, body, headers)
        assert (refusal.reason, refusal.status) == (Reason.BAD_SIGNATURE, 401), headers


@every_sender
def test_a_signature_header_that_comes_twice_is_refused_even_if_both_are_right(sender: Sender) -> None:
    body = packed(sender.event)
    right = sender.sign(body)
    for second in (right[sender.proof], "garbage"):
        headers = as_headers(right, [(sender.proof.title().encode(), second.encode())])
        assert rejected(sender, body, headers).reason is Reason.BAD_SIGNATURE


@every_sender
def test_without_a_key_everything_is_refused_as_not_configured(sender: Sender) -> None:
    body = packed(sender.event)
    for headers in ({}, sender.sign(body)):
        with pytest.raises(Rejected) as caught:
            sender.unconfigured.accept(as_headers(headers), body, now=NOW)
        assert (caught.value.reason, caught.value.status) == (Reason.NOT_CONFIGURED, 401)
    described = sender.unconfigured.describe()
    assert (described.configured, described.keys) == (False, ())


@pytest.mark.parametrize("sender", [sender for sender in SENDERS if sender.signs_the_body], ids=lambda sender: sender.label)
def test_another_body_under_a_right_signature_is_refused(sender: Sender) -> None:
    body = packed(sender.event)
    headers = sender.sign(body)
    for other in (body + b" ", body[:-1], body.replace(b":", b": ", 1), b"", b"{}"):
        assert rejected(sender, other, headers).reason is Reason.BAD_SIGNATURE


NO_OBJECTS = {
    "empty": b"",
    "blank": b"  \n",
    "null": b"null",
    "array": b'[{"type":"x"}]',
    "string": b'"x"',
    "number": b"1",
    "cut off": b'{"type":"x"',
    "two objects": b"{}{}",
    "single quotes": b"{'type':'x'}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"type":"x"}'.encode("utf-16"),
    "invalid utf-8": b'{"type":"\xff\xfe"}',
    "overlong utf-8": b'{"type":"\xc0\xaf"}',
    "raw NUL": b'{"type":"a\x00b"}',
    "raw line break": b'{"type":"a\nb"}',
    "lone surrogate": b'{"type":"\\ud800"}',
    "NaN": b'{"n":NaN}',
    "infinity": b'{"n":-Infinity}',
    "number of 5,000 digits": b'{"n":' + b"9" * 5000 + b"}",
    "nested 300 deep": b'{"n":' + b"[" * 300 + b"]" * 300 + b"}",
    "nested 100,000 deep": b"[" * 100_000,
    "objects nested 50,000 deep": b'{"a":' * 50_000,
}


@every_sender
@pytest.mark.parametrize("body", NO_OBJECTS.values(), ids=NO_OBJECTS.keys())
def test_a_signed_body_that_is_no_json_object_is_malformed(sender: Sender, body: bytes) -> None:
    refusal = rejected(sender, body)
    assert (refusal.reason, refusal.status) == (Reason.MALFORMED, 400)
    assert len(str(refusal)) < 200


@every_sender
def test_an_unsigned_body_that_is_no_json_is_told_nothing_about_it(sender: Sender) -> None:
    for body in NO_OBJECTS.values():
        assert rejected(sender, body, {}).reason is Reason.BAD_SIGNATURE


@every_sender
def test_oddities_that_json_allows_are_kept_as_they_are(sender: Sender) -> None:
    for odd in (
        b'"n":1e999',
        b'"n":-0',
        b'"n":' + b"9" * 4000,
        b'"n":0.' + b"1" * 9000,
        b'"n":"\\u0000"',
        '"n":"\u2028é👇"'.encode(),
        b'"":{}',
    ):
        body = packed(sender.event)[:-1] + b"," + odd + b"}"
        taken = sender.accept(body)
        assert (taken.kind, taken.body) == (sender.kind, body)


@every_sender
def test_of_duplicate_names_the_last_counts(sender: Sender) -> None:
    body = b'{"type":"First","type":"Second",' + packed({**sender.event, "type": "Third"})[1:]
    assert sender.accept(body).kind == sender.prefix + "Third"


@every_sender
@pytest.mark.parametrize("event_type", ["NeverHeardOf", "x", "a.b_c:d-e", "A" * 100])
def test_a_type_nobody_has_heard_of_is_kept(sender: Sender, event_type: str) -> None:
    taken = sender.accept(packed({**sender.event, "type": event_type}))
    assert taken.kind == sender.prefix + event_type
    assert KIND.fullmatch(taken.kind)


@every_sender
@pytest.mark.parametrize(
    "event_type",
    [
        "a" * 101,
        " ",
        "two words",
        "a/b",
        "é",
        "a\u0000",
        "\u0000",
        "line\nbreak",
        "<script>",
        ".dot",
        7,
        1e400,
        True,
        [],
        ["a"],
        {},
        {"a": 1},
    ],
    ids=repr,
)
def test_a_type_that_is_no_word_is_malformed(sender: Sender, event_type: object) -> None:
    refusal = rejected(sender, packed({**sender.event, "type": event_type}).replace(b"Infinity", b"1e400"))
    assert refusal.reason is Reason.MALFORMED
    assert "script" not in refusal.detail


@every_sender
def test_what_is_kept_of_the_headers_is_little_harmless_and_bounded(sender: Sender) -> None:
    body = packed(sender.event)
    more = [
        (b"User-Agent", b"probe/1.0 " + b"x" * 500),
        (b"content-type", b"application/json"),
        (b"cookie", b"session=1"),
        (b"x-api-key", b"secret"),
        (b"traceparent", b"00-\x80-bad"),
    ]
    if sender.proof != "authorization":
        more.append((b"authorization", b"Bearer hidden"))
    taken = sender.source.accept(as_headers(sender.sign(body), more), body, now=NOW)
    assert isinstance(taken, Incoming)
    assert taken.headers["user-agent"] == "probe/1.0 " + "x" * 190
    assert taken.headers["content-type"] == "application/json"
    assert set(taken.headers) <= {"user-agent", "content-type", "webhook-id", "webhook-timestamp"}


@every_sender
def test_nothing_that_a_source_says_holds_a_secret(sender: Sender) -> None:
    body = packed(sender.event)
    said = [
        repr(sender.source),
        repr(sender.source.describe()),
        repr(sender.accept(body).headers),
        str(rejected(sender, body, sender.forge(body))),
        str(rejected(sender, b"", sender.sign(b""))),
    ]
    for secret in (NOTION_TOKEN, WORKFLOW_SECRET, STRANGER_SECRET, STANDARD_SECRET, sender.sign(body)[sender.proof]):
        assert not any(secret in text for text in said)


@every_sender
def test_blanks_around_a_header_value_are_not_part_of_it(sender: Sender) -> None:
    body = packed(sender.event)
    padded = {name: f" \t{value}\t " for name, value in sender.sign(body).items()}
    assert sender.accept(body, padded) == sender.accept(body)


def test_each_reason_has_its_status() -> None:
    statuses = {reason: Rejected(reason, "words").status for reason in Reason}
    assert statuses.pop(Reason.MALFORMED) == 400
    assert statuses.pop(Reason.TOO_LARGE) == 413
    assert set(statuses.values()) == {401}


def stamped(sender: Sender, moment: str | float | None) -> Incoming:
    return sender.accept(packed({**sender.event, "timestamp": moment}))


@pytest.mark.parametrize(("sender", "days"), [(GHL, 4), (NOTION, 2)], ids=["ghl", "notion"])
def test_a_repeat_within_the_providers_retry_horizon_is_taken_and_a_later_one_is_not(sender: Sender, days: int) -> None:
    for age in (timedelta(minutes=6), timedelta(hours=25), timedelta(days=days), -timedelta(days=365)):
        assert stamped(sender, (NOW - age).isoformat()).kind == sender.kind
    for late in (
        (NOW - timedelta(days=days, seconds=1)).isoformat(),
        (NOW - timedelta(days=days, seconds=1)).replace(tzinfo=None).isoformat(),
        NOW.timestamp() - days * 86400 - 1,
        (NOW.timestamp() - days * 86400 - 1) * 1000,
        "0001-01-01T00:00:00+14:00",
    ):
        with pytest.raises(Rejected) as caught:
            stamped(sender, late)
        assert (caught.value.reason, caught.value.status) == (Reason.TOO_OLD, 401)


@pytest.mark.parametrize("sender", [GHL, NOTION], ids=["ghl", "notion"])
@pytest.mark.parametrize("moment", [None, "", "yesterday", "9999-99-99", "9999-12-31T23:59:59-14:00", 10**400, -(10**400), True, "9" * 400])
def test_a_signed_time_that_cannot_be_read_is_no_reason_to_lose_a_message(sender: Sender, moment: Any) -> None:
    assert stamped(sender, moment).kind == sender.kind


def test_the_age_limit_can_be_switched_off() -> None:
    body = packed({**GHL_EVENT, **NOTION_EVENT, "timestamp": "2001-01-01T00:00:00Z"})
    unlimited: list[tuple[Source, dict[str, str]]] = [
        (GhlSource([spki(GHL_KEY.public_key())], max_age_s=None), sign_ghl(body)),
        (NotionSource([NOTION_TOKEN], max_age_s=None), {**sign_notion(body), "x-notion-timestamp": "0"}),
        (StandardWebhooksSource("shop", [STANDARD_SECRET], max_age_s=None), sign_standard(body, timestamp="0")),
    ]
    for source, headers in unlimited:
        assert isinstance(source.accept(as_headers(headers), body, now=NOW), Incoming)
        assert source.describe().max_age_s is None


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own time zone is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_times_are_read_as_seconds_milliseconds_or_iso() -> None:
    assert [moment_of(value) for value in ("2026-10-05T09:05:00Z", "2026-10-05T10:05:00+01:00", "2026-10-05T09:05:00")] == [
        NOW.timestamp()
    ] * 3
    assert [moment_of(value) for value in (int(NOW.timestamp()), str(int(NOW.timestamp())), NOW.timestamp() * 1000)] == [
        NOW.timestamp()
    ] * 3
    check_age(float("nan"), 1, now=NOW)
