"""Which path belongs to which service: one table that reads like the contract, and the pure rules that apply it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from crosstape.common.errors import MethodNotAllowed, ValidationFailed

HISTORY = "history"


class Route(Struct, frozen=True):
    """`method` and `pattern` as the contract writes them; `summary` is one line for the documents."""

    method: str
    pattern: str
    upstream: str
    summary: str


ROUTES = (
    Route("GET", "/exchanges", HISTORY, "Exchanges there are"),
    Route("GET", "/{exchange}/symbols", HISTORY, "Symbols of an exchange"),
    Route("GET", "/klines/{exchange}/{symbol}", HISTORY, "An exchange's own candles, of any time"),
    Route("GET", "/api/v1/ohlcv", HISTORY, "Bars of a symbol that names its exchange"),
    Route("GET", "/api/v1/ohlcv/latest", HISTORY, "The most recent bar of a symbol that names its exchange"),
    Route("GET", "/api/v1/ohlcv/{exchange}/{symbol}", HISTORY, "Bars with volume delta, pages or a whole export"),
    Route("GET", "/api/v1/trades/{exchange}/{symbol}", HISTORY, "Trades of the tape, pages or a whole export"),
    Route("GET", "/api/v1/completeness/{exchange}/{symbol}", HISTORY, "What is known to be complete, by minute"),
)

_INTERNAL = "internal"
_NAME_CHARACTERS = 64
_SLASH_INSIDE = "\0"
_PARAMETERS = {
    "exchange": r"(?P<exchange>[^/\0]+)",
    # A symbol may hold one slash (`BTC/USD`, `BTC/USDT:USDT`), written plainly or as %2F. Nothing else may.
    "symbol": r"(?P<symbol>[^/\0]+(?:[/\0][^/\0]+)?)",
}


class Target(Struct, frozen=True):
    """A route and the path to ask its service for: percent-encoded anew from checked segments."""

    route: Route
    path: str


class RouteTable:
    """Finds the route of a path. Earlier routes win, so literal paths stand before the patterns that contain them."""

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
        for pattern, methods in self._patterns:
            found = pattern.fullmatch(path)
            if not found:
                continue
            route = methods.get("GET" if method == "HEAD" else method)
            if route is None:
                raise method_not_allowed(method, methods)
            for parameter, text in found.groupdict().items():
                if len(text) > _NAME_CHARACTERS:
                    raise ValidationFailed(f"{parameter}: at most {_NAME_CHARACTERS} characters.")
            return Target(route, "/" + "/".join(quote(segment, safe=":@") for segment in segments))
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
    return re.compile(re.sub(r"\\\{(\w+)\\\}", lambda found: _PARAMETERS[found[1]], re.escape(pattern)))
