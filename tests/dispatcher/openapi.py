"""Checks a request against an official OpenAPI file: path, method, query, headers, body.

Stricter than the files: nothing undeclared may be sent. Knows the faults of those files that stand in the way: `nullable`, and
members typed "object" whose own example is text or a number.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import httpx
from jsonschema import Draft202012Validator

_TEXT_OF: dict[str, re.Pattern[str]] = {
    "integer": re.compile(r"-?[0-9]+"),
    "number": re.compile(r"-?[0-9.]+"),
    "boolean": re.compile(r"true|false"),
}


class OpenApi:
    """One specification file. `unknown_to_it`: beginnings of JSON paths in bodies (`$.sorts`) of which the file knows too little."""

    def __init__(self, path: Path, *, unknown_to_it: tuple[str, ...] = ()) -> None:
        self._document, self._unknown_to_it = _load(path), unknown_to_it

    def check(self, request: httpx.Request) -> str:
        """Returns "METHOD /path/{template}" of the operation; raises AssertionError naming everything that is wrong with the request."""
        method, path = request.method.lower(), request.url.raw_path.decode().partition("?")[0]
        template = self._template(method, path)
        operation = self._document["paths"][template][method]
        faults = [*self._parameter_faults(operation, request), *self._body_faults(operation, request)]
        assert not faults, f"{request.method} {path} is not as {template} wants it: {faults}"
        return f"{request.method} {template}"

    def _template(self, method: str, path: str) -> str:
        fitting = [
            template
            for template, operations in self._document["paths"].items()
            if method in operations and re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path)
        ]
        assert fitting, f"no operation {method.upper()} {path}"
        return cast("str", min(fitting, key=lambda template: template.count("{")))  # /contacts/search before /contacts/{contactId}

    def _parameter_faults(self, operation: Mapping[str, Any], request: httpx.Request) -> list[str]:
        declared = [self._resolve(parameter) for parameter in operation.get("parameters", [])]
        sent = {"query": parse_qsl(request.url.query.decode()), "header": list(request.headers.items())}
        faults = []
        for parameter in declared:
            values = [value for name, value in sent.get(parameter["in"], []) if name.lower() == parameter["name"].lower()]
            if parameter.get("required") and parameter["in"] in sent and not values:
                faults.append(f"{parameter['in']} {parameter['name']} is missing")
            faults += [f"{parameter['name']}={value}" for value in values if not _fits(value, parameter.get("schema", {}))]
        known = {parameter["name"] for parameter in declared if parameter["in"] == "query"}
        return faults + [f"query {name} is not declared" for name, _ in sent["query"] if name not in known]

    def _body_faults(self, operation: Mapping[str, Any], request: httpx.Request) -> list[str]:
        declared = operation.get("requestBody")
        if declared is None:
            return ["a body is sent where none is declared"] if request.content else []
        if not request.content:
            return ["the body is missing"] if declared.get("required") else []
        kind = request.headers.get("content-type", "").partition(";")[0]
        if kind not in declared["content"]:
            return [f"the body is {kind}, which is not declared"]
        schema = self._schema(declared["content"][kind]["schema"])
        sent = json.loads(request.content) if kind == "application/json" else dict(parse_qsl(request.content.decode(), strict_parsing=True))
        errors = Draft202012Validator(schema).iter_errors(sent)
        return [f"{error.json_path}: {error.message}" for error in errors if not error.json_path.startswith(self._unknown_to_it)]

    def _resolve(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in node:
            found: Any = self._document
            for name in node["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            node = found
        return node

    def _schema(self, node: Any) -> Any:
        """The schema as plain JSON Schema, references put in place, closed to members it does not declare."""
        if isinstance(node, list):
            return [self._schema(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = self._resolve(node)
        if node.get("type") == "object" and "example" in node and not isinstance(node["example"], dict):
            return {}
        made = {name: self._schema(value) for name, value in node.items() if name not in ("example", "examples", "nullable", "default")}
        if made.get("properties"):
            made.setdefault("additionalProperties", False)
        if node.get("nullable") and isinstance(made.get("type"), str):
            made["type"] = [made["type"], "null"]
        return made


def _fits(value: str, schema: Mapping[str, Any]) -> bool:
    shape = _TEXT_OF.get(schema.get("type", ""))
    return (shape is None or shape.fullmatch(value) is not None) and value in schema.get("enum", [value])


@cache
def _load(path: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(path.read_bytes()))
