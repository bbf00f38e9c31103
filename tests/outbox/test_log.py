"""Logs: one line per fact, and nobody's address, number or secret in it, whoever forgot to leave it out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from outbox import log as module
from outbox.log import configure, get_logger, scrub

letters = st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
words = st.text(letters, min_size=1, max_size=20)
around = st.sampled_from(["", " ", "to ", "<", '"', "email=", "contact: ", "(", "x\n"])
emails = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+'-]{0,30}(@|%40)[a-z0-9-]{1,20}(\.[a-z]{2,8}){1,3}", fullmatch=True)
phones = st.from_regex(r"(\+|%2B)[1-9][0-9]{1,2}([ .-]|\([0-9]\))?[0-9]{3}[ .-]?[0-9]{4,6}", fullmatch=True)
secrets = st.one_of(
    st.builds(lambda tail: f"whsec_{tail}", st.from_regex(r"[A-Za-z0-9+/]{24,40}={0,2}", fullmatch=True)),
    st.builds(lambda tail: f"pit-{tail}", st.uuids()),
    st.builds(lambda tail: f"ntn_{tail}", st.from_regex(r"[A-Za-z0-9]{20,40}", fullmatch=True)),
    st.from_regex(r"(Bearer|bearer|Basic) [A-Za-z0-9._-]{8,40}", fullmatch=True),
    st.from_regex(r"eyJ[A-Za-z0-9_-]{10,30}\.[A-Za-z0-9_-]{10,30}\.[A-Za-z0-9_-]{10,30}", fullmatch=True),
)


@given(before=around, email=emails)
@example(before="https://example.com/contacts?email=", email="ada%40example.com")
@example(before="", email="o'brien+news@mail.example.co.uk")
def test_no_email_address_is_left_in_a_text(before: str, email: str) -> None:
    local = email.replace("%40", "@").partition("@")[0]
    left = scrub(f"{before}{email} wrote")
    assert "***" in left
    assert f"{local}@" not in left
    assert f"{local}%40" not in left
    assert left.endswith(" wrote")


@given(before=around, phone=phones)
@example(before="tel:", phone="+353 1 555 0100")
@example(before="phone=", phone="%2B35315550100")
def test_no_phone_number_with_its_plus_is_left_in_a_text(before: str, phone: str) -> None:
    assert phone not in scrub(f"{before}{phone}")
    assert "555" not in scrub("call +353 1 555 0100 or +1 (212) 555-0100")


@given(before=around, secret=secrets)
def test_no_token_is_left_in_a_text(before: str, secret: str) -> None:
    left = scrub(f"{before}{secret}")
    assert secret[-8:] not in left
    assert "***" in left


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://app:s3cret@db.example.com:5432/shop", "postgresql://***@db.example.com:5432/shop"),
        ("redis://:s3cret@cache/0", "redis://***@cache/0"),
        ("host=db password=s3cret user=app", "host=db password=*** user=app"),
    ],
)
def test_the_password_of_a_connection_string_goes_and_its_host_stays(text: str, shown: str) -> None:
    assert scrub(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "event 1427922007097450 of lane ghl:contact:ocQHyuzHvysMo5N5VsXc",
        "due 2027-01-05T10:00:00+00:00, postroom:1427922007097450.18d3f/note",
        "contacts/{id}/tags answered 429 after 12.5 ms",
        "page 6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
    ],
)
def test_what_operators_need_stays(text: str) -> None:
    assert scrub(text) == text


def test_a_long_text_is_scrubbed_without_reading_it_again_from_each_letter() -> None:
    """Quadratic work on this text would take minutes."""
    assert scrub("a" * 400_000 + "@") == "a" * 400_000 + "@"


@contextmanager
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[list[dict[str, Any]]]:
    """What is logged inside, parsed."""
    lines: list[dict[str, Any]] = []
    configure(json=True, level="debug")
    try:
        yield lines
        lines += [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        configure(level="warning")


def test_a_fact_is_one_line_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(capsys) as lines:
        get_logger("outbox.test").info("event settled", event_id=7, outcome="done", took_ms=1.5, worker=None)
    (line,) = lines
    assert line.pop("timestamp")
    assert line == {
        "event": "event settled",
        "event_id": 7,
        "outcome": "done",
        "took_ms": 1.5,
        "worker": None,
        "level": "info",
        "module": "outbox.test",
    }


def test_fields_with_a_telling_name_are_starred_and_all_texts_are_scrubbed_however_deep(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(capsys) as lines:
        get_logger("outbox.test").warning(
            "ada@example.com called",
            access_token="abc",
            GHL_API_KEY="abc",
            payload={"a": 1},
            details=["bad: ada@example.com", {"phone": "01 555 0100", "note": ("+353 1 555 0100",)}],
            problem=ValueError("ada@example.com is taken"),
            body_head=b"secret",
            raw=b"four",
            sealed=SecretStr("abc"),
            left=float("inf"),
        )
    (line,) = lines
    assert "ada@" not in json.dumps(line)
    assert "abc" not in json.dumps(line)
    assert line["event"] == "*** called"
    assert line["details"] == ["bad: ***", {"phone": "***", "note": ["***"]}]
    assert line["problem"] == "ValueError: *** is taken"
    assert (line["payload"], line["body_head"], line["raw"], line["left"]) == ("***", "***", "<4 bytes>", "inf")


def test_an_exception_is_told_with_its_places_and_causes(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("ada@example.com is taken") from KeyError("contact")
    except ValueError as problem:
        with logged(capsys) as lines:
            get_logger("outbox.test").error("a handler failed", exc_info=problem)
    (line,) = lines
    assert line["exception"].startswith("ValueError: *** is taken [test_log.py:")
    assert "test_an_exception_is_told_with_its_places_and_causes" in line["exception"]
    assert line["exception"].endswith("]; from KeyError: 'contact' []")


class Stubborn:
    """Refuses to be shown, but for whoever finds it in a failed test."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class StubbornError(Exception):
    """The same as an exception."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_what_cannot_be_shown_does_not_stop_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    ring: list[object] = []
    ring.append(ring)
    with logged(capsys) as lines:
        get_logger("outbox.test").info("odd", one=Stubborn(), two=StubbornError(), three={Stubborn(): 1}, four=ring)
    (line,) = lines
    assert line["one"] == "<Stubborn that cannot be shown>"
    assert line["two"] == "<StubbornError that cannot be shown>"
    assert line["three"] == "<dict that cannot be shown>"
    assert "…" in json.dumps(line["four"], ensure_ascii=False)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(Stubborn()) | st.builds(StubbornError),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), anything))
def test_redaction_never_raises_and_leaves_what_json_can_say(fields: dict[str, Any]) -> None:
    redacted = module._redact(None, "info", fields)
    json.dumps(redacted, allow_nan=False)


def test_below_the_level_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure(json=False, level="error")
    get_logger("outbox.test").warning("quiet")
    get_logger("outbox.test").error("loud", problem=ValueError("ada@example.com"))
    configure(level="warning")
    written = capsys.readouterr().err
    assert "quiet" not in written
    assert "loud" in written
    assert "ada@" not in written
