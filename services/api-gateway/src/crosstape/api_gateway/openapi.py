"""One OpenAPI document for the platform, made of the gateway's own and of what each service says of itself. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from crosstape.api_gateway.responses import (
    SCHEMA_REF,
    Json,
    complete_own,
    complete_proxied,
    components,
    error_schema,
)
from crosstape.api_gateway.routes import UNLIMITED, Route


class Components(Struct):
    """The part of `components` that is merged."""

    schemas: dict[str, Json] = {}


class ServiceDocument(Struct):
    """What is used of a service's own /openapi.json."""

    paths: dict[str, Json] = {}
    components: Components = field(default_factory=Components)


_EXAMPLES = {
    "exchange": "binance",
    "symbol": "BTC-USDT",
    "interval": "1m",
    "start": "2025-07-01T00:00:00Z",
    "end": "2025-07-01T01:00:00Z",
    "start_date": "2025-07-01",
    "end_date": "2025-07-02",
    "limit": 100,
}

_MEANINGS = {"exchange": "id of an exchange", "symbol": "a market, in any spelling"}


def platform_document(
    own: Json, services: Mapping[str, ServiceDocument], routes: Iterable[Route], *, anonymous_read: bool
) -> Json:
    """`own` with every route of the table added: as its service describes it, or in short while that is unknown.

    Only the table's routes are published, so nothing internal is; WebSockets are described in `own`. Every error is the
    contract's.
    """
    document = copy.deepcopy(own)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Error"] = error_schema()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            complete_own(operation, is_limited=path not in UNLIMITED)
    described = {}
    for name, service in services.items():
        described[name] = _apart(service, name, schemas)
        schemas |= described[name].components.schemas
    for route in routes:
        if route.is_socket:
            continue
        known = described.get(route.upstream, ServiceDocument()).paths.get(route.pattern, {})
        operation = copy.deepcopy(known.get(route.method.lower()) or _in_short(route))
        operation.setdefault("summary", route.summary)
        for parameter in operation.get("parameters", []):
            _explain(parameter)
        complete_proxied(operation, route, anonymous_read=anonymous_read)
        document["paths"].setdefault(route.pattern, {})[route.method.lower()] = operation
    document["components"] |= components()
    used = _used([document["paths"], document["components"]["responses"]], schemas)
    document["components"]["schemas"] = {name: schemas[name] for name in sorted(used)}
    return document


def _in_short(route: Route) -> Json:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.pattern)
    ]
    name = re.sub(r"\W+", "_", f"{route.method.lower()}{route.pattern}").strip("_")
    return {"operationId": name, "parameters": parameters, "responses": {"200": {"description": "See the service."}}}


def _explain(parameter: Json) -> None:
    """Say of one of the names that many routes have what its service leaves out."""
    if meaning := _MEANINGS.get(parameter["name"]):
        parameter.setdefault("description", meaning)
    has_one = {"example", "examples"} & (parameter.keys() | parameter.get("schema", {}).keys())
    if not has_one and (example := _EXAMPLES.get(parameter["name"])):
        parameter["example"] = example


def _apart(service: ServiceDocument, name: str, taken: Mapping[str, Json]) -> ServiceDocument:
    """`service` with those of its schemas renamed whose names mean something else already."""
    clashing = {schema for schema, body in service.components.schemas.items() if taken.get(schema, body) != body}
    if not clashing:
        return service
    text = msgspec.json.encode(service).decode()
    for schema in clashing:
        text = text.replace(f'"{SCHEMA_REF}{schema}"', f'"{SCHEMA_REF}{name}_{schema}"')
    renamed = msgspec.json.decode(text, type=ServiceDocument)
    renamed.components.schemas = {
        f"{name}_{schema}" if schema in clashing else schema: body
        for schema, body in renamed.components.schemas.items()
    }
    return renamed


def _used(roots: list[Any], schemas: Mapping[str, Json]) -> set[str]:
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        text = msgspec.json.encode(waiting.pop()).decode()
        new = set(re.findall(f'"{SCHEMA_REF}([^"]+)"', text)) & schemas.keys() - found
        found |= new
        waiting += [schemas[name] for name in new]
    return found
