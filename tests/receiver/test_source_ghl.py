"""What GoHighLevel's own messages become, signed ones of apps and unsigned ones of workflows."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta, timezone
from typing import Any

import pytest

from receiver.sources.base import Incoming, Reason, Rejected
from receiver.sources.ghl import GhlSource
from receiver.sources.ghl_workflow import GhlWorkflowSource
from tests.receiver.senders import (
    BEARER,
    GHL_EVENT,
    GHL_KEY,
    NOW,
    STRANGER_KEY,
    STRANGER_SECRET,
    WORKFLOW,
    WORKFLOW_SECRET,
    as_headers,
    packed,
    pem,
    rejected,
    rsa_key,
    sign_ghl,
    sign_ghl_rsa,
    spki,
)


def ghl(event: Mapping[str, object], **options: Any) -> Incoming:
    source = GhlSource([spki(GHL_KEY.public_key())], **options)
    body = packed(event)
    return source.accept(as_headers(sign_ghl(body)), body, now=NOW)


def test_the_published_key_is_used_when_none_is_given() -> None:
    described = GhlSource(accept_rsa=True).describe()
    assert described.keys == ("5a2c1b27", "2f62045d")
    assert GhlSource().describe().switched_off == (
        "appId is not checked: GHL_APP_ID is not set",
        "the legacy header X-WH-Signature is not accepted: GHL_ACCEPT_RSA is off",
    )


def test_a_ghl_message_is_keyed_by_its_webhook_id_or_else_by_its_bytes() -> None:
    assert ghl(GHL_EVENT).key == "9062e8fb-8994-4b3c-bd91-280b42011652"
    for missing in ({}, {"webhookId": None}, {"webhookId": ""}, {"webhookId": "  "}):
        event = {**{name: value for name, value in GHL_EVENT.items() if name != "webhookId"}, **missing}
        assert ghl(event).key == hashlib.sha256(packed(event)).hexdigest()
    assert ghl({**GHL_EVENT, "webhookId": 17}).key == "17"


LANES = [
    ({"type": "ContactUpdate", "id": "c1"}, "ghl:contact:c1"),
    ({"type": "ContactTagUpdate", "id": "c1", "tags": ["a"]}, "ghl:contact:c1"),
    ({"type": "ContactDelete"}, None),
    ({"type": "AppointmentCreate", "appointment": {"id": "a1", "contactId": "c1"}}, "ghl:appointment:a1"),
    ({"type": "AppointmentDelete", "id": "a1"}, "ghl:appointment:a1"),
    ({"type": "AppointmentUpdate", "appointment": "a1"}, None),
    ({"type": "NoteCreate", "id": "n1", "contactId": "c1"}, "ghl:contact:c1"),
    ({"type": "NoteUpdate", "id": "n1"}, "ghl:note:n1"),
    ({"type": "TaskCreate", "id": "t1"}, "ghl:task:t1"),
    ({"type": "TaskComplete", "id": "t1", "contactId": "c1"}, "ghl:contact:c1"),
    ({"type": "OpportunityCreate", "id": "o1", "contactId": "c1"}, "ghl:opportunity:o1"),
    ({"type": "OpportunityMonetaryValueUpdate", "id": "o1"}, "ghl:opportunity:o1"),
    ({"type": "INSTALL", "locationId": "l1", "companyId": "co1"}, "ghl:location:l1"),
    ({"type": "INSTALL", "companyId": "co1"}, "ghl:location:co1"),
    ({"type": "UNINSTALL", "locationId": "l1"}, "ghl:location:l1"),
    ({"type": "UNINSTALL"}, None),
    ({"type": "LocationCreate", "id": "l1", "companyId": "co1"}, "ghl:location:l1"),
    ({"type": "UserUpdate", "id": "u1"}, "ghl:user:u1"),
    ({"type": "InboundMessage", "contactId": "c1", "conversationId": "v1"}, "ghl:contact:c1"),
    ({"type": "InvoicePaid", "id": "i1"}, "ghl:invoice:i1"),
    ({"type": "SMS", "contactId": "c1"}, "ghl:contact:c1"),
    ({"type": "LCEmailStats", "id": "e1"}, None),
    ({"type": "ContactCreate", "data": {"id": "c1", "webhookId": "w1"}}, "ghl:contact:c1"),
    ({"data": {"type": "AppointmentCreate", "appointment": {"id": "a1"}}}, "ghl:appointment:a1"),
    ({"type": "ContactCreate", "id": "c1", "data": {"id": "another"}}, "ghl:contact:c1"),
    ({"type": "ContactCreate", "id": "c1", "data": "text"}, "ghl:contact:c1"),
]


@pytest.mark.parametrize(("event", "lane"), LANES, ids=[str(event) for event, _ in LANES])
def test_a_ghl_message_queues_with_the_object_it_is_about(event: dict[str, object], lane: str | None) -> None:
    assert ghl(event).lane == lane


def test_a_ghl_message_nested_in_data_is_read_like_a_flat_one() -> None:
    taken = ghl({"data": GHL_EVENT})
    assert (taken.kind, taken.key, taken.lane) == ("ghl.ContactCreate", GHL_EVENT["webhookId"], f"ghl:contact:{GHL_EVENT['id']}")


@pytest.mark.parametrize("name", ["webhookId", "id"])
@pytest.mark.parametrize("value", ["a\u0000b", "a\nb", "a\u009fb", "a\u202eb", "x" * 201, -1, 1.5, 2**70, True, [], {}, ["x"]], ids=repr)
def test_an_id_that_is_unfit_as_a_name_is_malformed(name: str, value: object) -> None:
    with pytest.raises(Rejected) as caught:
        ghl({**GHL_EVENT, name: value})
    assert caught.value.reason is Reason.MALFORMED
    assert caught.value.detail.startswith(name)


@pytest.mark.parametrize("event", [{}, {"type": None}, {"type": ""}, {"id": "c1"}, {"data": {}}], ids=str)
def test_a_ghl_message_without_a_type_is_malformed(event: dict[str, object]) -> None:
    with pytest.raises(Rejected) as caught:
        ghl(event)
    assert caught.value.reason is Reason.MALFORMED


APP = "66f0a1b2c3d4e5f6a7b8c9d0"


@pytest.mark.parametrize("configured", [APP, f"{APP}-m1x2y3", f" {APP} "])
def test_a_message_for_another_app_is_refused_under_a_right_signature(configured: str) -> None:
    assert ghl({**GHL_EVENT, "appId": APP}, app_id=configured).kind == "ghl.ContactCreate"
    for other in (None, "", "another", APP[:-1], APP.upper()):
        with pytest.raises(Rejected) as caught:
            ghl({**GHL_EVENT, "appId": other}, app_id=configured)
        assert (caught.value.reason, caught.value.status) == (Reason.WRONG_APP, 401)


def test_without_an_app_id_any_app_may_send() -> None:
    for app_id in (None, "", " "):
        assert ghl({**GHL_EVENT, "appId": "another"}, app_id=app_id).kind == "ghl.ContactCreate"


def test_while_a_key_is_replaced_both_count() -> None:
    source = GhlSource([spki(STRANGER_KEY.public_key()), spki(GHL_KEY.public_key())])
    body = packed(GHL_EVENT)
    fingerprints = [source.accept(as_headers(sign_ghl(body, key)), body, now=NOW).fingerprint for key in (STRANGER_KEY, GHL_KEY)]
    assert tuple(fingerprints) == source.describe().keys


def test_the_legacy_header_counts_only_when_switched_on_and_alone() -> None:
    body = packed(GHL_EVENT)
    keys = [spki(GHL_KEY.public_key())]
    legacy = sign_ghl_rsa(body)
    off = GhlSource(keys, rsa_public_keys=[pem(rsa_key().public_key())])
    on = GhlSource(keys, accept_rsa=True, rsa_public_keys=[pem(rsa_key().public_key())])
    assert on.accept(as_headers(legacy), body, now=NOW).kind == "ghl.ContactCreate"
    assert on.accept(as_headers({**legacy, "x-ghl-signature": "N/A"}), body, now=NOW).kind == "ghl.ContactCreate"
    assert on.accept(as_headers({"x-wh-signature": "garbage", **sign_ghl(body)}), body, now=NOW).kind == "ghl.ContactCreate"
    for source, headers in ((off, legacy), (on, {**legacy, "x-ghl-signature": sign_ghl(body, STRANGER_KEY)["x-ghl-signature"]})):
        with pytest.raises(Rejected) as caught:
            source.accept(as_headers(headers), body, now=NOW)
        assert caught.value.reason is Reason.BAD_SIGNATURE


# GHL workflows


def workflow(event: object, headers: Mapping[str, str] | None = None, *, seconds: int = 0, secret: str = WORKFLOW_SECRET) -> Incoming:
    source = GhlWorkflowSource([("booking", WORKFLOW_SECRET), ("salon", "another-workflow-secret")])
    given = as_headers({"x-webhook-secret": secret, **(headers or {})})
    return source.accept(given, packed(event), now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("event", "kind", "lane"),
    [
        ({"contact_id": "c1"}, "contact", "ghl:contact:c1"),
        ({"contactId": "c1"}, "contact", "ghl:contact:c1"),
        ({"contact": {"id": "c1"}}, "contact", "ghl:contact:c1"),
        ({"customData": {"contact_id": "c1"}}, "contact", "ghl:contact:c1"),
        ({"contact_id": 12345}, "contact", "ghl:contact:12345"),
        ({"contact_id": "", "contact": "Ada", "customData": []}, "message", None),
        ({}, "message", None),
        ({"type": "Booked", "event": "other", "contact_id": "c1"}, "Booked", "ghl:contact:c1"),
        ({"event": "appointment.booked", "customData": {"event": "other"}}, "appointment.booked", None),
        ({"customData": {"event": "appointment.booked"}}, "appointment.booked", None),
    ],
    ids=str,
)
def test_a_workflow_message_is_named_by_what_was_mapped(event: dict[str, object], kind: str, lane: str | None) -> None:
    taken = workflow(event)
    assert (taken.kind, taken.lane) == (f"ghl-workflow.{kind}", lane)


def test_a_workflow_message_is_keyed_by_header_then_by_id_then_by_bytes_and_minute() -> None:
    event = {"contact_id": "c1", "webhookId": "w1"}
    assert workflow(event, {"idempotency-key": "k1", "x-idempotency-key": "k2"}).key == "booking:k1"
    assert workflow(event, {"x-idempotency-key": "k2"}).key == "booking:k2"
    assert workflow(event, {"idempotency-key": ""}).key == "booking:w1"
    digest = hashlib.sha256(packed({"contact_id": "c1"})).hexdigest()
    assert workflow({"contact_id": "c1"}).key == f"booking:{digest}@2026-10-05T09:05Z"


def test_a_workflow_message_repeated_within_the_minute_is_one_and_a_later_one_is_new() -> None:
    keys = [workflow({"contact_id": "c1"}, seconds=seconds).key for seconds in (0, 59, 60, 86400)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_the_minute_in_a_workflow_key_is_that_of_utc() -> None:
    keys = {WORKFLOW.accept(b"{}", now=NOW.astimezone(timezone(timedelta(hours=hours)))).key for hours in (-5, 0, 9)}
    assert len(keys) == 1


def test_two_workflow_connections_never_share_a_key() -> None:
    assert workflow({}, {"idempotency-key": "k"}).key == "booking:k"
    assert workflow({}, {"idempotency-key": "k"}, secret="another-workflow-secret").key == "salon:k"


@pytest.mark.parametrize("key", ["x" * 201, "a\x7fb", "\x80"])
def test_an_idempotency_header_unfit_as_a_key_is_malformed(key: str) -> None:
    with pytest.raises(Rejected) as caught:
        workflow({}, {"idempotency-key": key})
    assert caught.value.reason is Reason.MALFORMED


def test_an_idempotency_header_that_comes_twice_is_malformed() -> None:
    headers = as_headers(WORKFLOW.sign(b"{}"), [(b"idempotency-key", b"a"), (b"Idempotency-Key", b"b")])
    assert rejected(WORKFLOW, b"{}", headers).reason is Reason.MALFORMED


def test_a_bearer_token_is_taken_in_any_case_of_the_scheme_and_other_schemes_are_not() -> None:
    for value in (f"bearer {WORKFLOW_SECRET}", f"BEARER   {WORKFLOW_SECRET}"):
        assert BEARER.accept(b"{}", {"authorization": value}).kind == "ghl-workflow.message"
    for value in (f"Basic {WORKFLOW_SECRET}", WORKFLOW_SECRET, f"Bearer{WORKFLOW_SECRET}", f"Bearer {WORKFLOW_SECRET} x"):
        assert rejected(BEARER, b"{}", {"authorization": value}).reason is Reason.BAD_SIGNATURE


def test_of_two_secrets_shown_the_webhook_header_counts() -> None:
    both = {"x-webhook-secret": STRANGER_SECRET, "authorization": f"Bearer {WORKFLOW_SECRET}"}
    assert rejected(WORKFLOW, b"{}", both).reason is Reason.BAD_SIGNATURE
