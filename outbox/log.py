"""Structured logs: one line per fact, with the event's id, never with a secret or a person's data.

Redaction is the last processor before rendering, so that no caller can forget it: fields with a telling name are
starred, and texts are scrubbed of what looks like an e-mail address, a phone number or a token.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, cast

import structlog

SECRET_NAMES = re.compile(r"(token|secret|password|authorization|signature|payload|body|email|phone|api_?key|dsn|cookie)$", re.IGNORECASE)
SECRET_TEXTS = re.compile(
    r"""(?P<email>[\w.+-]+@[\w-]+\.[\w.-]+)
      | (?P<url_password>(?<=://)[^\s/@:]+:[^\s/@]+(?=@))
      | (?P<token>\b(?:whsec_|pit-|secret_|ntn_|Bearer\s+)[\w+/=.-]{6,})
      | (?P<jwt>\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*)
      | (?P<phone>(?<![\w.:-])\+\d[\d\s().-]{6,}\d)""",
    re.VERBOSE,
)


def scrub(text: str) -> str:
    """`text` with addresses, phone numbers and tokens starred."""
    return SECRET_TEXTS.sub("***", text)


def _redact(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in fields.items():
        if SECRET_NAMES.search(name):
            fields[name] = "***"
        elif isinstance(value, str):
            fields[name] = scrub(value)
        elif isinstance(value, BaseException):
            fields[name] = scrub(f"{type(value).__name__}: {value}")
    return fields


def configure(*, json: bool | None = None, level: str = "info") -> None:
    """Sets up logging for a process: JSON lines when not on a terminal, unless told otherwise. Writes to standard error."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry `module=name`."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(module=name))


configure(level="warning")
