"""JSON schemas as Markdown: what a value may be in a few words, and the fields of an object as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches `{}`",
}


def cell(text: object) -> str:
    """`text` for one cell of a table."""
    return str(text).replace("|", "\\|").replace("\n", " ").strip()


def kind(schema: Schema, link: str = "#{}") -> str:
    """What the value is, in a few words; a reference becomes a link to the heading of its name, made by `link`."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[1]
        return f"[{name}]({link.format(name.lower())})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(kind(choice, link) for choice in choices))
    if "allOf" in schema:
        return " and ".join(kind(part, link) for part in schema["allOf"])
    names = schema.get("type", "any")
    words = [names] if isinstance(names, str) else list(names)
    text = " or ".join(words)
    if "array" in words and (items := schema.get("prefixItems", schema.get("items"))):
        text = text.replace("array", _items(items, link))
    bounds = [form.format(_plain(schema[name])) for name, form in _BOUNDS.items() if name in schema]
    return f"{text} ({', '.join(bounds)})" if bounds else text


def _items(items: Any, link: str) -> str:
    if isinstance(items, list):
        return f"[{', '.join(kind(item, link) for item in items)}]"
    return f"list of {kind(items, link)}"


def _plain(bound: object) -> object:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def description(schema: Schema) -> str:
    """What the schema says of itself, with its default."""
    words = [str(schema.get("description", ""))]
    if schema.get("default") is not None:
        words.append(f"Default `{json.dumps(schema['default'])}`.")
    return " ".join(word for word in words if word)


def fields(schema: Schema, link: str = "#{}") -> list[str]:
    """The lines of a table of an object's fields; a sentence where it is no object with named fields."""
    properties = schema.get("properties")
    if not properties:
        return [f"{kind(schema, link)}. {description(schema)}".strip(), ""]
    required = set(schema.get("required", ()))
    lines = ["| field | | value | meaning |", "|---|---|---|---|"]
    for name, value in properties.items():
        must = "always" if name in required else ""
        lines.append(f"| `{name}` | {must} | {cell(kind(value, link))} | {cell(description(value))} |")
    return [*lines, ""]


def fenced(value: object) -> list[str]:
    """An example as a block of JSON."""
    return ["```json", json.dumps(value, indent=1, ensure_ascii=False), "```", ""]
