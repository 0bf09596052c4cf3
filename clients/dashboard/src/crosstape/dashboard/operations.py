"""The platform's operations as the served OpenAPI document describes them: their fields, their requests. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

_METHODS = ("get", "post", "put", "patch", "delete")
_ENDS_SOMETHING = ("/logoff", "/unregister", "/password", "/refresh")


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter of a path or a query. `choices` are all it may be, where that is told."""

    name: str
    place: str
    is_required: bool
    description: str
    example: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `body` is an example of what it takes, empty for none."""

    method: str
    path: str
    summary: str
    description: str
    group: str
    needs: str
    fields: tuple[Field, ...]
    body: str

    @property
    def title(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def changes_account(self) -> bool:
        """Whether sending it ends a login, a key or an account: it is asked for twice."""
        return self.method == "DELETE" or self.path in _ENDS_SOMETHING

    def missing(self, values: Mapping[str, str]) -> list[str]:
        """The required fields that `values` leaves empty."""
        return [field.name for field in self.fields if field.is_required and not values.get(field.name, "").strip()]

    def target(self, values: Mapping[str, str]) -> str:
        """Path and query, percent-encoded; empty values are left out of the query."""
        path = self.path
        for field in self.fields:
            if field.place == "path":
                path = path.replace(f"{{{field.name}}}", quote(values.get(field.name, ""), safe=":@"))
        query = {
            field.name: values[field.name]
            for field in self.fields
            if field.place == "query" and values.get(field.name, "").strip()
        }
        return f"{path}?{urlencode(query)}" if query else path


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """Every operation, in the document's order."""
    return [
        _operation(document, path, method, item[method])
        for path, item in document.get("paths", {}).items()
        for method in _METHODS
        if method in item
    ]


def curl(origin: str, operation: Operation, target: str, body: str) -> str:
    """The same request as a command line; the token stays out of it."""
    words = ["curl", "-X", operation.method] if operation.method != "GET" else ["curl"]
    line = shlex.join(words)
    if operation.needs:
        line += ' -H "Authorization: Bearer $CROSSTAPE_TOKEN"'
    if body:
        line += f" -H 'Content-Type: application/json' -d {shlex.quote(compact_json(body))}"
    return f"{line} {shlex.quote(origin + target)}"


def compact_json(body: str) -> str:
    """`body` on one line, each number as it was written; as it is when it is no JSON."""
    return _formatted(body.encode(), indent=-1)


def pretty_json(body: bytes) -> str:
    """`body` as lines, each number as it was sent; as it is when it is no JSON."""
    return _formatted(body, indent=2)


def _formatted(body: bytes, indent: int) -> str:
    try:
        return msgspec.json.format(body, indent=indent).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="replace")


def _operation(document: Mapping[str, Any], path: str, method: str, said: Mapping[str, Any]) -> Operation:
    schemes = said.get("security", [])
    is_open = not schemes or {} in schemes
    scopes = [scope for scheme in schemes for scope in scheme.get("bearer", [])]
    return Operation(
        method=method.upper(),
        path=path,
        summary=said.get("summary", ""),
        description=said.get("description", ""),
        group=(said.get("tags") or ["other"])[0],
        needs="" if is_open else ", ".join(scopes) or "a login",
        fields=tuple(_field(document, field) for field in said.get("parameters", []) if field["in"] != "header"),
        body=_body(document, said.get("requestBody")),
    )


def _field(document: Mapping[str, Any], said: Mapping[str, Any]) -> Field:
    said = _resolved(document, said)
    schema = _resolved(document, said.get("schema", {}))
    options = [_resolved(document, option) for option in schema.get("anyOf", [schema])]
    choices = next((tuple(map(str, option["enum"])) for option in options if "enum" in option), ())
    is_required = bool(said.get("required"))
    examples = [said.get("example"), *(example for option in options for example in option.get("examples", []))]
    example = next((str(example) for example in examples if example is not None), "")
    return Field(
        name=said["name"],
        place=said["in"],
        is_required=is_required,
        description=said.get("description") or schema.get("description", ""),
        example=example,
        choices=choices,
    )


def _body(document: Mapping[str, Any], said: Mapping[str, Any] | None) -> str:
    if not said:
        return ""
    content = said.get("content", {}).get("application/json", {})
    if examples := content.get("examples"):
        example = next(iter(examples.values())).get("value")
    else:
        example = content.get("example") or _example(document, content.get("schema", {}))
    return json.dumps(example, indent=2)


def _example(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    schema = _resolved(document, schema)
    if examples := schema.get("examples"):
        return examples[0]
    for key in ("example", "default", "const"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _example(document, schema[key][0])
    if schema.get("type") == "object":
        return {name: _example(document, part) for name, part in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [_example(document, schema.get("items", {}))]
    return {"integer": 1, "number": 1, "boolean": True}.get(schema.get("type", ""), "text")


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """`schema`, or what its reference within the document points to."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
