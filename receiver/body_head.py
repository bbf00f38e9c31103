"""The first bytes of a rejected body, fit to be kept: with every secret blanked. Pure.

Errs on the side of blanking: what looks like a token is one. Identifiers of the providers (20 characters, UUIDs) are left, because
without them a kept request explains nothing.
"""

import re
from collections.abc import Sequence

from outbox.log import scrub

HEAD_BYTES = 200
_LOOK_BYTES = 600  # blanked before it is cut, so that no secret is cut in half and survives

_NAME = r"(?:token|secret|passw|pwd|authori[sz]|api[_-]?key|access[_-]?key|signature|credential|cookie|session|bearer|otp)"
_MEMBER = re.compile(
    rf"""(["'][^"'\\]{{0,60}}?{_NAME}[^"'\\]{{0,60}}["']\s*:\s*)  # the name, quoted
         (?:"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,}}\]"']+)           # its value, perhaps cut""",
    re.IGNORECASE | re.VERBOSE,
)
_PAIR = re.compile(rf"((?<![\w.-])[\w.-]{{0,60}}?{_NAME}[\w.-]{{0,60}}\s*[=:]\s*)(?:(?:bearer|basic)\s+)?[^\s&;,\"']+", re.IGNORECASE)
_CUT = re.compile(r"[^\s\"'&;,{}\[\]]*$")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_RUN = re.compile(r"[A-Za-z0-9_+/=.~-]{24,}")


def head_of(body: bytes, secrets: Sequence[str] = ()) -> bytes:
    """At most 200 bytes of `body`, without the given secrets and without anything that looks like one."""
    # Latin-1 maps every byte to one character and back, whatever the body is.
    text = body[:_LOOK_BYTES].decode("latin-1")
    if len(body) > _LOOK_BYTES:
        text = _CUT.sub("***", text)
    for secret in secrets:
        text = text.replace(secret.encode().decode("latin-1"), "***")
    text = _MEMBER.sub(r"\1***", text)
    text = _PAIR.sub(r"\1***", text)
    text = _RUN.sub(_blank_run, scrub(text))
    return text.encode("latin-1")[:HEAD_BYTES]


def _blank_run(run: "re.Match[str]") -> str:
    """A long run of letters and digits is a token, unless it is a UUID or plain words."""
    text = run[0]
    if _UUID.fullmatch(text) or not (any(c.isdigit() for c in text) and any(c.isalpha() for c in text)):
        return text
    return "***"
