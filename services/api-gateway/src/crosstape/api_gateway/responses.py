"""What any operation may answer beside its success, as components of the OpenAPI document. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from crosstape.api_gateway.refusal import BadRequest, HeadersTooLarge, RequestTimeout, UriTooLong
from crosstape.api_gateway.routes import Route
from crosstape.common.errors import PlatformError
from crosstape.common.identity.services import AUTH, TWAP_ENGINE

Json = dict[str, Any]

SCHEMA_REF = "#/components/schemas/"
BEARER = "bearer"
SECURITY_SCHEMES: Json = {
    BEARER: {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token from `POST /login`, or an API key (`ctk_...`) from `POST /api-keys`.",
    }
}

_MESSAGES = {
    400: "This is not an HTTP request that can be understood in one way.",
    401: "This needs a Bearer token: log in (POST /login), or use an API key.",
    403: "This credential lacks the scope orders:write.",
    404: "binance has no symbol BTC-USX. GET /binance/symbols lists them.",
    405: "POST is not allowed here.",
    408: "The head of the request did not arrive within 10 s.",
    409: "This exists already.",
    413: "The body may have 262144 bytes.",
    414: "The URL may have 4096 bytes.",
    422: "Invalid request: limit: Input should be less than or equal to 10000",
    429: "Too many requests. Try again in 2 s.",
    431: "The headers may have 16384 bytes, and be 100.",
    500: "An unexpected error occurred. It has been logged.",
    502: "binance failed: no answer",
    503: "The history service is not available at the moment. Try again shortly.",
    504: "The history service took longer than 10 s.",
}
_EXAMPLE_CODES = {404: "SYMBOL_NOT_FOUND", 503: "SERVICE_UNAVAILABLE"}
_DETAILS: dict[int, Json] = {
    404: {"suggestions": ["BTC-USDT", "BTC-USDC"]},
    405: {"allowed": ["GET", "HEAD"]},
    429: {"retry_after": 2},
}

_OF_EVERY_ROUTE = (400, 408, 414, 422, 431, 500)
_OF_LIMITED_ROUTES = (401, 429)
_OF_PROXIED_ROUTES = (404, 405, 413, 503, 504)
_OF_CHANGES = (403, 409)

_OF_THE_WIRE: tuple[type[PlatformError], ...] = (BadRequest, RequestTimeout, UriTooLong, HeadersTooLarge)

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_HEADERS = {
    "X-Request-ID": {
        "description": "Names this request in our logs: yours if it is `[A-Za-z0-9._-]{1,64}`, else a new one.",
        "schema": _TEXT,
    },
    "X-Process-Time": {"description": "Seconds until the answer began.", "schema": _TEXT},
}
_LIMIT_HEADERS = {
    "RateLimit-Limit": {"description": "Tokens in your bucket when it is full.", "schema": _COUNT},
    "RateLimit-Remaining": {"description": "Tokens that are left in it.", "schema": _COUNT},
    "RateLimit-Reset": {"description": "Seconds until it is full again.", "schema": _COUNT},
}
_SECONDS = {"type": "integer", "minimum": 1}
_ERROR_HEADERS: dict[int, Json] = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    405: {"Allow": {"description": "The methods there are.", "schema": _TEXT}},
    429: {"Retry-After": {"description": "Seconds to wait.", "schema": _SECONDS}},
    503: {"Retry-After": {"description": "Seconds to wait, when that is known.", "schema": _SECONDS}},
}


def components() -> Json:
    """Headers, error responses and security schemes."""
    return {
        "headers": {**_HEADERS, **_LIMIT_HEADERS},
        "responses": {f"Error{status}": _error_response(status) for status in _MESSAGES},
        "securitySchemes": SECURITY_SCHEMES,
    }


def complete_own(operation: Json, *, is_limited: bool) -> None:
    """Add to one of the gateway's own operations what it shares with all others."""
    _complete(operation, (*_OF_EVERY_ROUTE, *(_OF_LIMITED_ROUTES if is_limited else ())))
    operation["security"] = []


def complete_proxied(operation: Json, route: Route, *, anonymous_read: bool) -> None:
    """Add the security, the headers and the errors of `route`; errors that its service names become the contract's."""
    statuses = {*_OF_EVERY_ROUTE, *_OF_LIMITED_ROUTES, *_OF_PROXIED_ROUTES}
    if route.scope:
        statuses.add(403)
    if route.method != "GET":
        statuses.update(_OF_CHANGES)
    _complete(operation, statuses)
    needed = [{BEARER: [route.scope.value] if route.scope else []}]
    if route.is_login:
        operation["security"] = []
    elif route.is_open and (anonymous_read or not route.scope):
        operation["security"] = [{}, *needed]
    else:
        operation["security"] = needed
    if route.scope and operation["security"] == needed:
        note = f"Needs the scope `{route.scope.value}`."
        operation["description"] = "\n\n".join(filter(None, (operation.get("description"), note)))
    operation.setdefault("tags", [{AUTH: "accounts", TWAP_ENGINE: "orders"}.get(route.upstream, "market data")])


def _complete(operation: Json, statuses: Iterable[int]) -> None:
    responses: Json = operation.setdefault("responses", {})
    named = {int(status) for status in responses if status.isdigit() and int(status) >= 400}
    for status in sorted({*statuses, *named}):
        responses[str(status)] = {"$ref": f"#/components/responses/Error{status}"}
    references = {name: {"$ref": f"#/components/headers/{name}"} for name in (*_HEADERS, *_LIMIT_HEADERS)}
    for code, response in responses.items():
        if not code.isdigit() or int(code) < 400:
            response.setdefault("headers", {}).update(references)


def error_codes() -> dict[int, list[str]]:
    """The contract's codes by HTTP status, from the error classes themselves."""
    codes: dict[int, set[str]] = {}
    for kind in (*_kinds(PlatformError), *_OF_THE_WIRE):
        codes.setdefault(kind.status, set()).add(kind.error_code)
    return {status: sorted(names) for status, names in sorted(codes.items())}


def error_schema() -> Json:
    """The contract's error body."""
    properties = {
        "success": {"const": False, "type": "boolean"},
        "error_code": {"type": "string", "enum": sorted({code for codes in error_codes().values() for code in codes})},
        "message": _TEXT | {"description": "What is wrong, for people."},
        "details": {"type": "object", "description": "The same for programs, by error_code."},
        "timestamp": _TEXT | {"format": "date-time"},
        "detail": _TEXT | {"description": "The message again."},
    }
    return {"type": "object", "title": "Error", "properties": properties, "required": list(properties)}


def _kinds(kind: type[PlatformError]) -> Iterator[type[PlatformError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


def _error_response(status: int) -> Json:
    codes = error_codes().get(status, [])
    message = _MESSAGES[status]
    example = {
        "success": False,
        "error_code": _EXAMPLE_CODES.get(status) or (codes or ["INTERNAL_ERROR"])[-1],
        "message": message,
        "details": _DETAILS.get(status, {}),
        "timestamp": "2025-11-13T10:30:45.123Z",
        "detail": message,
    }
    content = {"application/json": {"schema": {"$ref": f"{SCHEMA_REF}Error"}, "example": example}}
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in {**_HEADERS, **_LIMIT_HEADERS}}
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "headers": {**headers, **_ERROR_HEADERS.get(status, {})},
        "content": content,
    }
