"""Plain ASGI in front of FastAPI: finds the route, lets the request pass or not, and proxies what is a service's."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from crosstape.api_gateway import traces
from crosstape.api_gateway.address import Addresses
from crosstape.api_gateway.admission import Admission
from crosstape.api_gateway.failures import unavailable
from crosstape.api_gateway.passage import Passages
from crosstape.api_gateway.routes import HEALTH, UNLIMITED, RouteTable, Target, segments_of
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.sockets import Sockets
from crosstape.api_gateway.turn import Turn, turn_of
from crosstape.api_gateway.upstream import Upstream
from crosstape.common.errors import NotFound, PlatformError
from crosstape.common.tracing import is_sampled
from crosstape.common.web.errors import error_response

log = structlog.get_logger(__name__)

_FOUND = 2048


class Edge:
    """Route, admission, service; `own` answers what the table does not know. HEAD is GET without its body, everywhere.

    No body is waited for before its request is admitted.
    """

    def __init__(
        self,
        own: ASGIApp,
        own_paths: frozenset[str],
        table: RouteTable,
        upstreams: Mapping[str, Upstream],
        admission: Admission,
        settings: GatewaySettings,
    ):
        self._own = own
        self._own_paths = own_paths
        self._upstreams = upstreams
        self._admission = admission
        self._addresses = Addresses(settings.trusted_proxies)
        self._sockets = Sockets(settings)
        self._passages = Passages(settings)
        self._find = functools.lru_cache(_FOUND)(functools.partial(_find, table))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._own(scope, receive, send)
            return
        turn = turn_of(scope)
        if is_sampled():
            traces.begin(turn, scope)
        try:
            try:
                await self._answer(turn, scope, receive, send)
            except PlatformError:
                await turn.judged()  # who is over the limit hears of that, whatever else is wrong
                raise
        except PlatformError as error:
            if not turn.status:
                await error_response(error)(scope, receive, send)
        except Exception:
            if turn.status:
                raise
            log.exception("unhandled_error", route=turn.route, request_id=turn.request_id)
            unforeseen = PlatformError("An unexpected error occurred. It has been logged.")
            await error_response(unforeseen)(scope, receive, send)

    async def _answer(self, turn: Turn, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None
        target = None
        try:
            target = self._find(scope["method"], scope["raw_path"])
        except PlatformError as error:
            refusal = error
        route = target.route if target else None
        turn.route = route.pattern if route else "unknown" if refusal else self._own_label(scope["path"])
        if refusal is None and scope["path"] in UNLIMITED:
            if scope["path"] in HEALTH:
                turn.verdict = self._admission.bucket_of(turn)
            await self._answer_ourselves(scope, receive, send)
            return
        address = self._addresses.of(scope["client"], turn.heeded.get(b"x-forwarded-for", ()))
        caller = await self._admission.admit(route, address, turn)
        if refusal:
            raise refusal
        if target is None:
            await self._answer_ourselves(scope, receive, send)
            return
        upstream = self._upstreams.get(target.route.upstream)
        if upstream is None:
            raise unavailable(target.route.upstream)
        if target.route.is_socket:
            await self._sockets.open(upstream, target.path, caller, scope, send)
        else:
            await self._passages.forward(upstream, target.path, caller, scope, receive, send)

    def _own_label(self, path: str) -> str:
        return path if path in self._own_paths else "unknown"

    async def _answer_ourselves(self, scope: Scope, receive: Receive, send: Send) -> None:
        structlog.contextvars.bind_contextvars(request_id=turn_of(scope).request_id)
        await self._own({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive, send)


def _find(table: RouteTable, method: str, raw_path: bytes) -> Target | None:
    segments = segments_of(raw_path)
    target = table.find(method, segments) if segments else None
    # A path of our own has one spelling: what is closed to the public in front of us is compared with that.
    if segments is None or (target is None and b"%" in raw_path):
        raise NotFound("No route has this path. See /docs for the routes there are.")
    return target
