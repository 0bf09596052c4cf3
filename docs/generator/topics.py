"""The reference of topics, from the bus's own list and the records' types."""

from __future__ import annotations

import ast
import inspect
import types
import typing
from typing import Any

import msgspec

from crosstape.common.bus import topics
from crosstape.common.bus.codec import VERSION
from crosstape.common.bus.topics import ALL_TOPICS, MAX_RECORD_BYTES, Topic
from docs.generator.modules import SERVICES, sources
from docs.generator.schemas import cell

PATH = "reference/topics.md"

_HEAD = """# Topics

This page lists the Kafka topics that carry everything between the services, and what a record of each holds.

A record is one version byte ({version} now), then MessagePack: an array of the fields below in their order, after the
type's tag where a topic carries several. A type only ever gains fields, at its end and with a default, so that a newer
reader reads what an older writer wrote, and an older reader skips what it does not know. Where that would be to misread
the record the version goes up, and what a newer writer wrote an older reader puts into `dead-letters`. A record is at
most {megabytes} MiB. The key of a market's records is `exchange:symbol`, so that their order is kept; that of an
order's is its owner. Readers tolerate repeats: each type says below what makes two records the same thing.
[Data flow](../explanation/data-flow.md) shows who writes and who reads.

The platform makes missing topics with these numbers of partitions and `CROSSTAPE_TOPIC_REPLICATION` replicas, and
changes nothing about those it finds.
"""


def page() -> str:
    """The whole page."""
    lines = [_HEAD.format(version=VERSION, megabytes=MAX_RECORD_BYTES // 2**20)]
    lines += ["| topic | partitions | kept | records | used by |", "|---|---|---|---|---|"]
    constants = {id(value): name for name, value in vars(topics).items() if isinstance(value, Topic)}
    for topic in ALL_TOPICS:
        users = _users(constants[id(topic)])
        kept = "for ever" if topic.is_kept else "as the broker is set"
        lines.append(f"| `{topic.name}` | {topic.partitions} | {kept} | {_type(_record(topic))} | {', '.join(users)} |")
    lines.append("")
    described = dict.fromkeys(struct for topic in ALL_TOPICS for struct in _structs(_record(topic)))
    for struct in described:
        lines += _struct(struct)
    return "\n".join(lines).rstrip() + "\n"


def _record(topic: Topic[Any]) -> Any:
    return topic.codec._decoder.type


def _users(constant: str) -> list[str]:
    """The services whose code imports the topic."""
    users = [service for service, package in SERVICES.items() if _imports(package, constant)]
    return users or ["every service, through `common.bus`"]


def _imports(package: str, constant: str) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == topics.__name__
        and constant in {alias.name for alias in node.names}
        for _, text in sources(package)
        if topics.__name__ in text
        for node in ast.walk(ast.parse(text))
    )


def _structs(kind: Any) -> list[type[msgspec.Struct]]:
    if inspect.isclass(kind) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [struct for part in typing.get_args(kind) for struct in _structs(part)]


def _type(kind: Any) -> str:
    """A type as people write it; the platform's own structs link to their fields."""
    if kind is type(None):
        return "nil"
    if inspect.isclass(kind) and issubclass(kind, msgspec.Struct):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_type, parts))
    if origin is list:
        return f"list of {_type(parts[0])}"
    if origin is tuple:
        return f"({', '.join(map(_type, parts))})"
    return f"`{getattr(kind, '__name__', kind)}`"


def _struct(struct: type[msgspec.Struct]) -> list[str]:
    config = struct.__struct_config__
    tag = f", tag `{config.tag}`" if config.tag else ""
    lines = [f"## {struct.__name__}", "", inspect.cleandoc(struct.__doc__ or ""), ""]
    lines += [f"| field{tag} | type | default |", "|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        default = "" if field.default is msgspec.NODEFAULT else f"`{field.default!r}`"
        lines.append(f"| `{field.name}` | {cell(_type(field.type))} | {cell(default)} |")
    return [*lines, ""]
