"""The reference of WebSocket messages as Markdown, from the AsyncAPI document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from docs.generator.schemas import fenced, fields

SOURCE = Path(__file__).resolve().parents[1] / "reference" / "asyncapi.yaml"
PATH = "reference/websocket-messages.md"

_HEAD = """# WebSocket messages

This page lists every message of the three streams, field by field.

It is made from the AsyncAPI document ([asyncapi.yaml](asyncapi.yaml)). How the streams behave (recovery, replay,
limits, closing codes) is told in [WebSockets](../websocket.md). "Always" marks the fields that every such message has.
"""


def page() -> str:
    """The whole page."""
    document = yaml.safe_load(SOURCE.read_text())
    components = document["components"]
    lines = [_HEAD]
    for channel in document["channels"].values():
        lines += _channel(channel, document)
    lines += ["## Messages", ""]
    for key, message in components["messages"].items():
        lines += _message(key, message)
    lines += ["## Schemas", ""]
    for name, schema in components["schemas"].items():
        lines += [f"### {name} {{ #{name.lower()} }}", ""]
        if "properties" in schema and "description" in schema:
            lines += [schema["description"], ""]
        lines += fields(schema)
    return "\n".join(lines).rstrip() + "\n"


def _channel(channel: dict[str, Any], document: dict[str, Any]) -> list[str]:
    lines = [f"## `{channel['address']}`", "", channel["description"], ""]
    if parameters := channel.get("parameters"):
        lines += [f"- `{name}`: {parameter['description']}" for name, parameter in parameters.items()] + [""]
    query = _resolve(channel["bindings"]["ws"]["query"], document)
    lines += ["Parameters of the address:", "", *fields(query)]
    for operation in document["operations"].values():
        if _resolve(operation["channel"], document) is channel:
            lines += [f"{operation['title']}:", "", "| message | |", "|---|---|"]
            for reference in operation["messages"]:
                held = _resolve(reference, document)
                key = held["$ref"].rsplit("/", 1)[1]
                message = _resolve(held, document)
                lines.append(f"| [`{message['name']}`](#message-{key.lower()}) | {message['summary']} |")
            lines.append("")
    return lines


def _message(key: str, message: dict[str, Any]) -> list[str]:
    lines = [f"### {key} {{ #message-{key.lower()} }}", "", message["summary"], "", *fields(message["payload"])]
    for example in message.get("examples", ()):
        lines += fenced(example["payload"])
    return lines


def _resolve(reference: dict[str, Any], document: dict[str, Any]) -> Any:
    node: Any = document
    for part in reference["$ref"].removeprefix("#/").split("/"):
        node = node[part]
    return node
