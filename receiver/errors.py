"""Answers that say no: problem+json (RFC 9457), one shape for every route.

`type` is a word of ours behind urn:postroom:, which a program may rely on; `detail` is for a person and never quotes a secret or a body.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import Scope, Send

from outbox.errors import PostroomError

PROBLEM_TYPE = "application/problem+json"
MAX_INSTANCE_CHARS = 200


class Problem(PostroomError):
    """A request that is answered with an error. `more` are further members, `headers` further headers."""

    def __init__(
        self, status: int, word: str, title: str, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(f"{status} {word}: {detail or title}")
        self.status = status
        self.word = word
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def body(self, instance: str | None = None) -> bytes:
        """As JSON. ASCII only, so that whatever came in can be said back."""
        said: dict[str, Any] = {"type": f"urn:postroom:{self.word}", "title": self.title, "status": self.status}
        if self.detail is not None:
            said["detail"] = self.detail
        if instance is not None:
            said["instance"] = instance[:MAX_INSTANCE_CHARS]
        return json.dumps({**said, **self.more}).encode()


def bad_request(detail: str, *, errors: Sequence[Mapping[str, str]] = ()) -> Problem:
    """400: the request cannot be read."""
    more: dict[str, Any] = {"errors": list(errors)} if errors else {}
    return Problem(400, "bad-request", "The request cannot be read", detail, **more)


def invalid(errors: Sequence[Mapping[str, str]], detail: str = "Some values cannot be used; nothing was changed") -> Problem:
    """422: readable, but its values cannot be used."""
    return Problem(422, "invalid", "Some values cannot be used", detail, errors=list(errors))


def not_found(detail: str) -> Problem:
    """404."""
    return Problem(404, "not-found", "There is no such thing here", detail)


def conflict(word: str, detail: str, **more: Any) -> Problem:
    """409: it is not in a state in which this could be done."""
    return Problem(409, word, "Not as things are now", detail, **more)


def method_not_allowed(allowed: Sequence[str]) -> Problem:
    """405, with what is allowed."""
    listed = ", ".join(sorted(allowed))
    return Problem(405, "method-not-allowed", "Not by this method", f"Allowed here: {listed}", headers={"allow": listed})


def unavailable(detail: str, *, retry_after_s: int) -> Problem:
    """503: not now, but later."""
    return Problem(503, "unavailable", "Not now; try again later", detail, headers={"retry-after": str(retry_after_s)})


def busy(detail: str, *, retry_after_s: int) -> Problem:
    """429: too much at once."""
    return Problem(429, "busy", "Too much at once; try again later", detail, headers={"retry-after": str(retry_after_s)})


def internal() -> Problem:
    """500: our own fault, of which the log says more than the answer."""
    return Problem(500, "internal", "Something went wrong here", "It is in the log of the receiver.")


def origin(problem: BaseException) -> str:
    """What failed and where, for the log: never the message, in which a driver may quote a row."""
    place = problem.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    code = "" if place is None else f" at {place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}"
    state = getattr(problem, "sqlstate", None)
    return type(problem).__name__ + (f" {state}" if state else "") + code


async def answer(
    scope: Scope, send: Send, status: int, body: bytes, *, content_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> None:
    """Sends a whole answer. A HEAD gets the head of what a GET would get."""
    pairs = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    pairs += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def answer_problem(scope: Scope, send: Send, problem: Problem, *, with_instance: bool = True) -> None:
    """Sends a problem."""
    body = problem.body(scope["path"] if with_instance else None)
    await answer(scope, send, problem.status, body, content_type=PROBLEM_TYPE, headers=problem.headers)
