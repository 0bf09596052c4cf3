"""The REST reference as Markdown, from the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from crosstape.api_gateway.routes import ROUTES
from docs.generator.openapi import document
from docs.generator.schemas import cell, description, fenced, fields, kind

PATH = "reference/rest.md"

_HEAD = """# REST

This page lists every route of the platform: who may call it, what it takes and what it answers.

It is made from the OpenAPI document ([openapi.json](openapi.json)), which every running gateway serves at
`/openapi.json`; `/docs` and `/redoc` there show it with a form for each call. Paths are below the platform's one
origin, `http://127.0.0.1:8000` unless you chose another. What holds for every route (credentials, limits, errors,
times, spellings of symbols) comes first.
"""

_TITLES = {
    "health": "Health",
    "account": "Accounts",
    "users": "Users",
    "api keys": "API keys",
    "orders": "Orders",
    "directory": "Exchanges and symbols",
    "klines": "The exchanges' own candles",
    "ohlcv": "Bars",
    "trades": "Trades",
    "completeness": "Completeness",
    "book": "Books",
}


def page() -> str:
    """The whole page."""
    whole = document()
    lines = [_HEAD, *_common(str(whole["info"]["description"])), "## All routes", ""]
    operations = [
        (path, method.upper(), operation)
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
    ]
    lines += ["| route | | who |", "|---|---|---|"]
    lines += [
        f"| [`{method} {path}`](#{_anchor(method, path)}) | {cell(operation['summary'])} | {_who(operation)} |"
        for path, method, operation in operations
    ]
    lines.append("")
    for tag in dict.fromkeys(operation["tags"][0] for _, _, operation in operations):
        lines += [f"## {_TITLES.get(tag, tag.capitalize())}", ""]
        for path, method, operation in operations:
            if operation["tags"][0] == tag:
                lines += _operation(path, method, operation)
    lines += ["## Schemas", "", '"Always" marks the fields that are never left out.', ""]
    for name, schema in whole["components"]["schemas"].items():
        lines += [f"### {name} {{ #{name.lower()} }}", ""]
        lines += [*filter(None, [schema.get("description")]), "", *fields(schema)]
    return "\n".join(lines).rstrip() + "\n"


def _common(text: str) -> list[str]:
    """What the document says before its routes; the WebSockets have pages of their own."""
    return [text.partition("## WebSockets")[0].strip(), "", "WebSockets: [their protocol](../websocket.md).", ""]


def _anchor(method: str, path: str) -> str:
    return "-".join([method.lower(), *path.translate(str.maketrans("{}/", "   ")).split()])


def _who(operation: dict[str, Any]) -> str:
    asked = operation["security"]
    if not asked:
        return "everybody"
    scopes = [scope for one in asked for scope in one.get("bearer", [])]
    needed = f"scope `{scopes[0]}`" if scopes else "any credential"
    return f"everybody, or {needed}" if {} in asked else needed


def _operation(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    lines = [f"### `{method} {path}` {{ #{_anchor(method, path)} }}", ""]
    lines += [f"{operation['summary']}. Who: {_who(operation)}.{_cost(path, method)}", ""]
    if text := operation.get("description"):
        lines += [text, ""]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | value | meaning |", "|---|---|---|---|"]
        lines += [_parameter(one) for one in parameters]
        lines.append("")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += [f"Body (`{media}`): {kind(content.get('schema', {}))}", "", *_examples(content)]
    for status, response in operation["responses"].items():
        if int(status) < 400:
            lines += _answer(status, response)
    errors = [status for status in sorted(operation["responses"]) if int(status) >= 400]
    return [*lines, f"Errors: {', '.join(errors)}.", ""]


def _cost(path: str, method: str) -> str:
    costs = [(r.cost, r.export_cost) for r in ROUTES if (r.pattern, r.method) == (path, method)]
    cost, export = costs[0] if costs else (1, 1)
    words = [f"{cost} tokens"] if cost > 1 else []
    words += [f"{export} tokens for a whole range as a file"] if export > 1 else []
    return f" Costs {', '.join(words)}." if words else ""


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter.get("schema", {})
    must = ", required" if parameter.get("required") and parameter["in"] != "path" else ""
    meaning = description({**schema, "description": parameter.get("description", schema.get("description", ""))})
    example = parameter.get("example")
    shown = f" Such as `{example}`." if example is not None else ""
    return f"| `{parameter['name']}` | {parameter['in']}{must} | {cell(kind(schema))} | {cell(meaning + shown)} |"


def _answer(status: str, response: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for media, content in response.get("content", {}).items():
        schema = content.get("schema")
        what = f": {kind(schema)}" if schema else ""
        lines += [f"Answers {status} (`{media}`){what}", "", *_examples(content)]
    return lines


def _examples(content: dict[str, Any]) -> list[str]:
    values: Iterable[Any] = [content["example"]] if "example" in content else ()
    if "examples" in content:
        values = [one["value"] for one in content["examples"].values()]
    unique = {json.dumps(value): value for value in values}
    return [line for value in unique.values() for line in fenced(value)]
