"""/openapi.json: OpenAPI 3.1, made from the table of operations and the models, so that it cannot say what the code does not do."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from receiver.api.operation import Answer, Call, NoBody, NoQuery, Operation, Said, Table

REF = "#/components/schemas/{model}"
_PROBLEM = {"$ref": REF.format(model="Problem")}
_PARAMETER = re.compile(r"\{(\w+)\}")
_REFUSALS = {
    400: "The request cannot be read, or a parameter is unknown",
    401: "No token, or a wrong one",
    403: "A viewer's token, where an operator's is needed",
    404: "There is no such thing",
    413: "The body is too large",
    415: "The body is not JSON, or is compressed",
    422: "Some values cannot be used; `errors` says which",
    429: "Too many wrong tokens from this address",
    503: "Not now: the database is away, or nothing is configured; `detail` says what to do",
}


class FieldError(Said):
    field: str
    message: str


class ProblemSaid(Said):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    errors: list[FieldError] | None = None


def serve(table: Callable[[], Table]) -> Callable[[Call[NoQuery, NoBody]], Awaitable[Answer]]:
    """The handler of /openapi.json; the document is made once."""
    made: list[bytes] = []

    async def handler(call: Call[NoQuery, NoBody]) -> Answer:
        """The description of this API."""
        if not made:
            made.append(json.dumps(document(table())).encode())
        return Answer(made[0])

    return handler


def document(table: Table) -> dict[str, Any]:
    """The whole description."""
    models: dict[type[BaseModel], None] = {ProblemSaid: None}
    for operation in table:
        for model in (operation.says, operation.body):
            if model is not None and model.model_fields:
                models[model] = None
    refs, schemas = models_json_schema([(model, "validation") for model in models], ref_template=REF)
    components = dict(schemas.get("$defs", {}))
    components["Problem"] = components.pop("ProblemSaid")
    paths: dict[str, dict[str, Any]] = {}
    for operation in table:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, {m: refs[m, "validation"] for m in models})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Postroom",
            "version": "1",
            "description": "Webhooks in, and the operators' API. Errors are problem+json (RFC 9457). Ids are whole numbers below 2^53; "
            "times are ISO 8601 in UTC.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of POSTROOM_ADMIN_TOKENS."},
                "cron": {"type": "http", "scheme": "bearer", "description": "CRON_SECRET."},
            },
        },
    }


def _operation(operation: Operation[Any, Any], refs: dict[type[BaseModel], Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _name(operation),
        "responses": _responses(operation, refs),
    }
    parameters = _parameters(operation)
    if parameters:
        described["parameters"] = parameters
    if operation.role is not None:
        described["security"] = [{"token": []}]
        described["description"] = f"Role: {operation.role}."
    if operation.by_cron:
        described["security"] = [{"cron": []}]
    if operation.webhook is not None:
        described["description"] = operation.webhook
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    elif operation.body in refs:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": refs[operation.body]}}}
    return described


def _kind(path: str) -> str:
    """Of an answer without a model."""
    if path.startswith("/api/oauth/"):
        return "text/html"
    return "text/plain" if path == "/metrics" else "application/json"


def _responses(operation: Operation[Any, Any], refs: dict[type[BaseModel], Any]) -> dict[str, Any]:
    if operation.says is None:
        content: dict[str, Any] = {_kind(operation.path): {}}
    else:
        content = {"application/json": {"schema": refs[operation.says]}}
    responses: dict[str, Any] = {str(operation.status): {"description": operation.summary, "content": content}}
    refusals = dict(_REFUSALS) if operation.webhook is None else {}
    if operation.role is None and not operation.by_cron:
        for status in (401, 403, 429):
            refusals.pop(status, None)
    if operation.method == "GET":
        for status in (413, 415, 422):
            refusals.pop(status, None)
    if "{" not in operation.path:
        refusals.pop(404, None)
    for status, words in sorted({**refusals, **operation.also}.items()):
        said = content if status < 300 else {"application/problem+json": {"schema": _PROBLEM}}
        responses.setdefault(str(status), {"description": words, "content": said})
    return responses


def _parameters(operation: Operation[Any, Any]) -> list[dict[str, Any]]:
    inside = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _PARAMETER.findall(operation.path)]
    schema = operation.query.model_json_schema(ref_template=REF)
    asked = []
    for name, described in schema.get("properties", {}).items():
        plain = _inlined(described, schema.get("$defs", {}))
        words = plain.pop("description", None)
        plain.pop("title", None)
        asked.append({"name": name, "in": "query", "required": False, "schema": plain, **({"description": words} if words else {})})
    if operation.takes_key:
        words = "A repeat with the same key and body changes nothing and returns the first answer's appointment."
        inside.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"}, "description": words})
    return inside + asked


def _inlined(described: Any, definitions: dict[str, Any]) -> Any:
    """Without references: parameters are small, and their enums are nobody else's."""
    if isinstance(described, dict):
        if "$ref" in described:
            return _inlined(definitions[described["$ref"].rpartition("/")[2]], definitions)
        return {name: _inlined(value, definitions) for name, value in described.items()}
    return [_inlined(value, definitions) for value in described] if isinstance(described, list) else described


def _name(operation: Operation[Any, Any]) -> str:
    words = _PARAMETER.sub(r"by-\1", operation.path).strip("/").replace("/", "-").replace(".", "-")
    return f"{operation.method.lower()}-{words}"
