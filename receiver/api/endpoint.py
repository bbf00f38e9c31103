"""From a row of the table to an answer: method, token, parameters, body, handler, and one place where every failure becomes a problem.

Nothing that a request holds makes this raise: what nobody foresaw is a 500 without details, and one line in the log.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, get_origin
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from outbox import db
from outbox.errors import DatabaseUnavailable, InvalidEvent, NotNow, SchemaMismatch
from outbox.log import get_logger
from receiver.api.operation import Answer, Asked, Call, Operation, Told
from receiver.desk import Desk
from receiver.errors import (
    Problem,
    answer,
    answer_problem,
    bad_request,
    conflict,
    internal,
    invalid,
    method_not_allowed,
    not_found,
    origin,
    unavailable,
)
from receiver.limits import Disconnected, read_body

log = get_logger(__name__)

BODY_LIMIT_BYTES = 262_144
MAX_PARAMETERS = 50
MAX_ERRORS = 20
MAX_FIELD_CHARS = 100
RETRY_AWAY_S = 5
# What Postgres says when the schema is missing or of another version: table, schema, column, function.
_NOT_MIGRATED = frozenset({"42P01", "3F000", "42703", "42883"})
_TRY_AGAIN = frozenset({"40001", "40P01", "55P03", "57014"})


class Endpoint:
    """All operations of one path, as an ASGI app."""

    def __init__(self, operations: Sequence[Operation[Any, Any]]) -> None:
        self.operations = {operation.method: operation for operation in operations}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        try:
            answered = await self._serve(scope, receive)
        except Problem as problem:
            await answer_problem(scope, send, problem)
        except Disconnected:
            return
        else:
            await answer(scope, send, answered.status, answered.body(), content_type=answered.content_type, headers=answered.headers)

    async def _serve(self, scope: Scope, receive: Receive) -> Answer:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        operation = self.operations.get(method)
        if operation is None:
            raise method_not_allowed([*self.operations, *(["HEAD"] if "GET" in self.operations else [])])
        desk: Desk = scope["app"].desk
        try:
            with db.mapped():
                return await _call(operation, desk, scope, receive)
        except (Problem, Disconnected):
            raise
        except Exception as problem:  # noqa: BLE001 -- the one place where a failure becomes an answer
            named = _named(problem)
            if named.status == 500:
                log.error("an operation failed", method=method, path=operation.path, problem=origin(problem))
            raise named from None


async def _call(operation: Operation[Any, Any], desk: Desk, scope: Scope, receive: Receive) -> Answer:
    headers = scope["headers"]
    who = None
    client = scope.get("client")
    address, now = client[0] if client else "", time.monotonic()
    if operation.role is not None:
        who = desk.gate.let_in(headers, needs=operation.role, address=address, now=now)
    elif operation.by_cron:
        who = desk.gate.let_in_cron(headers, address=address, now=now)
    call = Call(
        desk=desk,
        who=who,
        path=scope["path_params"],
        query=_query(operation.query, scope["query_string"]),
        body=await _body(operation, scope, receive),
        idempotency_key=_one(headers, b"idempotency-key") if operation.takes_key else None,
    )
    assert operation.handler is not None  # only such operations become routes
    return await operation.handler(call)


def _query(model: type[Asked], raw: bytes) -> Asked:
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise bad_request(f"More than {MAX_PARAMETERS} parameters.") from None
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name in model.model_fields and get_origin(model.model_fields[name].annotation) is list:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise bad_request("A parameter came twice.", errors=[{"field": name[:MAX_FIELD_CHARS], "message": "given more than once"}])
        else:
            given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as problem:
        raise bad_request("Some parameters are unknown or cannot be used.", errors=_errors(problem)) from None


async def _body(operation: Operation[Any, Any], scope: Scope, receive: Receive) -> Told:
    model: type[Told] = operation.body
    if operation.method == "GET":
        return model()
    body = await read_body(scope, receive, limit_bytes=BODY_LIMIT_BYTES)
    if not body and not any(field.is_required() for field in model.model_fields.values()):
        body = b"{}"
    elif not _is_json(scope["headers"]):
        raise Problem(415, "not-json", "Not in this form", "Send JSON with the header Content-Type: application/json")
    try:
        return model.model_validate_json(body)
    except ValidationError as problem:
        errors = problem.errors(include_url=False, include_context=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            raise bad_request(errors[0]["msg"]) from None
        raise invalid(_errors(problem)) from None


def _errors(problem: ValidationError) -> list[Mapping[str, str]]:
    """Each field and what is wrong with it, never its value."""
    found = problem.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]
    return [{"field": ".".join(str(part) for part in one["loc"])[:MAX_FIELD_CHARS], "message": one["msg"]} for one in found]


def _named(problem: Exception) -> Problem:
    """What became of a request that failed, by whose fault it was."""
    state = getattr(problem, "sqlstate", None) or ""
    match problem:
        case DatabaseUnavailable():
            return unavailable("The database does not answer; nothing was changed.", retry_after_s=RETRY_AWAY_S)
        case SchemaMismatch():
            return unavailable(str(problem), retry_after_s=60)
        case NotNow(is_unknown=True):
            return not_found(str(problem))
        case NotNow(word=word, state=about):
            return conflict(word, str(problem), **({} if about is None else {"state": about}))
        case InvalidEvent():
            return invalid([{"field": "", "message": str(problem)}])
        case _ if state in _NOT_MIGRATED:
            return unavailable("The database's schema does not fit this receiver: run `postroom migrate`.", retry_after_s=60)
        case _ if state in _TRY_AGAIN:
            return unavailable("Somebody else was at the same rows; nothing was changed.", retry_after_s=1)
        case _ if state.startswith("22"):
            return bad_request("A value cannot be kept by the database.")
        case _:
            return internal()


def _one(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> str | None:
    values = [value for found, value in headers if found == name]
    if not values:
        return None
    text = values[0].decode("latin-1").strip()
    if len(values) > 1 or not 1 <= len(text) <= 200 or not text.isascii() or not text.isprintable():
        raise bad_request(f"The header {name.decode()} has 1 to 200 printable ASCII characters, and comes once.")
    return text


def _is_json(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    kinds = [value.partition(b";")[0].strip().lower() for name, value in headers if name == b"content-type"]
    return len(kinds) == 1 and (kinds[0] == b"application/json" or (kinds[0].startswith(b"application/") and kinds[0].endswith(b"+json")))
