"""Whatever arrives, a source answers with an event, a handshake or the one rejection; and nothing signed can be changed by a bit."""

import base64
import json
from collections.abc import Mapping
from contextlib import nullcontext

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outbox.event import KIND, SOURCE
from receiver.signatures import (
    match_secret,
    read_ed25519_keys,
    read_named_secrets,
    read_rsa_keys,
    read_standard_secrets,
    read_tokens,
    verify_ed25519,
    verify_prefixed_hex,
    verify_rsa,
    verify_standard,
)
from receiver.sources.base import Handshake, Headers, Incoming, Reason, Rejected, Source
from receiver.sources.fields import check_age, moment_of
from tests.receiver.senders import (
    GHL_KEY,
    NOTION,
    NOTION_TOKEN,
    NOW,
    SENDERS,
    STANDARD_SECRET,
    WORKFLOW_SECRET,
    Sender,
    as_headers,
    packed,
    pem,
    rsa_key,
    sign_notion,
    spki,
)

every_sender = pytest.mark.parametrize("sender", SENDERS, ids=[sender.label for sender in SENDERS])
every_signing_sender = pytest.mark.parametrize(
    "sender", [sender for sender in SENDERS if sender.signs_the_body], ids=[sender.label for sender in SENDERS if sender.signs_the_body]
)
patient = settings(deadline=None)  # the cores may be busy; nothing here is a test of speed

# Names that some source reads, so that Hypothesis does not have to guess them.
HEADER_NAMES = sorted(
    {name for sender in SENDERS for name in sender.sign(b"{}")} | {"x-notion-timestamp", "idempotency-key", "x-idempotency-key"}
)
HEADER_VALUES = sorted(
    {value for sender in SENDERS for value in sender.sign(b"{}").values()} | {"N/A", "Bearer ", "sha256=", "v1,", "v1, v1,"}
)
MEMBERS = [
    "type",
    "event",
    "data",
    "id",
    "webhookId",
    "timestamp",
    "appId",
    "locationId",
    "companyId",
    "contactId",
    "contact_id",
    "contact",
    "customData",
    "appointment",
    "entity",
    "verification_token",
]

headers = st.lists(
    st.tuples(
        st.sampled_from([name.encode() for name in HEADER_NAMES]) | st.binary(max_size=30),
        st.sampled_from([value.encode() for value in HEADER_VALUES]) | st.binary(max_size=200),
    ),
    max_size=8,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**310)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(
        ["2026-10-05T09:01:34.285Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "ContactCreate", "page.created", "\x00"]
    )
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.sampled_from(MEMBERS), inner, max_size=4), max_leaves=10
)
hostile_objects = st.dictionaries(st.sampled_from(MEMBERS) | texts, values, max_size=8)
# Names that no source reads: such members must pass through without a trace.
harmless_objects = st.dictionaries(texts.map(lambda name: f"x-{name}"), values, max_size=6)


def answer(source: Source, given_headers: Headers, body: bytes) -> Incoming | Handshake | Rejected:
    """What accept() did. Anything else that it raises fails the test that called."""
    taken: Incoming | Handshake | Rejected
    try:
        taken = source.accept(given_headers, body, now=NOW)
    except Rejected as refusal:
        taken = refusal
    if isinstance(taken, Rejected):
        assert taken.status in (400, 401)
        assert taken.detail.isprintable()
        assert len(taken.detail) < 200
    if isinstance(taken, Incoming):
        assert KIND.fullmatch(taken.kind)
        assert SOURCE.fullmatch(taken.source)
        for name in (taken.key, taken.lane or "none"):
            assert 1 <= len(name) <= 400
            assert name.isprintable()
        assert taken.body == body
    return taken


