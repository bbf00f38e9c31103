"""What Notion's own messages become, and the handshake."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from receiver.sources.base import Handshake, Incoming, Reason, Rejected
from receiver.sources.notion import NotionSource, dashed
from tests.receiver.senders import (
    NOTION,
    NOTION_EVENT,
    NOTION_TOKEN,
    NOW,
    STRANGER_SECRET,
    as_headers,
    packed,
    rejected,
    sign_notion,
)
from tests.specs import specs_path


def notion(event: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Incoming:
    body = packed(event)
    return NOTION.accept(body, {**sign_notion(body), **(headers or {})})


def notion_examples() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads(specs_path("notion/webhook-event-examples.json").read_text())["cases"]
    return cases


def test_every_example_of_a_notion_event_is_taken_with_its_id_type_and_entity() -> None:
    examples = notion_examples()
    assert len(examples) >= 43
    for case in examples:
        event = case["event"]
        taken = notion(event)
        assert taken.kind == f"notion.{event['type']}", case["name"]
        assert taken.key == event["id"]
        assert taken.lane == f"notion:{event['entity']['type']}:{event['entity']['id']}"


def test_a_notion_repeat_has_other_bytes_and_the_same_key() -> None:
    first, second = notion(NOTION_EVENT), notion({**NOTION_EVENT, "attempt_number": 2})
    assert first.key == second.key
    assert first.body != second.body


def test_notions_signature_passes_in_upper_case_but_its_prefix_does_not() -> None:
    body = packed(NOTION_EVENT)
    digits = sign_notion(body)["x-notion-signature"].removeprefix("sha256=")
    assert NOTION.accept(body, {"x-notion-signature": f"sha256={digits.upper()}"}).kind == "notion.page.created"
    for value in (
        f"SHA256={digits}",
        digits,
        f"sha256={digits[:-1]}",
        f"sha256={digits}0",
        f"sha256= {digits}",
        f"sha1={digits}",
        f"sha256={digits[:-1]}٣"[:70],
    ):
        assert rejected(NOTION, body, {"x-notion-signature": value}).reason is Reason.BAD_SIGNATURE


def test_each_of_several_subscriptions_is_tried() -> None:
    source = NotionSource([NOTION_TOKEN, STRANGER_SECRET])
    body = packed(NOTION_EVENT)
    for token, fingerprint in zip((NOTION_TOKEN, STRANGER_SECRET), source.describe().keys, strict=True):
        taken = source.accept(as_headers(sign_notion(body, token)), body, now=NOW)
        assert isinstance(taken, Incoming)
        assert taken.fingerprint == fingerprint == hashlib.sha256(token.encode()).hexdigest()[:8]


def test_notions_ids_are_written_in_one_way() -> None:
    plain = "d3747944fb9d52948d9e01316c6818c5"
    for written in (plain, plain.upper(), str(uuid.UUID(plain)), str(uuid.UUID(plain)).upper()):
        taken = notion({**NOTION_EVENT, "id": written, "entity": {"id": written, "type": "page"}})
        assert (taken.key, taken.lane) == (str(uuid.UUID(plain)), f"notion:page:{uuid.UUID(plain)}")
    assert dashed("Not-A-Uuid") == "Not-A-Uuid"


@pytest.mark.parametrize(
    ("entity", "lane"),
    [
        (None, None),
        ({}, None),
        ("text", None),
        ({"type": "page"}, None),
        ({"id": "p1"}, "notion:page:p1"),
        ({"id": "p1", "type": "widget"}, "notion:widget:p1"),
    ],
    ids=str,
)
def test_a_notion_event_queues_with_its_entity_if_it_has_one(entity: object, lane: str | None) -> None:
    assert notion({**NOTION_EVENT, "entity": entity}).lane == lane


@pytest.mark.parametrize(
    "event", [{"type": "page.created"}, {"id": "x"}, {"id": "", "type": "page.created"}, {"id": None, "type": "page.created"}], ids=str
)
def test_a_notion_event_without_id_or_type_is_malformed(event: dict[str, object]) -> None:
    with pytest.raises(Rejected) as caught:
        notion(event)
    assert caught.value.reason is Reason.MALFORMED


def test_notions_timestamp_header_is_honoured_when_it_is_there() -> None:
    fresh, stale = NOW - timedelta(hours=26), NOW - timedelta(days=2, seconds=1)
    for good in (fresh.isoformat(), str(int(fresh.timestamp())), str(int(fresh.timestamp() * 1000)), ""):
        assert notion(NOTION_EVENT, {"x-notion-timestamp": good}).kind == "notion.page.created"
    for value, reason in (
        (stale.isoformat(), Reason.TOO_OLD),
        ("0", Reason.TOO_OLD),
        ("soon", Reason.MALFORMED),
        ("9" * 40, Reason.MALFORMED),
        ("\xb2", Reason.MALFORMED),
    ):
        with pytest.raises(Rejected) as caught:
            notion(NOTION_EVENT, {"x-notion-timestamp": value})
        assert caught.value.reason is reason


HANDSHAKE = packed({"verification_token": NOTION_TOKEN})


@pytest.mark.parametrize("tokens", [[], [NOTION_TOKEN], [STRANGER_SECRET]], ids=["none in use", "the same in use", "another in use"])
@pytest.mark.parametrize("headers", [{}, sign_notion(HANDSHAKE)], ids=["unsigned", "signed with its own token"])
def test_a_handshake_is_handed_over_as_a_candidate_and_keeps_its_token_covered(tokens: list[str], headers: dict[str, str]) -> None:
    handshake = NotionSource(tokens).accept(as_headers(headers), b"\n" + HANDSHAKE if not headers else HANDSHAKE, now=NOW)
    assert isinstance(handshake, Handshake)
    assert handshake.token.get_secret_value() == NOTION_TOKEN
    assert handshake.fingerprint == hashlib.sha256(NOTION_TOKEN.encode()).hexdigest()[:8]
    assert NOTION_TOKEN not in repr(handshake)


@pytest.mark.parametrize("tokens", [[], [NOTION_TOKEN], [STRANGER_SECRET]])
def test_a_handshake_signed_with_another_token_than_its_own_is_refused(tokens: list[str]) -> None:
    with pytest.raises(Rejected) as caught:
        NotionSource(tokens).accept(as_headers(sign_notion(HANDSHAKE, STRANGER_SECRET)), HANDSHAKE, now=NOW)
    assert caught.value.reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 201, "with a space in it, long", "with-a-nul-\u0000-in-it-long", 7, None, True, [], {"a": "b"}], ids=repr
)
def test_a_handshake_with_an_unusable_token_is_malformed(token: object) -> None:
    assert rejected(NOTION, packed({"verification_token": token}), {}).reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "body",
    [
        packed({"verification_token": NOTION_TOKEN, "id": "x"}),
        packed({"data": {"verification_token": NOTION_TOKEN}}),
        packed([{"verification_token": NOTION_TOKEN}]),
        b'{"verification_token"',
        packed({"verification_token": NOTION_TOKEN}) + b" " * 1024,
    ],
)
def test_what_only_looks_like_a_handshake_must_be_signed_like_anything_else(body: bytes) -> None:
    assert rejected(NOTION, body, {}).reason is Reason.BAD_SIGNATURE
