"""Checks real requests and answers against a Google discovery document: parameters, their words, and every member of an answer."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft202012Validator


class Discovery:
    """One discovery document."""

    def __init__(self, path: Path) -> None:
        self._root = json.loads(path.read_text())
        self._methods = list(_methods(self._root))

    def check(self, response: httpx.Response) -> str:
        """The answer, and the request that it answers, are as described. Returns which method it was."""
        request = response.request
        method = self._check_request(request)
        said = json.loads(response.content)
        if response.is_success:
            Draft202012Validator(self._schema(method["response"]["$ref"])).validate(said)
        return str(method["id"])

    def check_request(self, request: httpx.Request) -> str:
        """The request alone."""
        return str(self._check_request(request)["id"])

    def _check_request(self, request: httpx.Request) -> dict[str, Any]:
        fitting = [
            method
            for method in self._methods
            if method["httpMethod"] == request.method
            and re.fullmatch("/" + re.sub(r"\{\w+\}", "[^/]+", method.get("flatPath", method["path"])), request.url.path)
        ]
        assert fitting, f"{request.method} {request.url.path} is not described"
        method: dict[str, Any] = fitting[0]
        asked = [name for name, _ in request.url.params.multi_items()]
        for name, value in request.url.params.multi_items():
            described = method["parameters"].get(name)
            assert described is not None, f"parameter {name} is not described"
            assert described["location"] == "query"
            assert value in described.get("enum", [value]), f"parameter {name}: {value}"
            assert described.get("repeated") or asked.count(name) == 1, f"parameter {name} comes twice"
        return method

    def _schema(self, name: str) -> dict[str, Any]:
        described = self._root["schemas"][name]
        properties = {member: self._member(one) for member, one in described.get("properties", {}).items()}
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def _member(self, described: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in described:
            return self._schema(described["$ref"])
        member = {word: described[word] for word in ("type", "enum") if word in described}
        return member | ({"items": self._member(described["items"])} if "items" in described else {})


def _methods(node: dict[str, Any]) -> Any:
    yield from node.get("methods", {}).values()
    for inner in node.get("resources", {}).values():
        yield from _methods(inner)