@every_sender
@given(given_headers=headers, body=st.binary() | hostile_objects.map(packed))
@patient
def test_any_headers_and_any_bytes_end_in_an_event_or_a_rejection(
    sender: Sender, given_headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    for source in (sender.source, sender.unconfigured):
        taken = answer(source, Headers(given_headers), body)
        assert source is sender.source or not isinstance(taken, Incoming)


@every_sender
@given(body=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")) | hostile_objects.map(packed))
@example(body=b"")
@example(body=b'{"a":' * 300)
@patient
def test_any_bytes_that_are_rightly_signed_are_taken_or_malformed(sender: Sender, body: bytes) -> None:
    taken = answer(sender.source, as_headers(sender.sign(body)), body)
    if isinstance(taken, Rejected):
        assert taken.reason in (Reason.MALFORMED, Reason.TOO_OLD)


@every_sender
@given(members=harmless_objects, spaced=st.booleans())
@patient
def test_any_object_that_is_signed_is_accepted_with_its_bytes_untouched(
    sender: Sender, members: Mapping[str, object], spaced: bool
) -> None:
    body = json.dumps({**members, **sender.needs}, indent=2 if spaced else None, ensure_ascii=spaced).encode()
    taken = answer(sender.source, as_headers(sender.sign(body)), body)
    assert isinstance(taken, Incoming)
    assert taken.kind.startswith(sender.prefix)


@every_signing_sender
@given(members=harmless_objects, place=st.integers(min_value=0), bit=st.integers(0, 7))
@patient
def test_a_signed_body_with_any_bit_changed_is_refused(sender: Sender, members: Mapping[str, object], place: int, bit: int) -> None:
    body = packed({**members, **sender.needs})
    changed = bytearray(body)
    changed[place % len(body)] ^= 1 << bit
    refusal = answer(sender.source, as_headers(sender.sign(body)), bytes(changed))
    assert isinstance(refusal, Rejected)
    assert refusal.reason is Reason.BAD_SIGNATURE


@every_sender
@given(place=st.integers(min_value=0), bit=st.integers(0, 7))
@patient
def test_a_proof_with_any_bit_changed_is_refused(sender: Sender, place: int, bit: int) -> None:
    body = packed(sender.event)
    right = sender.sign(body)
    proof = bytearray(right[sender.proof].encode())
    proof[place % len(proof)] ^= 1 << bit
    # In these two places another case means the same: hex digits, and the name of the bearer scheme.
    same = proof.lower() == right[sender.proof].encode().lower() and (
        (sender.label == "notion" and place % len(proof) >= 7) or (sender.label == "ghl-workflow-bearer" and place % len(proof) < 6)
    )
    taken = answer(sender.source, as_headers({**right, sender.proof: proof.decode("latin-1")}), body)
    assert isinstance(taken, Incoming) if same else isinstance(taken, Rejected)
    if isinstance(taken, Rejected):
        assert taken.reason is Reason.BAD_SIGNATURE


@every_signing_sender
@given(members=harmless_objects)
@patient
def test_what_one_sender_signed_no_other_scheme_takes(sender: Sender, members: Mapping[str, object]) -> None:
    body = packed({**members, **sender.needs})
    for other in SENDERS:
        if other.source.name != sender.source.name:
            assert isinstance(answer(other.source, as_headers(sender.sign(body)), body), Rejected)


@given(token=values, signed=st.booleans())
@patient
def test_any_verification_token_is_a_candidate_or_a_rejection_and_never_an_event(token: object, signed: bool) -> None:
    body = packed({"verification_token": token})
    given_headers = as_headers(sign_notion(body, token) if signed and isinstance(token, str) else {})
    taken = answer(NOTION.source, given_headers, body)
    assert not isinstance(taken, Incoming)
    if isinstance(taken, Handshake):
        assert taken.token.get_secret_value() == token


KEYS = read_ed25519_keys([spki(GHL_KEY.public_key())], setting="K")
LEGACY = read_rsa_keys([pem(rsa_key().public_key())], setting="K")
TOKENS = read_tokens([NOTION_TOKEN], setting="T")
STANDARD_KEYS = read_standard_secrets([STANDARD_SECRET], setting="S")
SECRETS = read_named_secrets([("booking", WORKFLOW_SECRET)], setting="S")
signatures = (
    st.text(max_size=120)
    | st.binary(min_size=64, max_size=64).map(lambda raw: base64.b64encode(raw).decode())
    | st.binary(min_size=256, max_size=256).map(lambda raw: base64.b64encode(raw).decode())
    | st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256={raw.hex()}")
    | st.binary(min_size=32, max_size=32).map(lambda raw: f"v1,{base64.b64encode(raw).decode()}")
)


@given(signature=signatures, body=st.binary(), other=st.text())
@patient
def test_no_check_raises_and_no_made_up_signature_passes(signature: str, body: bytes, other: str) -> None:
    assert verify_ed25519(KEYS, signature, body) is None
    assert verify_rsa(LEGACY, signature, body) is None
    assert verify_prefixed_hex(TOKENS, signature, body) is None
    assert verify_standard(STANDARD_KEYS, signature, other, other, body) is None
    assert match_secret(SECRETS, signature) is None


@given(value=values | st.floats() | st.datetimes().map(str) | st.integers(min_value=10**14, max_value=10**400).map(str))
@patient
def test_any_value_is_a_moment_or_none_and_has_an_age_or_not(value: object) -> None:
    moment = moment_of(value)
    assert moment is None or isinstance(moment, float)
    is_late = moment is not None and NOW.timestamp() - moment > 60
    with pytest.raises(Rejected, match="too_old") if is_late else nullcontext():
        check_age(moment, 60, now=NOW)
