"""Structured logs: one line per fact, with the event's id, never with a secret or a person's data.

Redaction is the last processor before rendering, so that no caller can forget it: fields with a telling name are
starred, and texts, however deep, are scrubbed of what looks like an e-mail address, a phone number or a token. A phone
number is known by its plus; digits alone are as often an id. Redaction never raises: a line is worth less than a process.
"""

import contextlib
import logging
import math
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

SECRET_NAMES = re.compile(
    r"(token|secret|password|authorization|signature|payload|body|body_head|email|phone|api_?key|dsn|cookie)$", re.IGNORECASE
)
# Repetitions before an @ are bounded: from each character of a long text the rest would be read again.
SECRET_TEXTS = re.compile(
    r"""(?P<email>[\w.+%'!#$*~^-]{1,64}(?:@|%40)[\w-]+\.[\w.-]+)
      | (?P<url_password>(?<=://)[^\s/@:]{0,200}:[^\s/@]{1,200}(?=@))
      | (?P<password>(?<=password=)[^\s&]+)
      | (?P<token>\b(?:whsec_|pit-|secret_|ntn_|(?i:Bearer|Basic)\s+)[\w+/=.-]{6,})
      | (?P<jwt>\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*)
      | (?P<phone>(?:(?<!\w)\+|%2B)\d[\d\s().-]{6,}\d)""",
    re.VERBOSE,
)
DEEPEST = 6
CAUSES, FRAMES = 4, 12


def scrub(text: str) -> str:
    """`text` with addresses, phone numbers and tokens starred."""
    return SECRET_TEXTS.sub("***", text)


def _redact(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in fields.items():
        fields[name] = _clean(name, value, 0)
    return fields


def _clean(name: str, value: object, depth: int) -> object:
    """`value` as it may be shown under `name`: plain, bounded in depth, scrubbed."""
    if SECRET_NAMES.search(name) and value is not None:
        return "***"
    try:
        match value:
            case None | bool() | int():
                return value
            case float():
                return value if math.isfinite(value) else str(value)
            case bytes() | bytearray() | memoryview():
                return f"<{len(value)} bytes>"
            case BaseException():
                return scrub(f"{type(value).__name__}: {value}")
            case Mapping() | list() | tuple() | set() | frozenset() if depth == DEEPEST:
                return "…"
            case Mapping():
                return {scrub(str(key)): _clean(str(key), inner, depth + 1) for key, inner in value.items()}
            case list() | tuple() | set() | frozenset():
                return [_clean("", inner, depth + 1) for inner in value]
            case _:
                return scrub(str(value))
    except Exception:  # noqa: BLE001 -- whatever an object does when it is asked how it looks
        return f"<{type(value).__name__} that cannot be shown>"


def _places(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception as its kind, its message and the places it passed, innermost last, causes behind it.

    Not the standard traceback: to mark columns it parses source, which Python 3.11 can fail at when the collector runs meanwhile
    (SystemError: AST constructor recursion depth mismatch), and a log line must not fail.
    """
    problem = fields.pop("exc_info", None)
    told: list[str] = []
    while isinstance(problem, BaseException) and len(told) < CAUSES:
        frames = list(traceback.walk_tb(problem.__traceback__))[-FRAMES:]
        where = " > ".join(f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}" for frame, line in frames)
        told.append(f"{type(problem).__name__}: {problem} [{where}]")
        problem = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
    if told:
        fields["exception"] = "; from ".join(told)
    return fields


class _Lines:
    """Writes to `to`, or to what standard error is now. A closed or full one costs the line, never the process that wrote it."""

    def __init__(self, to: TextIO | None) -> None:
        self._to = to

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            to = self._to or sys.stderr
            to.write(f"{message}\n")
            to.flush()

    log = debug = info = warning = error = critical = exception = msg


def configure(*, json: bool | None = None, level: str = "info", to: TextIO | None = None) -> None:
    """Sets up logging for a process: JSON lines when not on a terminal, unless told otherwise; to standard error, unless `to` is given."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _places,
            _redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _Lines(to),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry `module=name`."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(module=name))


configure(level="warning")
