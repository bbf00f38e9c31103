"""Checks real requests and answers against a provider's official OpenAPI file.

Knows the files' habits: `type: object` beside a scalar example means "no type given", and customFields[].id is not required
although it says so (`key` alone works).
"""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
from jsonschema import Draft202012Validator

_KEPT = {"type", "enum", "const", "maxItems", "additionalProperties"}


class Specification:
    """One OpenAPI file, with the files it refers to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[Path, Any] = {}
        self._root = self._load(path)

    def schema(self, name: str) -> dict[str, Any]:
        """A named schema, its references resolved."""
        schema: dict[str, Any] = self._adapted(self._root["components"]["schemas"][name], self._path)
        return schema

    def check(self, response: httpx.Response) -> str:
        """The answer, and the request that it answers, are as specified. Returns which operation it was."""
        request = response.request
        template, operation = self._operation(request.method.lower(), request.url.path)
        self._check_request(operation, request)
        self._check_answer(operation, response)
        return f"{request.method} {template}"

    def _check_request(self, operation: Any, request: httpx.Request) -> None:
        for parameter in (self._resolved(one, self._path)[0] for one in operation.get("parameters", [])):
            if parameter["in"] == "header":
                value = request.headers.get(parameter["name"])
                assert value is not None or not parameter.get("required"), f"header {parameter['name']} is missing"
                assert value is None or value in parameter["schema"].get("enum", [value]), f"header {parameter['name']}: {value}"
        contents = operation.get("requestBody", {}).get("content", {})
        if (form := contents.get("application/x-www-form-urlencoded")) is not None and "application/json" not in contents:
            schema = self._adapted(form["schema"], self._path) | {"additionalProperties": False}
            Draft202012Validator(schema).validate(dict(parse_qsl(request.content.decode())))
            return
        content = contents.get("application/json")
        if content is None:
            assert request.content in (b"", b"{}"), f"a body where none is specified: {request.url.path}"
            return
        schema = self._adapted(content["schema"], self._path)
        if schema.get("properties"):
            schema["additionalProperties"] = False
        Draft202012Validator(schema).validate(json.loads(request.content or b"{}"))

    def _check_answer(self, operation: Any, response: httpx.Response) -> None:
        answers = operation["responses"]
        assert str(response.status_code) in answers, f"{response.status_code} is not specified, only {', '.join(answers)}"
        content = answers[str(response.status_code)].get("content", {}).get("application/json", {})
        schema, said = self._adapted(content.get("schema", {}), self._path), response.json()
        if isinstance(schema.get("additionalProperties"), dict):  # a map: every answer has a traceId beside what is mapped
            said.pop("traceId", None)
        Draft202012Validator(schema).validate(said)

    def _operation(self, method: str, path: str) -> tuple[str, Any]:
        """The most literal template that fits, as a router would choose."""
        fitting = [
            template
            for template, operations in self._root["paths"].items()
            if method in operations and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
        ]
        assert fitting, f"{method} {path} is not in {self._path.name}"
        template = min(fitting, key=lambda one: one.count("{"))
        return template, self._root["paths"][template][method]

    def _adapted(self, schema: Any, origin: Path, *, name: str = "") -> Any:
        """JSON Schema out of OpenAPI 3.0: references inlined, `nullable` as a type, the files' habits undone."""
        schema, origin = self._resolved(schema, origin)
        adapted = {word: value for word, value in schema.items() if word in _KEPT}
        if "properties" in schema:
            adapted["properties"] = {inner: self._adapted(one, origin, name=inner) for inner, one in schema["properties"].items()}
        if isinstance(schema.get("additionalProperties"), dict):
            adapted["additionalProperties"] = self._adapted(schema["additionalProperties"], origin)
        if "items" in schema:
            adapted["items"] = self._adapted(schema["items"], origin, name=name)
        for word in ("anyOf", "oneOf", "allOf"):
            if word in schema:
                adapted[word] = [self._adapted(one, origin, name=name) for one in schema[word]]
        if isinstance(schema.get("required"), list) and name != "customFields":
            adapted["required"] = schema["required"]
        if schema.get("type") == "object" and "properties" not in schema and not isinstance(schema.get("example", {}), dict):
            del adapted["type"]
        if schema.get("nullable") and "type" in adapted:
            adapted["type"] = [adapted["type"], "null"]
        return adapted

    def _resolved(self, schema: Any, origin: Path) -> tuple[Any, Path]:
        while "$ref" in schema:
            file, _, pointer = schema["$ref"].partition("#")
            origin = (origin.parent / file).resolve() if file else origin
            schema = self._load(origin)
            for step in pointer.strip("/").split("/"):
                schema = schema[step]
        return schema, origin

    def _load(self, path: Path) -> Any:
        if path not in self._files:
            self._files[path] = json.loads(path.read_text())
        return self._files[path]
