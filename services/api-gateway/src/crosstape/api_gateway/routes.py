"""Which path belongs to which service and who may use it: one table that reads like the contract, and pure rules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from crosstape.common.errors import MethodNotAllowed, ValidationFailed
from crosstape.common.identity.principal import Scope
from crosstape.common.identity.services import AUTH, HISTORY, STREAM_HUB, TWAP_ENGINE


class Route(Struct, frozen=True, kw_only=True):
    """`method` and `pattern` as the contract writes them; `summary` is one line for the documents.

    A caller needs the `scope`; callers without a credential may come where it `is_open`. `cost` is in tokens of the
    caller's bucket, and `export_cost` that of a whole range as a file, where there is one. A route that `is_login`
    takes no credential and counts in a small bucket of its own. A route that `is_socket` is a WebSocket: its service
    looks at the credential.
    """

    method: str = "GET"
    pattern: str
    upstream: str
    summary: str
    scope: Scope | None = None
    is_open: bool = False
    cost: int = 1
    export_cost: int = 1
    is_login: bool = False
    is_socket: bool = False


class _Market(Route, frozen=True, kw_only=True):
    """Market data. Open where it is the seeds' that had no accounts."""

    upstream: str = HISTORY
    scope: Scope | None = Scope.MARKET_READ


class _Account(Route, frozen=True, kw_only=True):
    """The auth service knows what beyond a credential it needs."""

    upstream: str = AUTH


class _Order(Route, frozen=True, kw_only=True):
    upstream: str = TWAP_ENGINE


_EXPORT_COST = 20
_EXCHANGE_COST = 5
"""Of what may have to ask an exchange."""

ROUTES = (
    _Account(method="POST", pattern="/register", summary="Make an account", is_open=True, is_login=True),
    _Account(
        method="POST", pattern="/login", summary="Log in: an access and a refresh token", is_open=True, is_login=True
    ),
    _Account(method="POST", pattern="/refresh", summary="New tokens for a refresh token", is_open=True, is_login=True),
    _Account(method="POST", pattern="/logoff", summary="End this login everywhere"),
    _Account(method="POST", pattern="/password", summary="Change the password; ends every other login"),
    _Account(method="DELETE", pattern="/unregister", summary="Delete the caller's account"),
    _Account(pattern="/info", summary="Greets the caller"),
    _Account(pattern="/users", summary="All accounts", scope=Scope.ADMIN),
    _Account(method="PATCH", pattern="/users/{username}", summary="Change an account", scope=Scope.ADMIN),
    _Account(method="POST", pattern="/api-keys", summary="Make an API key; it is shown this once"),
    _Account(pattern="/api-keys", summary="The caller's API keys"),
    _Account(method="DELETE", pattern="/api-keys/{key_id}", summary="Revoke an API key"),
    _Order(method="POST", pattern="/orders/twap", summary="Accept TWAP orders", scope=Scope.ORDERS_WRITE),
    _Order(pattern="/orders", summary="The caller's orders", scope=Scope.ORDERS_READ),
    _Order(pattern="/orders/{order_id}", summary="One order and its executions", scope=Scope.ORDERS_READ),
    _Order(method="DELETE", pattern="/orders/{order_id}", summary="Cancel an order", scope=Scope.ORDERS_WRITE),
    _Market(pattern="/exchanges", summary="Exchanges there are", is_open=True),
    _Market(pattern="/{exchange}/symbols", summary="Symbols of an exchange", is_open=True),
    _Market(
        pattern="/klines/{exchange}/{symbol}",
        summary="An exchange's own candles, of any time",
        is_open=True,
        cost=_EXCHANGE_COST,
    ),
    _Market(pattern="/api/v1/ohlcv", summary="Bars of a symbol that names its exchange", is_open=True),
    _Market(pattern="/api/v1/ohlcv/latest", summary="The latest bar of a symbol that names its exchange", is_open=True),
    _Market(
        pattern="/api/v1/ohlcv/{exchange}/{symbol}",
        summary="Bars with volume delta, pages or a whole export",
        export_cost=_EXPORT_COST,
    ),
    _Market(
        pattern="/api/v1/trades/{exchange}/{symbol}",
        summary="Trades of the tape, pages or a whole export",
        export_cost=_EXPORT_COST,
    ),
    _Market(pattern="/api/v1/completeness/{exchange}/{symbol}", summary="What is known to be complete, by minute"),
    _Market(
        pattern="/api/v1/book/consolidated/{symbol}",
        summary="The book of all exchanges: every level with its exchange",
        upstream=STREAM_HUB,
        is_open=True,
    ),
    _Market(
        pattern="/api/v1/book/{exchange}/{symbol}",
        summary="An exchange's live book",
        upstream=STREAM_HUB,
        is_open=True,
    ),
    Route(pattern="/ws", upstream=STREAM_HUB, summary="Live books", is_open=True, is_socket=True),
    Route(
        pattern="/ws/v1/cvd/{exchange}/{symbol}",
        upstream=STREAM_HUB,
        summary="Trades, bars and cumulative volume delta",
        is_open=True,
        is_socket=True,
    ),
    Route(pattern="/ws/v1/stream", upstream=STREAM_HUB, summary="Many channels", is_open=True, is_socket=True),
)

