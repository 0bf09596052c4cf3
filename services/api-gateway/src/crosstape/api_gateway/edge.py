"""Plain ASGI in front of FastAPI: bounds every request, and proxies what the table gives to a service."""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crosstape.api_gateway.headers import size_of, with_security
from crosstape.api_gateway.metrics import REQUESTS, method_label
from crosstape.api_gateway.passage import forward
from crosstape.api_gateway.routes import RouteTable, Target, segments_of
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.upstream import Upstream
from crosstape.common.errors import NotFound, PlatformError, ValidationFailed
from crosstape.common.web.errors import error_response

log = structlog.get_logger(__name__)


class Edge:
    """Bounds, then the route, then the service; `own` answers what the table does not know.

    Who is calling and how often they may is decided in `_answer`, between the route and the service: the route is
    known there, and no byte of the body has been read. HEAD is GET without its body, everywhere.
    """

    def __init__(
        self,
        own: ASGIApp,
        own_paths: frozenset[str],
        table: RouteTable,
        upstreams: Mapping[str, Upstream],
        settings: GatewaySettings,
    ):
        self._own = own
        self._own_paths = own_paths
        self._table = table
        self._upstreams = upstreams
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._own(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def send_secured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = with_security(list(message.get("headers", [])))
            await send(message)

        label = "unknown"
        try:
            target = self._target(scope)
            label = target.route.pattern if target else self._own_label(scope["path"])
            await self._answer(target, scope, receive, send_secured)
        except PlatformError as error:
            if not status:
                await error_response(error)(scope, receive, send_secured)
        except Exception:
            log.exception("unhandled_error", route=label)
            if status:
                raise
            unforeseen = PlatformError("An unexpected error occurred. It has been logged.")
            await error_response(unforeseen)(scope, receive, send_secured)
        finally:
            seconds = time.perf_counter() - started
            REQUESTS.labels(label, method_label(scope["method"]), status or "cut").observe(seconds)

    def _target(self, scope: Scope) -> Target | None:
        raw_path, query = scope["raw_path"], scope["query_string"]
        if len(raw_path) + len(query) + 1 > self._settings.url_limit_bytes:
            raise ValidationFailed(f"The URL may have {self._settings.url_limit_bytes} bytes.")
        if size_of(scope["headers"]) > self._settings.header_limit_bytes:
            raise ValidationFailed(f"The headers may have {self._settings.header_limit_bytes} bytes.")
        segments = segments_of(raw_path)
        if segments is None:
            raise NotFound("No route has this path. See /docs for the routes there are.")
        return self._table.find(scope["method"], segments)

    async def _answer(self, target: Target | None, scope: Scope, receive: Receive, send: Send) -> None:
        if target:
            upstream = self._upstreams[target.route.upstream]
            await forward(upstream, target.path, scope, receive, send, self._settings)
        elif scope["method"] == "HEAD":
            await self._own({**scope, "method": "GET"}, receive, send)
        else:
            await self._own(scope, receive, send)

    def _own_label(self, path: str) -> str:
        return path if path in self._own_paths else "unknown"
