"""Errors of destinations: nothing private in them, and words that help."""

import random
import string

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import MESSAGE_CHARS, Refused, Unauthorised, scrub
from tests.dispatcher import patient


def test_messages_of_the_far_side_lose_addresses_numbers_and_tokens() -> None:
    said = (
        "Contact ada.lovelace+x@example.co.uk (+353 1 555 0100, 01-555.0101) with page 11111111-1111-4111-8111-111111111111\n"
        "and Bearer abc.def pit-0000-abc ntn_123456 eyJhbGciOi.eyJzdWIi.c2ln id ve9EPM428h8vShlRW1KT"
    )
    assert scrub(said) == (
        "Contact [e-mail] ([number], [number]) with page 11111111-1111-4111-8111-111111111111 "
        "and [secret] [secret] [secret] [secret] id ve9EPM428h8vShlRW1KT"
    )


@patient
@given(
    st.text(max_size=300),
    st.from_regex(r"[a-z0-9.]{1,20}@[a-z0-9]{1,10}\.(com|ie)", fullmatch=True),
    st.text(max_size=3_000),
)
def test_no_address_survives_in_an_error_and_no_error_is_long(before: str, address: str, after: str) -> None:
    error = Refused("there", f"{before} {address} {after}", details=(f"{before} {address}",) * 30)
    assert len(error.message) <= MESSAGE_CHARS
    assert f" {address} " not in f" {error} "
    assert len(error.details) <= 20
    assert error.message.isprintable()


def test_an_event_of_ours_is_named_and_a_number_like_it_is_not() -> None:
    assert scrub("echo of #1427922007097423") == "echo of #1427922007097423"
    assert scrub("call #353155501004455 or 1427922007097423") == "call #[number] or [number]"
    assert scrub("#1427922007097423@example.com") == "[e-mail]"


def test_scrubbing_is_quick_whatever_it_is_given() -> None:
    rng = random.Random(1)
    for alphabet in ("1 ", "a@", "-", string.printable, "eyJ.", "(+"):
        assert len(scrub("".join(rng.choices(alphabet, k=100_000)))) <= MESSAGE_CHARS


def test_an_error_says_what_which_and_what_to_do() -> None:
    error = Unauthorised("ghl", "Invalid JWT.", status=401)
    assert str(error) == "ghl answered 401: Invalid JWT. Replace the token, then resume the destination."
    refused = Refused("ghl", "the data was refused", status=422, details=("dueDate must be a date",))
    assert str(refused) == (
        "ghl answered 422: the data was refused (dueDate must be a date). Correct the data, then retry the dead letter."
    )