HEALTH = frozenset({"/health", "/health/live", "/health/ready"})
"""They take nothing from the caller's bucket and refuse nobody, but say how large it is, as every answer to a user."""
UNLIMITED = HEALTH | {"/livez", "/readyz", "/metrics"}
"""Of probes and scrapers: not counted, and no credential is looked at but for the bucket's size."""

_INTERNAL = "internal"
_NAME_CHARACTERS = 64
_SLASH_INSIDE = "\0"
_PARAMETERS = {
    # A symbol may hold one slash (`BTC/USD`, `BTC/USDT:USDT`), written plainly or as %2F. Nothing else may.
    "symbol": r"(?P<symbol>[^/\0]+(?:[/\0][^/\0]+)?)",
}
_PARAMETER = r"(?P<{}>[^/\0]+)"


class Target(Struct, frozen=True):
    """A route and the path to ask its service for: percent-encoded anew from checked segments."""

    route: Route
    path: str


class RouteTable:
    """Finds the route of a path. Earlier routes win, so literal paths stand before the patterns that contain them. What
    a literal one has no method for may be the pattern's: GET /orders/twap is the order of that id."""

    def __init__(self, routes: Iterable[Route] = ROUTES):
        self.routes = tuple(routes)
        by_pattern: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            by_pattern.setdefault(route.pattern, {})[route.method] = route
        self._patterns = [(_compiled(pattern), methods) for pattern, methods in by_pattern.items()]

    def find(self, method: str, segments: tuple[str, ...]) -> Target | None:
        """The target of a request, None when no pattern has this path. `/internal/...` is never one, whatever fits.

        Raises MethodNotAllowed with `Allow`, and ValidationFailed for a name longer than any there is.
        """
        if segments[0] == _INTERNAL:
            return None
        path = "/" + "/".join(segment.replace("/", _SLASH_INSIDE) for segment in segments)
        others: set[str] = set()
        for pattern, methods in self._patterns:
            found = pattern.fullmatch(path)
            if not found:
                continue
            route = methods.get("GET" if method == "HEAD" else method)
            if route is None:
                others.update(methods)
                continue
            for parameter, text in found.groupdict().items():
                if len(text) > _NAME_CHARACTERS:
                    raise ValidationFailed(f"{parameter}: at most {_NAME_CHARACTERS} characters.")
            return Target(route, "/" + "/".join(quote(segment, safe=":@") for segment in segments))
        if others:
            raise method_not_allowed(method, others)
        return None


def method_not_allowed(method: str, methods: Iterable[str]) -> MethodNotAllowed:
    """405 that says which methods there are; HEAD comes with GET."""
    allowed = sorted({*methods, *(["HEAD"] if "GET" in methods else [])})
    return MethodNotAllowed(f"{method} is not allowed here.", {"allowed": allowed}, {"Allow": ", ".join(allowed)})


def segments_of(raw_path: bytes) -> tuple[str, ...] | None:
    """The decoded segments of a raw path; None when it names nothing: `.`, `..` or an empty segment, however encoded.

    A segment may hold a slash that was written %2F. Raises ValidationFailed for bytes that are not UTF-8 and for
    what does not print (NUL, line ends, direction marks), space included.
    """
    try:
        decoded = [unquote_to_bytes(segment).decode() for segment in raw_path.split(b"/")]
    except UnicodeDecodeError as error:
        raise ValidationFailed("The path is not UTF-8.") from error
    if any(not segment.isprintable() or " " in segment or "\\" in segment for segment in decoded):
        raise ValidationFailed("The path has characters that no path of ours has.")
    if (
        len(decoded) < 2
        or decoded[0]
        or any(part in ("", ".", "..") for segment in decoded[1:] for part in segment.split("/"))
    ):
        return None
    return tuple(decoded[1:])


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", _parameter, re.escape(pattern)))


def _parameter(found: re.Match[str]) -> str:
    return _PARAMETERS.get(found[1]) or _PARAMETER.format(found[1])
