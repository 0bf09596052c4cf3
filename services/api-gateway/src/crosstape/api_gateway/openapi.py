"""One OpenAPI document for the platform, made of the gateway's own and of what each service says of itself. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from crosstape.api_gateway.routes import Route
from crosstape.common.errors import PlatformError

Json = dict[str, Any]


class Components(Struct):
    """The part of `components` that is merged."""

    schemas: dict[str, Json] = {}


class ServiceDocument(Struct):
    """What is used of a service's own /openapi.json."""

    paths: dict[str, Json] = {}
    components: Components = field(default_factory=Components)


_MESSAGES = {
    401: "A valid token or API key is needed.",
    403: "This is not allowed to you.",
    404: "No instrument 'BTC-USX' on binance.",
    405: "POST is not allowed here.",
    409: "This exists already.",
    413: "The body may have 262144 bytes.",
    422: "Invalid request: limit: Input should be less than or equal to 10000",
    429: "Too many requests. Try again in 2 s.",
    500: "An unexpected error occurred. It has been logged.",
    502: "binance answered with an error.",
    503: "The history service is not available at the moment. Try again shortly.",
    504: "The history service took longer than 10 s.",
}
_OF_OWN_ROUTES = (422, 500)
_OF_PROXIED_ROUTES = (404, 422, 500, 503, 504)
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
_HEADERS = {
    "X-Request-ID": {
        "description": "Names this request in our logs: yours if it is `[A-Za-z0-9._-]{1,64}`, else a new one.",
        "schema": {"type": "string"},
    },
    "X-Process-Time": {"description": "Seconds until the answer began.", "schema": {"type": "string"}},
}
_SCHEMA_REF = "#/components/schemas/"


def platform_document(own: Json, services: Mapping[str, ServiceDocument], routes: Iterable[Route]) -> Json:
    """`own` with every route of the table added: as its service describes it, or in short while that is unknown.

    Only the table's routes are published, so nothing internal is. Every error is the contract's.
    """
    document = copy.deepcopy(own)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Error"] = _error_schema()
    for operation in _operations(document["paths"]):
        _complete(operation, _OF_OWN_ROUTES)
    described = {}
    for name, service in services.items():
        described[name] = _apart(service, name, schemas)
        schemas |= described[name].components.schemas
    for route in routes:
        known = described.get(route.upstream, ServiceDocument()).paths.get(route.pattern, {})
        operation = copy.deepcopy(known.get(route.method.lower()) or _in_short(route))
        operation.setdefault("summary", route.summary)
        operation.setdefault("tags", ["market data"])
        for parameter in operation.get("parameters", []):
            _give_example(parameter)
        _complete(operation, _OF_PROXIED_ROUTES)
        document["paths"].setdefault(route.pattern, {})[route.method.lower()] = operation
    document["components"]["headers"] = _HEADERS
    document["components"]["schemas"] = {name: schemas[name] for name in sorted(_used(document["paths"], schemas))}
    return document


def error_codes() -> dict[int, list[str]]:
    """The contract's codes by HTTP status, from the error classes themselves."""
    codes: dict[int, set[str]] = {}
    for kind in _kinds(PlatformError):
        codes.setdefault(kind.status, set()).add(kind.error_code)
    return {status: sorted(names) for status, names in sorted(codes.items())}


def _kinds(kind: type[PlatformError]) -> Iterator[type[PlatformError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


def _error_schema() -> Json:
    text = {"type": "string"}
    properties = {
        "success": {"const": False, "type": "boolean"},
        "error_code": {"type": "string", "enum": sorted(code for codes in error_codes().values() for code in codes)},
        "message": text | {"description": "What is wrong, for people."},
        "details": {"type": "object", "description": "The same for programs, by error_code."},
        "timestamp": text | {"format": "date-time"},
        "detail": text | {"description": "The message again."},
    }
    return {"type": "object", "title": "Error", "properties": properties, "required": list(properties)}


def _complete(operation: Json, statuses: Iterable[int]) -> None:
    """Headers on every answer; every error in the contract's form, those included that the service names itself."""
    responses: Json = operation.setdefault("responses", {})
    named = {int(status) for status in responses if status.isdigit() and int(status) >= 400}
    for status in sorted({*statuses, *named}):
        responses[str(status)] = _error_response(status)
    for response in responses.values():
        response.setdefault("headers", {}).update({name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS})


def _error_response(status: int) -> Json:
    codes = error_codes().get(status, [])
    message = _MESSAGES.get(status, "")
    example = {
        "success": False,
        "error_code": "SYMBOL_NOT_FOUND" if status == 404 else (codes or ["INTERNAL_ERROR"])[-1],
        "message": message,
        "details": {},
        "timestamp": "2025-11-13T10:30:45.123Z",
        "detail": message,
    }
    content = {"application/json": {"schema": {"$ref": f"{_SCHEMA_REF}Error"}, "example": example}}
    return {"description": ", ".join(f"`{code}`" for code in codes) or "An error", "content": content}


def _in_short(route: Route) -> Json:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.pattern)
    ]
    name = re.sub(r"\W+", "_", f"{route.method.lower()}{route.pattern}").strip("_")
    return {"operationId": name, "parameters": parameters, "responses": {"200": {"description": "See the service."}}}


def _give_example(parameter: Json) -> None:
    has_one = {"example", "examples"} & (parameter.keys() | parameter.get("schema", {}).keys())
    if not has_one and (example := _EXAMPLES.get(parameter.get("name", ""))):
        parameter["example"] = example


def _apart(service: ServiceDocument, name: str, taken: Mapping[str, Json]) -> ServiceDocument:
    """`service` with those of its schemas renamed whose names mean something else already."""
    clashing = {schema for schema, body in service.components.schemas.items() if taken.get(schema, body) != body}
    if not clashing:
        return service
    text = msgspec.json.encode(service).decode()
    for schema in clashing:
        text = text.replace(f'"{_SCHEMA_REF}{schema}"', f'"{_SCHEMA_REF}{name}_{schema}"')
    renamed = msgspec.json.decode(text, type=ServiceDocument)
    renamed.components.schemas = {
        f"{name}_{schema}" if schema in clashing else schema: body
        for schema, body in renamed.components.schemas.items()
    }
    return renamed


def _used(paths: Json, schemas: Mapping[str, Json]) -> set[str]:
    found: set[str] = set()
    waiting: list[Any] = [paths]
    while waiting:
        text = msgspec.json.encode(waiting.pop()).decode()
        new = set(re.findall(f'"{_SCHEMA_REF}([^"]+)"', text)) & schemas.keys() - found
        found |= new
        waiting += [schemas[name] for name in new]
    return found


def _operations(paths: Json) -> Iterator[Json]:
    for methods in paths.values():
        yield from methods.values()
