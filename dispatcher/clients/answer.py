"""What a destination answered: its JSON, made safe to keep, and what its status means where the provider says nothing special.

Refuses to know any provider; ghl_errors.py and notion.py do. Text that Postgres cannot store (NUL, lone surrogates) ends here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeAlias, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from dispatcher.errors import AnswerLost, Failed, Forbidden, Gone, Misused, RateLimited, Refused, RemoteError, Unauthorised, Unavailable
from dispatcher.policy.ratelimit import Limits, pause_s

Json: TypeAlias = JsonValue


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a destination. `body` is None when there was none or when it was not JSON (`is_json` False)."""

    destination: str
    status: int
    headers: Mapping[str, str]
    body: Json
    is_json: bool
    limits: Limits

    @property
    def from_the_edge(self) -> bool:
        """A refusal in front of the API (a firewall's HTML page): says nothing about the token or the request."""
        return self.status == 403 and not self.is_json


ShapeT = TypeVar("ShapeT", bound=BaseModel)


def parse(raw: bytes) -> Json:
    """JSON of the far side; ValueError for anything else (also too deep, not UTF-8, NaN), whatever the bytes are."""
    text = raw.decode("utf-8-sig")
    try:
        value: Json = json.loads(text, parse_constant=_refuse_constant)
        # Only escapes can bring in what UTF-8 and JSON themselves forbid; most answers have none and are not walked.
        return _storable(value) if r"\u0000" in text or r"\ud" in text.lower() else value
    except RecursionError:
        raise ValueError("nested too deeply") from None


def encode(value: object) -> bytes:
    """Compact JSON, ASCII only, so that no text of ours can fail to be sent; ValueError for NaN and for what JSON does not know."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, RecursionError) as exc:
        raise ValueError("a value that JSON does not know") from exc


def read_as(model: type[ShapeT], value: Json, *, destination: str) -> ShapeT:
    """`value` as `model`; Failed (whether it happened is unknown) when the far side answered in another shape."""
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        # Only places and kinds of fault: pydantic's own text quotes the values.
        faults = tuple(f"{'.'.join(map(str, fault['loc'])) or 'answer'}: {fault['type']}" for fault in exc.errors(include_input=False))
        raise Failed(destination, f"the answer is no {model.__name__}", details=faults) from None


def member(value: Json, *names: str) -> Json:
    """The member found by following `names` through objects, None where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def items(value: Json) -> list[Json]:
    """The list itself, or an empty one for anything else."""
    return value if isinstance(value, list) else []


def text(value: Json) -> str:
    """The text itself, or none for anything else."""
    return value if isinstance(value, str) else ""


def by_status(answer: Answer, message: str, *, details: tuple[str, ...] = ()) -> RemoteError:
    """What a status means where the provider gives it no meaning of its own."""
    to, status = answer.destination, answer.status
    if answer.from_the_edge:
        return Unavailable(to, "refused in front of the API, not by it", status=status, happened=False)
    match status:
        case 429:
            return RateLimited(to, message, retry_after_s=pause_s(answer.limits, status), scope=answer.limits.scope, details=details)
        case 401:
            return Unauthorised(to, message, status=status, details=details)
        case 402 | 403 | 451:
            return Forbidden(to, message, status=status, details=details)
        case 404 | 410:
            return Gone(to, message, status=status, details=details)
        case 405 | 406 | 415:
            return Misused(to, message, status=status, details=details)
        case 408:
            return AnswerLost(to, message, status=status, details=details)
        case 502 | 503 | 504 | 529:
            return Unavailable(to, message, status=status, details=details)
        case _ if status >= 500:
            return Failed(to, message, status=status, details=details)
        case _ if status >= 400:
            return Refused(to, message, status=status, details=details)
        case _:
            return Misused(to, "redirected or answered without an answer; the base address is wrong", status=status)


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("a number that is not finite")


def _storable(value: Json) -> Json:
    match value:
        case str():
            return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {str(_storable(name)): _storable(item) for name, item in value.items()}
        case _:
            return value
